// The least that a task pool can be: slots in shared memory, a claim by one compare-and-swap that
// names the worker, the result in place. It has no futures, checks nothing, and survives nothing.

#include "../harness/suite.hpp"
#include "competitor.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <ctime>
#include <new>
#include <numeric>

namespace bench {
namespace {

using Word = std::atomic<std::uint32_t>;

enum State : std::uint32_t { queued = 1, done = 2, running = 3 }; // running: and the worker above

/// A task. The upper half of its status is the run, the lower one the state.
struct alignas(64) Slot {
    std::atomic<std::uint64_t> status;
    Task task;
    std::int32_t argument;
    std::int32_t result;
};

constexpr std::size_t capacity = 1 << 24;

struct Memory {
    alignas(64) std::atomic<std::uint64_t> cursor; ///< the run, and the slot that is claimed next
    alignas(64) Word sleepers;
    alignas(64) Word bell;
    Slot slots[capacity];
};

constexpr unsigned looks_before_sleep = 2'000;

void relax() {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

/// What the map's tasks read and write, shared with the workers.
struct Squares {
    int numbers[map_count];
    std::int64_t squares[map_count];
};

Squares* map_memory = nullptr;
constexpr int map_block = 8'192;

int square_block(int begin) {
    for (int n = begin; n < std::min(begin + map_block, map_count); ++n)
        map_memory->squares[n] = square(map_memory->numbers[n]);
    return 0;
}

template <typename T>
T* map_shared() {
    void* const memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(memory);
}

class Floor final : public Competitor {
public:
    explicit Floor(Setup setup)
        : memory_(map_shared<Memory>()), workers_count_(static_cast<std::size_t>(setup.workers)),
          most_awake_(static_cast<std::size_t>(available_cpus())) {
        map_memory = map_shared<Squares>();
        start_run();
        for (int i = 0; i < setup.workers; ++i) {
            const pid_t pid = fork();
            if (pid == 0) serve(static_cast<std::uint32_t>(i));
            workers_.push_back(pid);
        }
    }
    ~Floor() override {
        for (const pid_t pid : workers_) kill(pid, SIGKILL);
        for (const pid_t pid : workers_) waitpid(pid, nullptr, 0);
        munmap(memory_, sizeof(Memory));
        munmap(map_memory, sizeof(Squares));
    }

    std::int64_t run_all(Task task, int count) override {
        start_run();
        for (int n = 0; n < count; ++n) submit(next_++, task, n);
        std::int64_t sum = 0;
        for (std::uint32_t index = 0; index < next_; ++index) sum += take(index);
        return sum;
    }

    std::optional<std::int64_t> run_all_from(int threads, Task task, int count) override {
        start_run();
        Word next = 0;
        return run_in_threads(threads, [&] {
            std::vector<std::uint32_t> indices;
            indices.reserve(static_cast<std::size_t>(count));
            for (int n = 0; n < count; ++n) {
                indices.push_back(next.fetch_add(1, std::memory_order_relaxed));
                submit(indices.back(), task, n);
            }
            std::int64_t sum = 0;
            for (const std::uint32_t index : indices) sum += take(index);
            return sum;
        });
    }

    int call(int n) override {
        if (next_ == 4'096) start_run(); // so that the slots stay in the cache
        submit(next_, increment, n);
        return take(next_++);
    }

    std::vector<std::int64_t> map_squares(int count) override {
        std::iota(map_memory->numbers, map_memory->numbers + count, 0);
        start_run();
        for (int begin = 0; begin < count; begin += map_block) submit(next_++, square_block, begin);
        for (std::uint32_t index = 0; index < next_; ++index) take(index);
        return {map_memory->squares, map_memory->squares + count};
    }

private:
    /// Begins at the first slot again. No task may be left.
    void start_run() {
        next_ = 0;
        memory_->cursor.store(++run_ << 32, std::memory_order_release);
    }

    void submit(std::uint32_t index, Task task, int argument) {
        Slot& slot = memory_->slots[index];
        slot.task = task;
        slot.argument = argument;
        slot.status.store(run_ << 32 | queued, std::memory_order_release);
    }

    int take(std::uint32_t index) const {
        const Slot& slot = memory_->slots[index];
        for (unsigned looks = 1; slot.status.load(std::memory_order_acquire) != (run_ << 32 | done);
             ++looks) {
            relax();
            if (looks % looks_before_sleep == 0) sched_yield();
        }
        return slot.result;
    }

    [[noreturn]] void serve(std::uint32_t worker) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned looks = 1;; ++looks) {
            std::uint64_t cursor = memory_->cursor.load(std::memory_order_acquire);
            const auto index = static_cast<std::uint32_t>(cursor);
            Slot& slot = memory_->slots[index];
            std::uint64_t status = slot.status.load(std::memory_order_acquire);
            if (status >> 32 != cursor >> 32) { // nothing there
                relax();
                if (looks >= looks_before_sleep) looks = pause(worker);
                continue;
            }
            const std::uint64_t owned = cursor >> 32 << 32 | worker << 2 | running;
            const bool is_mine = static_cast<std::uint32_t>(status) == queued &&
                                 slot.status.compare_exchange_strong(status, owned);
            memory_->cursor.compare_exchange_strong(cursor, cursor + 1);
            if (!is_mine) continue;
            looks = 0;
            __builtin_prefetch(&slot + 1, 1);
            if (may_wake()) wake_for(index + 1);
            slot.result = slot.task(slot.argument);
            slot.status.store(cursor >> 32 << 32 | done, std::memory_order_release);
        }
    }

    /// The first worker never sleeps. A worker that leaves work behind wakes another one, if there
    /// is a CPU for it. Returns how many looks the next pause is near.
    unsigned pause(std::uint32_t worker) {
        if (worker == 0) {
            sched_yield();
            return 0;
        }
        const std::uint32_t seen = memory_->bell.load();
        const timespec most{.tv_sec = 0, .tv_nsec = 100'000'000}; // a ring may be missed
        ++memory_->sleepers;
        const long ended = syscall(SYS_futex, &memory_->bell, FUTEX_WAIT, seen, &most, nullptr, 0);
        --memory_->sleepers;
        return ended == 0 ? 0 : looks_before_sleep; // in vain: sleeps again after one look
    }

    [[nodiscard]] bool may_wake() const {
        const std::size_t sleepers = memory_->sleepers.load(std::memory_order_relaxed);
        return sleepers > 0 && workers_count_ - sleepers < most_awake_;
    }

    void wake_for(std::uint32_t index) {
        if (static_cast<std::uint32_t>(memory_->slots[index].status.load()) != queued) return;
        ++memory_->bell;
        syscall(SYS_futex, &memory_->bell, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }

    Memory* memory_;
    std::size_t workers_count_;
    std::size_t most_awake_;
    std::uint64_t run_ = 0;
    std::uint32_t next_ = 0;
    std::vector<pid_t> workers_;
};

} // namespace

std::unique_ptr<Competitor> make_floor(Setup setup) {
    return std::make_unique<Floor>(setup);
}

} // namespace bench
