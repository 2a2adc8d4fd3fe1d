// What the hardware and the kernel allow, one more competitor in the tables: the minimal pool of
// floor.cpp, or the bare steps with nothing around them.

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

namespace bench {
namespace {

using Word = std::atomic<std::uint32_t>;

void wait(const Word& word, std::uint32_t value) {
    for (std::uint32_t seen = 0; (seen = word.load(std::memory_order_acquire)) != value;) {
        syscall(SYS_futex, &word, FUTEX_WAIT, seen, nullptr, nullptr, 0);
    }
}

void answer(Word& word, std::uint32_t value) {
    word.store(value, std::memory_order_release);
    syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

/// Two processes and a futex each way.
class PingPong {
public:
    PingPong() {
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
    Word* there_ = nullptr;
    Word* back_ = nullptr;
    pid_t child_ = 0;
    std::uint32_t turn_ = 0;
};

Figures idle_round_trips(double seconds) {
    PingPong pair;
    return percentiles("idle_round_trip",
                       sample(
                           seconds, idle_trips, [&] { pair.round_trip(); }, be_idle));
}

/// Memory that two processes could share, touched.
class Shared {
public:
    explicit Shared(std::size_t size) : size_(size) {
        void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        begin_ = static_cast<char*>(memory);
    }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    ~Shared() { munmap(begin_, size_); }

    [[nodiscard]] char* begin() const { return begin_; }
    [[nodiscard]] char* end() const { return begin_ + size_; }

private:
    char* begin_;
    std::size_t size_;
};

/// Four copies: into shared memory, out of it, in again and out again.
Figures echo_copies(std::size_t size, double seconds) {
    if (!has_memory_for(payload_copies * size)) return {};
    const Shared shared(size);
    const Bytes bytes(size, 'x');
    const std::vector<double> times = sample(seconds, 1, [&] {
        std::memcpy(shared.begin(), bytes.data(), size);
        const Bytes in_worker(shared.begin(), shared.end());
        std::memcpy(shared.begin(), in_worker.data(), size);
        const Bytes received(shared.begin(), shared.end());
    });
    return {{"echo_us", quantile(times, 0.5) * 1e6}};
}

/// A `memset` and two copies, all in memory that has been touched.
Figures result_copies(std::size_t size, double seconds) {
    if (!has_memory_for(payload_copies * size)) return {};
    const Shared shared(size);
    Bytes in_worker(size);
    Bytes received(size);
    const std::vector<double> times = sample(seconds, 1, [&] {
        std::memset(in_worker.data(), 'x', size);
        std::memcpy(shared.begin(), in_worker.data(), size);
        std::memcpy(received.data(), shared.begin(), size);
    });
    return {{"result_us", quantile(times, 0.5) * 1e6}};
}

Figures forks(int mib, double seconds) {
    const std::size_t bytes = static_cast<std::size_t>(mib) << 20;
    if (!has_memory_for(bytes + bytes / 2)) return {};
    const UsedMemory program(bytes);
    const std::vector<double> times = sample(seconds, mib < 1000 ? 5 : 2, [&] {
        for (int i = 0; i < two_workers; ++i) {
            if (fork() == 0) _exit(0);
        }
        for (int i = 0; i < two_workers; ++i) ::wait(nullptr);
    });
    return {{"creation_ms", quantile(times, 0.5) * 1e3}};
}

} // namespace

Figures measure_limits(const Workload& workload, int size, double seconds) {
    const std::string& id = workload.id;
    if (id == "idle_round_trip") return idle_round_trips(seconds);
    if (id == "echo") return echo_copies(static_cast<std::size_t>(size), seconds);
    if (id == "result") return result_copies(static_cast<std::size_t>(size), seconds);
    if (id == "creation") return forks(size, seconds);
    if (id == "cpu") return {}; // all of the cores
    return measure(make_floor, workload, size, seconds);
}

} // namespace bench
