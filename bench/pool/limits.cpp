// What the hardware and the kernel allow: the same steps with nothing around them. The figures
// stand in the tables as one more competitor.

#include "../harness/timing.hpp"
#include "measure.hpp"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <new>
#include <thread>

namespace bench {
namespace {

using Word = std::atomic<std::uint32_t>;

void wait_spinning(const Word& word, std::uint32_t value) {
    while (word.load(std::memory_order_acquire) != value) {
    }
}

void wait_asleep(const Word& word, std::uint32_t value) {
    for (std::uint32_t seen = 0; (seen = word.load(std::memory_order_acquire)) != value;) {
        syscall(SYS_futex, &word, FUTEX_WAIT, seen, nullptr, nullptr, 0);
    }
}

void wake(const Word& word) {
    syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

/// Two processes and a word each way.
class PingPong {
public:
    explicit PingPong(bool asleep) : asleep_(asleep) {
        void* const memory =
            mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        there_ = new (memory) Word(0);
        back_ = new (static_cast<char*>(memory) + 256) Word(0);
        child_ = fork();
        if (child_ != 0) return;
        for (std::uint32_t turn = 1;; ++turn) {
            wait(*there_, turn);
            answer(*back_, turn);
        }
    }
    PingPong(const PingPong&) = delete;
    PingPong& operator=(const PingPong&) = delete;
    ~PingPong() {
        kill(child_, SIGKILL);
        waitpid(child_, nullptr, 0);
        munmap(there_, 4096);
    }

    void round_trip() {
        answer(*there_, ++turn_);
        wait(*back_, turn_);
    }

private:
    void wait(const Word& word, std::uint32_t value) const {
        asleep_ ? wait_asleep(word, value) : wait_spinning(word, value);
    }
    void answer(Word& word, std::uint32_t value) const {
        word.store(value, std::memory_order_release);
        if (asleep_) wake(word);
    }

    bool asleep_;
    Word* there_ = nullptr;
    Word* back_ = nullptr;
    pid_t child_ = 0;
    std::uint32_t turn_ = 0;
};

/// One worker spinning where a core is to spare, else both sides asleep.
Figures round_trips(double seconds, bool spin, bool idle) {
    PingPong pair(!spin);
    const std::vector<double> times = sample(
        seconds, 20, [&] { pair.round_trip(); },
        [&] {
            if (idle) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        });
    const std::string name = idle ? "idle_round_trip" : "round_trip";
    return {{name + "_p50_us", quantile(times, 0.5) * 1e6},
            {name + "_p99_us", quantile(times, 0.99) * 1e6}};
}

/// Into shared memory that has been touched, out of it, in again and out again.
Figures copies(double seconds, const std::string& metric, std::size_t mib) {
    const std::size_t size = mib << 20;
    void* const shared = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (shared == MAP_FAILED) throw std::bad_alloc();
    const Bytes bytes(size, 'x');
    const char* const begin = static_cast<const char*>(shared);
    const std::vector<double> times = sample(seconds, 3, [&] {
        std::memcpy(shared, bytes.data(), size);
        const Bytes in_worker(begin, begin + size);
        std::memcpy(shared, in_worker.data(), size);
        const Bytes result(begin, begin + size);
    });
    munmap(shared, size);
    return {{metric, quantile(times, 0.5) * 1e3}};
}

Figures forks(double seconds, int count) {
    const std::vector<double> times = sample(seconds, 5, [&] {
        for (int i = 0; i < count; ++i) {
            if (fork() == 0) _exit(0);
        }
        for (int i = 0; i < count; ++i) wait(nullptr);
    });
    return {{"creation_ms", quantile(times, 0.5) * 1e3}};
}

} // namespace

Figures measure_limits(const Workload& workload, int workers, double seconds) {
    if (workload.id == "round_trip") {
        return round_trips(seconds, workers == 1 && available_cpus() > 1, false);
    }
    if (workload.id == "idle_round_trip") return round_trips(seconds, false, true);
    if (workload.id == "echo_1_mib") return copies(seconds, workload.metrics[0].id, 1);
    if (workload.id == "echo_64_mib") return copies(seconds, workload.metrics[0].id, 64);
    if (workload.id == "creation") return forks(seconds, workers);
    return {};
}

} // namespace bench
