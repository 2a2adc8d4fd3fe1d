#include "../harness/timing.hpp"
#include "measure.hpp"

#include <prong/prong.hpp>

#include <memory>
#include <mutex>

namespace bench {
namespace {

struct ProngCondition {
    prong::Condition condition;
    prong::Lock lock;

    /// The caller holds the lock.
    void wait() const {
        std::unique_lock guard(lock, std::adopt_lock);
        condition.wait(guard);
        guard.release();
    }
    void notify_one() const { condition.notify_one(); }
};

struct ProngQueue {
    std::shared_ptr<prong::Queue<std::vector<char>>> queue;

    void put(const std::vector<char>& message) const { queue->put(message); }
    void get(std::vector<char>& message) const { message = queue->get(); }
};

struct Number {
    int value = 0;
    int add(int more) { return value += more; }
};

} // namespace

std::optional<Job> make_prong_job(const Workload& workload, int size) {
    // A small object is never destroyed; the job has a copy of the handle.
    if (workload.id == "lock") return lock_job(*new prong::Lock, size);
    if (workload.id == "condition") {
        const auto& condition = *new prong::Condition;
        const prong::Lock lock = condition.lock();
        return condition_job(lock, ProngCondition{condition, lock});
    }
    if (workload.id == "barrier") return barrier_job(*new prong::Barrier(size), size);
    if (const auto bytes = message_bytes(workload)) {
        const auto capacity = static_cast<std::int64_t>(queue_capacity(*bytes));
        return queue_job(ProngQueue{std::make_shared<prong::Queue<std::vector<char>>>(capacity)},
                         size, *bytes);
    }
    return std::nullopt;
}

Figures measure_prong_death(const Workload& workload, double seconds) {
    const prong::Lock lock;
    return measure_death(
        workload, seconds, [&] { lock.lock(); }, [&] { lock.unlock(); });
}

Figures measure_prong_manager(const Workload& workload, double seconds) {
    const prong::Manager manager;
    const auto number = manager.make<Number>();
    int calls = 0;
    const std::vector<double> times = sample(seconds, 20, [&] {
        if (number.call(&Number::add, 1) != ++calls) throw std::runtime_error("wrong: manager");
    });
    return {{workload.metrics[0].id, quantile(times, 0.5) * 1e6}};
}

} // namespace bench
