// Workers that corrupt the memory that the pool's processes share, at random. Results may be wrong
// then, but this process neither crashes nor hangs: every future ends, the pool can be ended, and
// another one works. The sanitizers show that nothing is read or written out of bounds.
// See also attacks_test.cpp.

#include "executor/corruption.hpp"
#include "executor/shared/failure_report.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <chrono>
#include <cstring>
#include <fstream>
#include <limits>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::proc::StopMode;
using prong::ring::Record;

namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::span<std::byte>;

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
void live_with_corrupting_workers(Random& random) {
    const unsigned workers = 1 + static_cast<unsigned>(random() % 3);
    BarePool pool(workers);
    const Map map = map_of(pool.state());
    pool.start_processes();
    std::vector<Pending> pending;
    const auto corrupt = with_captures([map](std::uint64_t seed, std::int64_t milliseconds) {
        const Bytes memory = find_shared_memory();
        const auto length = std::chrono::milliseconds(milliseconds);
        if (!memory.empty()) scribble(memory, map, seed, Clock::now() + length);
    });
    const auto start_corrupting = [&] {
        try {
            pending.emplace_back(pool.submit(corrupt, random(), std::int64_t(1 + random() % 60)));
        } catch (const std::runtime_error&) {
        }
    };
    for (int i = 0; i < 20; ++i) submit_something(pool, pending, random);
    const auto until = Clock::now() + std::chrono::milliseconds(30 + random() % 100);
    start_corrupting();
    while (Clock::now() < until) {
        switch (random() % 16) {
        case 0:
            start_corrupting();
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
        pool.core().end_workers(random() % 2 == 0 ? StopMode::kill : StopMode::terminate);
        break;
    case 3:
        static_cast<void>(pool.core().shutdown_for(prong::detail::Deadline::after(20ms)));
        break;
    default:
        break;
    }
    CHECK(all_end(pending));
}

} // namespace

TEST_CASE("a failure report has no impossible exit code") {
    const BarePool pool(1);
    Record& record = pool.state().records[0];
    const auto written = [&](int last, int earlier) {
        prong::executor::write_failure_report(pool.state(), 0, record,
                                              {.death = {.pid = 2, .exitcode = last},
                                               .earlier = {{.pid = 1, .exitcode = earlier}},
                                               .attempts = 2});
        return prong::detail::Reader(*pool.state().result_of(record));
    };
    constexpr int impossible = std::numeric_limits<int>::min();
    CHECK(prong::executor::read_failure_report(written(-9, -9)).earlier.size() == 1);
    CHECK_THROWS_AS(prong::executor::read_failure_report(written(impossible, -9)),
                    prong::CodecError);
    CHECK_THROWS_AS(prong::executor::read_failure_report(written(-9, impossible)),
                    prong::CodecError);
}

TEST_CASE("workers write nonsense over all shared memory, and nothing crashes or hangs") {
    Random random(test_seed());
    const auto end = Clock::now() + (full_run() ? 120s : 4s);
    int rounds = 0;
    for (; Clock::now() < end; ++rounds) {
        const std::uint64_t seed = random();
        INFO("round " << rounds << " with seed " << seed);
        Random of_round(seed);
        live_with_corrupting_workers(of_round);
        if (rounds % 8 == 0) CHECK(another_pool_works());
    }
    print_tally(std::to_string(rounds) + " pools with workers that corrupt memory");
    CHECK(another_pool_works());
}
