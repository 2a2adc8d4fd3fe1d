// Workers that have gone mad: they write over the memory that the pool's processes share. What
// their tasks return is worth nothing then, but this process neither crashes nor hangs: every
// future ends, the pool can be ended, and another one works. That nothing is read or written out of
// bounds shows under the sanitizers.

#include "pool/helpers.hpp"
#include "pool/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Future;
using prong::ProcessPoolExecutor;
using prong::TaskOptions;
using prong::with_captures;
using prong::pool::Orders;
using prong::pool::SharedState;
using prong::pool::TaskSettings;
using prong::pool::WorkerSlot;
using prong::ring::Record;
using prong::ring::Status;
using prong::ring::TaskState;

namespace {

using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;
using Bytes = std::span<std::byte>;

/// What must come to an end, does so within this time.
constexpr auto patience = 40s;

// ---- tasks whose arguments and results may be garbage
// --------------------------------------------

std::string echo(const std::string& text) {
    return text;
}

std::vector<std::string> split(const std::vector<int>& numbers) {
    std::vector<std::string> texts;
    for (const int number : numbers) texts.push_back(std::to_string(number));
    return texts;
}

int fail(int number) {
    throw std::out_of_range(std::to_string(number));
}

// ---- the parent's side
// ---------------------------------------------------------------------------

/// Futures of all kinds as one.
class Pending {
public:
    template <typename R>
    explicit Pending(Future<R> future) : future_(std::make_shared<Holder<R>>(std::move(future))) {}

    bool ends_within(std::chrono::nanoseconds time) { return future_->ends_within(time); }
    void take() { future_->take(); }
    void disturb(Random& random) { future_->disturb(random); }

private:
    struct AnyHolder {
        virtual ~AnyHolder() = default;
        virtual bool ends_within(std::chrono::nanoseconds time) = 0;
        virtual void take() = 0;
        virtual void disturb(Random& random) = 0;
    };
    template <typename R>
    struct Holder final : AnyHolder {
        explicit Holder(Future<R> given) : future(std::move(given)) {}

        bool ends_within(std::chrono::nanoseconds time) override {
            return !future.valid() || future.wait_for(time);
        }
        void take() override {
            try {
                if (future.valid()) static_cast<void>(future.get_for(0s));
            } catch (const prong::TimeoutError&) { // the word that said it was done has changed
                future = {};
            } catch (const std::exception&) { // any end will do
            }
        }
        void disturb(Random& random) override {
            if (!future.valid()) return;
            switch (random() % 8) {
            case 0:
                future.cancel();
                break;
            case 1:
                future.kill();
                break;
            case 2:
                static_cast<void>(future.running() || future.cancelled());
                break;
            case 3:
                if (future.done()) static_cast<void>(future.exception());
                break;
            case 4:
                if (future.done()) take();
                break;
            case 5:
                future = {};
                break;
            default:
                static_cast<void>(future.wait_for(std::chrono::microseconds(random() % 2000)));
            }
        }
        Future<R> future;
    };

    std::shared_ptr<AnyHolder> future_;
};

/// Submits a task of some kind, as long as the pool takes any.
template <typename Pool>
bool submit_something(Pool& pool, std::vector<Pending>& pending, Random& random) {
    const auto number = static_cast<int>(random() % 1000);
    const auto size =
        static_cast<std::size_t>(random() % 4 == 0 ? random() % 30'000 : random() % 60);
    const TaskOptions options{.timeout =
                                  random() % 2 == 0 ? prong::detail::Timeout(50ms) : std::nullopt,
                              .grace = 10ms,
                              .max_retries = static_cast<int>(random() % 3),
                              .priority = static_cast<prong::Priority>(random() % 3),
                              .capture_output = random() % 4 == 0};
    try {
        switch (random() % 6) {
        case 0:
            pending.emplace_back(pool.submit(echo, std::string(size, 'x')));
            break;
        case 1:
            pending.emplace_back(pool.submit(split, std::vector<int>(size / 8, number)));
            break;
        case 2:
            pending.emplace_back(pool.submit(fail, number));
            break;
        case 3:
            pending.emplace_back(pool.with(options).submit(square, number));
            break;
        case 4:
            pending.emplace_back(pool.with(options).submit(echo, std::string(size, 'y')));
            break;
        default:
            pending.emplace_back(pool.submit(square, number));
        }
        return true;
    } catch (const std::runtime_error&) { // broken, shut down, or no shared memory
        return false;
    }
}

/// Whether all of them end while the pool is left alone.
bool all_end(std::vector<Pending>& pending, std::chrono::nanoseconds each = patience) {
    const bool ended =
        std::ranges::all_of(pending, [&](Pending& one) { return one.ends_within(each); });
    for (Pending& one : pending) one.take();
    return ended;
}

bool another_pool_works() {
    ProcessPoolExecutor pool(1);
    return pool.submit(square, 7).get() == 49;
}

// ---- writing anything anywhere
// -------------------------------------------------------------------

/// The pool's memory as a worker finds it that knows nothing of the pool.
Bytes find_shared_memory() {
    std::ifstream maps("/proc/self/maps");
    Bytes largest;
    for (std::string line; std::getline(maps, line);) {
        if (line.find("memfd:prong ") == std::string::npos) continue;
        std::uintptr_t begin = 0;
        std::uintptr_t end = 0;
        char dash = 0;
        std::istringstream(line) >> std::hex >> begin >> dash >> end;
        if (end - begin > largest.size())
            largest = {reinterpret_cast<std::byte*>(begin), end - begin};
    }
    return largest;
}

/// Which parts of the memory are in use; a worker in its right mind never knows.
struct Map {
    std::uint64_t records;  ///< where they begin
    std::uint64_t settings; ///< and these
    std::uint64_t payload;
};

Map map_of(const SharedState& state) {
    const auto offset = [&](const auto& part) {
        return static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&part) -
                                          state.region.base());
    };
    return {.records = offset(state.records[0]),
            .settings = offset(state.settings(0)),
            .payload = offset(state.settings(0)) + state.records.size() * sizeof(TaskSettings)};
}

