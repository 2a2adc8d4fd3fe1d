#include "measure.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

namespace bench {
namespace {

namespace ipc = boost::interprocess;

struct BoostMutex {
    ipc::interprocess_mutex* mutex;

    void lock() const { mutex->lock(); }
    void unlock() const { mutex->unlock(); }
};

struct BoostCondition {
    ipc::interprocess_condition* condition;
    ipc::interprocess_mutex* mutex;

    void wait() const {
        ipc::scoped_lock guard(*mutex, ipc::accept_ownership);
        condition->wait(guard);
        guard.release();
    }
    void notify_one() const { condition->notify_one(); }
};

struct BoostQueue {
    std::shared_ptr<ipc::message_queue> queue;

    void put(const std::vector<char>& message) const {
        queue->send(message.data(), message.size(), 0);
    }
    void get(std::vector<char>& message) const {
        ipc::message_queue::size_type received = 0;
        unsigned priority = 0;
        queue->receive(message.data(), message.size(), received, priority);
    }
};

BoostQueue make_queue(std::size_t bytes) {
    const std::string name = "prong_bench_" + std::to_string(getpid());
    auto queue = std::make_shared<ipc::message_queue>(ipc::create_only, name.c_str(),
                                                      queue_capacity(bytes), bytes);
    ipc::message_queue::remove(name.c_str()); // processes inherit the queue
    return {std::move(queue)};
}

} // namespace

std::optional<Job> make_boost_job(const Workload& workload, int size) {
    if (workload.id == "lock")
        return lock_job(BoostMutex{&make_shared_object<ipc::interprocess_mutex>()}, size);
    if (workload.id == "condition") {
        auto* const mutex = &make_shared_object<ipc::interprocess_mutex>();
        auto* const condition = &make_shared_object<ipc::interprocess_condition>();
        return condition_job(BoostMutex{mutex}, BoostCondition{condition, mutex});
    }
    if (const auto bytes = message_bytes(workload))
        return queue_job(make_queue(*bytes), size, *bytes);
    return std::nullopt;
}

} // namespace bench