/// A word that may do harm: anything, a border, or what stands elsewhere in the memory.
std::uint64_t nasty_word(Bytes memory, const Map& map, Random& random) {
    switch (random() % 6) {
    case 0:
        return random();
    case 1:
        return random() % 300;
    case 2:
        return std::uint64_t{1} << random() % 64;
    case 3:
        return ~std::uint64_t{0} >> random() % 64;
    case 4:
        return random() % memory.size();
    default: {
        std::uint64_t word = 0;
        std::memcpy(&word, memory.data() + random() % (map.records + 8192) / 8 * 8, sizeof(word));
        return word;
    }
    }
}

/// Writes nonsense over the whole memory, mostly where something is, until `end`.
void scribble(Bytes memory, const Map& map, std::uint64_t seed, Clock::time_point end) {
    Random random(seed);
    const std::uint64_t begins[] = {0, map.records, map.settings, map.payload};
    while (Clock::now() < end) {
        for (int i = 0; i < 200; ++i) {
            const std::uint64_t part = random() % 64;
            const std::uint64_t reach = std::uint64_t{1} << (8 + random() % 10);
            std::uint64_t at = part < 60 ? begins[part % 4] + random() % reach : random();
            if (part < 20) at = random() % map.records; // control, workers, entries
            at = at % (memory.size() - 64) / 8 * 8;
            if (at > map.payload + (1 << 20) && random() % 64 != 0) continue; // few new pages
            std::uint64_t word = nasty_word(memory, map, random);
            const std::size_t size = random() % 4 == 0 ? 1 + random() % 8 : sizeof(word);
            const std::size_t times = random() % 16 == 0 ? 8 : 1;
            for (std::size_t k = 0; k < times; ++k)
                std::memcpy(memory.data() + at + 8 * k, &word, size);
        }
        if (random() % 4 == 0)
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
    }
}

/// One life of a pool with workers that scribble.
void live_with_mad_workers(Random& random) {
    const unsigned workers = 1 + static_cast<unsigned>(random() % 3);
    BarePool pool(workers);
    const Map map = map_of(pool.state());
    pool.start_processes();
    std::vector<Pending> pending;
    const auto mad = with_captures([map](std::uint64_t seed, std::int64_t milliseconds) {
        const Bytes memory = find_shared_memory();
        const auto length = std::chrono::milliseconds(milliseconds);
        if (!memory.empty()) scribble(memory, map, seed, Clock::now() + length);
    });
    const auto go_mad = [&] {
        try {
            pending.emplace_back(pool.submit(mad, random(), std::int64_t(1 + random() % 60)));
        } catch (const std::runtime_error&) {
        }
    };
    for (int i = 0; i < 20; ++i) submit_something(pool, pending, random);
    const auto until = Clock::now() + std::chrono::milliseconds(30 + random() % 100);
    go_mad();
    while (Clock::now() < until) {
        switch (random() % 16) {
        case 0:
            go_mad();
            break;
        case 1:
            static_cast<void>(pool.core().stats());
            break;
        case 2:
            if (!pending.empty()) pending[random() % pending.size()].disturb(random);
            break;
        default:
            if (pending.size() < 500)
                submit_something(pool, pending, random);
            else
                pending[random() % pending.size()].disturb(random);
        }
    }
    switch (random() % 5) {
    case 0:
        pool.core().shutdown(false, random() % 2 == 0);
        break;
    case 1:
        pool.core().shutdown(true, random() % 2 == 0);
        break;
    case 2:
        pool.core().end_workers(random() % 2 == 0 ? Orders::kill : Orders::terminate);
        break;
    case 3:
        static_cast<void>(pool.core().shutdown_for(Clock::now() + 20ms));
        break;
    default:
        break;
    }
    CHECK(all_end(pending));
}

} // namespace

TEST_CASE("workers write nonsense over all shared memory, and nothing crashes or hangs") {
    Random random(test_seed());
    const auto end = Clock::now() + (full_run() ? 120s : 4s);
    int rounds = 0;
    for (; Clock::now() < end; ++rounds) {
        const std::uint64_t seed = random();
        INFO("round " << rounds << " with seed " << seed);
        Random of_round(seed);
        live_with_mad_workers(of_round);
        if (rounds % 8 == 0) CHECK(another_pool_works());
    }
    std::cerr << rounds << " pools with mad workers\n";
    CHECK(another_pool_works());
}
