#include <prong/shared_buffer.hpp>

#include "buffer/memory.hpp"
#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

using namespace prong::test;
using prong::CodecError;
using prong::ObjectGone;
using prong::Process;
using prong::SharedBuffer;
using prong::SharedView;

namespace {

using Ints = SharedBuffer<int>;
using IntView = SharedView<int>;

Ints numbers(std::size_t size, int first = 0) {
    Ints buffer(size);
    std::iota(buffer.begin(), buffer.end(), first);
    return buffer;
}

std::int64_t sum_of(std::span<const int> span) {
    return std::accumulate(span.begin(), span.end(), std::int64_t{0});
}

Ints increment(Ints buffer) {
    for (int& element : buffer) ++element;
    return buffer;
}
std::int64_t sum(const Ints& buffer) {
    return sum_of(buffer);
}
std::int64_t sum_rvalue(Ints&& buffer) {
    return sum_of(buffer);
}
std::int64_t sum_value(Ints buffer) {
    return sum_of(buffer);
}
std::int64_t sum_view(const IntView& view) {
    return sum_of(view);
}
IntView echo_view(IntView view) {
    return view;
}
Ints make(std::size_t size) {
    return numbers(size);
}

/// A buffer within something else.
struct Image {
    std::string name;
    Ints pixels;
    std::optional<Ints> mask;
};
Image invert(Image image) {
    for (int& pixel : image.pixels) pixel = -pixel;
    image.name += "!";
    return image;
}

/// A buffer that the compiler does not see.
struct Hidden {
    Ints buffer;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(buffer);
    }
};

struct Unencodable {
    template <class Archive>
    void serialize(Archive& /*archive*/) {
        throw std::runtime_error("cannot be encoded");
    }
};

/// Where a test's tasks find what they need.
struct Board {
    std::atomic<int> runs{0};
    std::atomic<int> pid{0};
};

} // namespace

TEST_CASE("a buffer has elements until it is moved from") {
    const BufferMemory memory;
    {
        Ints buffer(1000);
        REQUIRE(buffer.size() == 1000);
        REQUIRE(!buffer.empty());
        REQUIRE(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64 == 0);
        std::ranges::fill(buffer, 3);
        REQUIRE(buffer[999] == 3);
        REQUIRE(std::span<int>(buffer).size() == 1000);
        const Ints& constant = buffer;
        REQUIRE(sum_of(constant) == 3000);
        REQUIRE(constant.end() - constant.begin() == 1000);

        Ints moved = std::move(buffer);
        REQUIRE(buffer.empty());           // NOLINT(bugprone-use-after-move)
        REQUIRE(buffer.data() == nullptr); // NOLINT(bugprone-use-after-move)
        REQUIRE(moved.size() == 1000);
        buffer = Ints(2, 7);
        REQUIRE(sum_of(buffer) == 14);
        buffer = std::move(moved);
        REQUIRE(buffer.size() == 1000);
        REQUIRE(moved.empty()); // NOLINT(bugprone-use-after-move)
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a buffer may have no elements") {
    const BufferMemory memory;
    const Ints nothing(0);
    REQUIRE(nothing.empty());
    REQUIRE(nothing.begin() == nothing.end());
    REQUIRE(nothing.share().empty());
    ProcessPoolExecutor pool(1);
    REQUIRE(pool.submit(increment, Ints(0)).get().empty());
    REQUIRE(pool.submit(increment, Ints()).get().empty());
    REQUIRE(pool.submit(sum_view, IntView()).get() == 0);
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a buffer that is too large is refused") {
    REQUIRE_THROWS_AS(Ints(std::size_t{1} << 62), prong::LimitExceeded);
    REQUIRE_THROWS_AS(Ints(~std::size_t{0}), prong::LimitExceeded);
}

TEST_CASE("a task gets a buffer, and returns it, without a copy") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(2);
        Ints buffer = numbers(10000);
        const int* const place = buffer.data();
        Future<Ints> future = pool.submit(increment, std::move(buffer));
        REQUIRE(buffer.empty()); // NOLINT(bugprone-use-after-move)
        const Ints result = future.get();
        REQUIRE(result.data() == place);
        REQUIRE(result.size() == 10000);
        REQUIRE(sum_of(result) == 10000LL * 9999 / 2 + 10000);

        REQUIRE(pool.submit(make, 100).get().size() == 100);
        REQUIRE(pool.submit(sum, numbers(10)).get() == 45);
        REQUIRE(pool.submit(sum_rvalue, numbers(10)).get() == 45);
        REQUIRE(pool.submit(sum_value, numbers(10)).get() == 45);
        REQUIRE(pool.submit(sum_of, numbers(10)).get() == 45);
        REQUIRE(pool.submit(sum_of, numbers(10).share()).get() == 45);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a buffer passes through any number of tasks and pools") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor first(2);
        ProcessPoolExecutor second(1);
        Ints buffer(100, 0);
        const int* const place = buffer.data();
        for (int i = 0; i < 200; ++i)
            buffer = (i % 2 == 0 ? first : second).submit(increment, std::move(buffer)).get();
        REQUIRE(buffer.data() == place);
        REQUIRE(sum_of(buffer) == 100 * 200);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("buffers lie in containers, pairs, structs and variants") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(2);
        Image image{.name = "sky", .pixels = numbers(10), .mask = Ints(3, 1)};
        const Image back = pool.submit(invert, std::move(image)).get();
        REQUIRE(back.name == "sky!");
        REQUIRE(sum_of(back.pixels) == -45);
        REQUIRE(sum_of(*back.mask) == 3);

        std::vector<Ints> several;
        for (int i = 0; i < 5; ++i) several.push_back(numbers(4, i));
        const auto reversed = [](std::vector<Ints> buffers) {
            std::ranges::reverse(buffers);
            return buffers;
        };
        const std::vector<Ints> swapped = pool.submit(reversed, std::move(several)).get();
        REQUIRE(swapped.size() == 5);
        REQUIRE(swapped[0][0] == 4);

        const auto split = [](Ints whole) {
            Ints half(whole.size() / 2);
            std::copy_n(whole.begin(), half.size(), half.begin());
            return std::pair(std::move(whole), std::move(half));
        };
        const auto [whole, half] = pool.submit(split, numbers(10)).get();
        REQUIRE(whole.size() == 10);
        REQUIRE(sum_of(half) == 10);

        using Either = std::variant<int, Ints>;
        const auto flip = [](Either either) {
            return either.index() == 0 ? Either(Ints(2, std::get<int>(either))) : Either(5);
        };
        REQUIRE(sum_of(std::get<Ints>(pool.submit(flip, Either(4)).get())) == 8);
        REQUIRE(std::get<int>(pool.submit(flip, Either(Ints(3))).get()) == 5);

        std::map<std::string, std::unique_ptr<Ints>> named;
        named.emplace("a", std::make_unique<Ints>(numbers(3)));
        named.emplace("b", nullptr);
        const auto count = [](std::map<std::string, std::unique_ptr<Ints>> map) {
            return sum_of(*map["a"]);
        };
        REQUIRE(pool.submit(count, std::move(named)).get() == 3);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a class with a serialize function may hold a buffer as an argument only") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(1);
        const auto count = [](const Hidden& hidden) { return sum(hidden.buffer); };
        REQUIRE(pool.submit(count, Hidden{numbers(10)}).get() == 45);
        const auto hide = [] { return Hidden{numbers(10)}; };
        REQUIRE_THROWS_AS(pool.submit(hide).get(), CodecError);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a buffer cannot go to a hook, or in an exception") {
    const BufferMemory memory;
    {
        Ints buffer = numbers(10);
        prong::detail::BufferWriter writer;
        REQUIRE_THROWS_AS(prong::detail::encode(writer, buffer), CodecError);
        REQUIRE(buffer.size() == 10);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("any number of tasks hold a view") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(2);
        std::vector<Future<std::int64_t>> futures;
        {
            const Ints table = numbers(1000);
            const IntView view = table.share();
            const IntView copy = view; // NOLINT(performance-unnecessary-copy-initialization)
            REQUIRE(copy.data() == table.data());
            for (int i = 0; i < 1000; ++i) futures.push_back(pool.submit(sum_view, view));
            const IntView back = pool.submit(echo_view, view).get();
            REQUIRE(back.data() == table.data());
        } // the table lives on in the tasks
        for (auto& future : futures) REQUIRE(future.get() == 499500);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a view outlives the buffer that it shows") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(1);
        Ints table = numbers(10);
        IntView view = table.share();
        table = Ints();
        REQUIRE(sum_of(view) == 45);
        view = pool.submit([] { return numbers(20).share(); }).get();
        REQUIRE(sum_of(view) == 190);
        Ints passed = numbers(10);
        view = passed.share();
        Future<std::int64_t> future = pool.submit(sum, std::move(passed));
        REQUIRE(sum_of(view) == 45);
        REQUIRE(future.get() == 45);
        REQUIRE(sum_of(view) == 45);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a submit that throws or declines leaves the buffer to the caller") {
    const BufferMemory memory;
    {
        Ints buffer = numbers(10);
        const int* const place = buffer.data();
        {
            ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 1});
            Shared<Gate> gate;
            ProcessPoolExecutor busy(PoolOptions{.max_workers = 1, .max_pending = 1});
            auto wait = with_captures([gate = gate.get()] { gate->pass(); });
            Future<void> running = busy.submit(wait);
            while (!running.running()) std::this_thread::yield();
            Future<void> queued = busy.submit(wait);
            REQUIRE(!busy.try_submit(increment, std::move(buffer)));
            REQUIRE(buffer.data() == place); // NOLINT(bugprone-use-after-move)
            REQUIRE(!busy.try_submit_for(1ms, increment, std::move(buffer)));
            REQUIRE(buffer.data() == place); // NOLINT(bugprone-use-after-move)
            gate->open();
            running.get();
            queued.get();

            pool.shutdown();
            REQUIRE_THROWS_AS(pool.submit(increment, std::move(buffer)), prong::PoolShutdown);
            REQUIRE(buffer.data() == place); // NOLINT(bugprone-use-after-move)
            using Null = std::int64_t (*)(const Ints&);
            REQUIRE_THROWS_AS(busy.submit(Null{nullptr}, std::move(buffer)), std::invalid_argument);
            REQUIRE(buffer.data() == place); // NOLINT(bugprone-use-after-move)
        }
        REQUIRE(sum_of(buffer) == 45);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("the buffers of tasks that do not run are freed") {
    const BufferMemory memory;
    {
        Shared<Gate> gate;
        ProcessPoolExecutor pool(1);
        Future<void> running = pool.submit(with_captures([gate = gate.get()] { gate->pass(); }));
        Future<Ints> cancelled = pool.submit(increment, numbers(10));
        REQUIRE(cancelled.cancel());
        REQUIRE_THROWS_AS(cancelled.get(), CancelledError);
        { const Future<Ints> dropped = pool.submit(increment, numbers(10)); }
        Future<Ints> expired =
            pool.with(TaskOptions{.deadline = 1ms}).submit(increment, numbers(10));
        REQUIRE_THROWS_AS(expired.get(), prong::TaskTimeout);
        const Ints kept = numbers(10);
        Future<std::int64_t> viewed = pool.submit(sum_view, kept.share());
        REQUIRE(viewed.cancel());
        gate->open();
        running.get();
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("the results of dropped futures are freed") {
    const BufferMemory memory;
    {
        Shared<Gate> gate;
        Shared<Gate> second;
        ProcessPoolExecutor pool(1);
        { // dropped before the task runs, while it runs, after it has ended
            Future<void> first = pool.submit(with_captures([gate = gate.get()] { gate->pass(); }));
            static_cast<void>(pool.submit(make, 1000));
            gate->open();
            first.get();
        }
        {
            Future<Ints> ended = pool.submit(make, 1000);
            ended.wait();
        }
        {
            Future<std::vector<IntView>> views = pool.submit([] {
                const Ints buffer = numbers(10);
                return std::vector{buffer.share(), buffer.share()};
            });
            views.wait();
        }
        // A large result takes a payload block.
        auto large = with_captures([gate = second.get()] {
            gate->pass();
            return std::pair(std::string(100000, 'x'), numbers(10));
        });
        static_cast<void>(pool.submit(large));
        second->open();
        pool.submit(sum, numbers(1)).get();
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a task's error frees its buffers") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(1);
        const auto fails = [](Ints buffer) -> Ints {
            if (buffer.size() == 10) throw std::runtime_error("ten");
            return buffer;
        };
        REQUIRE_THROWS_AS(pool.submit(fails, numbers(10)).get(), std::runtime_error);
        const auto dies = [](Ints buffer) -> Ints {
            std::raise(SIGKILL);
            return buffer;
        };
        REQUIRE_THROWS_AS(pool.submit(dies, numbers(10)).get(), WorkerDied);
        const auto loops = [](Ints buffer) -> Ints {
            for (;;) pause();
            return buffer;
        };
        auto quick = pool.with(TaskOptions{.timeout = 20ms, .grace = 0ms});
        REQUIRE_THROWS_AS(quick.submit(loops, numbers(10)).get(), prong::TaskTimeout);
        Future<Ints> killed = pool.submit(loops, numbers(10));
        while (!killed.running()) std::this_thread::yield();
        REQUIRE(killed.kill());
        REQUIRE_THROWS_AS(killed.get(), CancelledError);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a task that is tried again gets its buffer again") {
    const BufferMemory memory;
    {
        Shared<Board> board;
        ProcessPoolExecutor pool(2);
        auto retried = pool.with(TaskOptions{.max_retries = 3});
        auto task = with_captures([board = board.get()](Ints buffer) {
            ++buffer[0];
            { const Ints moved = std::move(buffer); } // freed, as far as the task sees
            if (board->runs.fetch_add(1) < 2) std::raise(SIGKILL);
            return board->runs.load();
        });
        REQUIRE(retried.submit(task, numbers(10)).get() == 3);
        board->runs = 0;
        auto returns = with_captures([board = board.get()](Ints buffer) {
            ++buffer[0];
            if (board->runs.fetch_add(1) < 2) std::raise(SIGKILL);
            return buffer;
        });
        const Ints result = retried.submit(returns, numbers(10)).get();
        REQUIRE(result[0] == 3);
        REQUIRE(result[9] == 9);
        board->runs = 0;
        auto views = with_captures([board = board.get()](const IntView& view) {
            if (board->runs.fetch_add(1) < 2) std::raise(SIGKILL);
            return sum_of(view);
        });
        REQUIRE(retried.submit(views, numbers(10).share()).get() == 45);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("what a dead worker has made or kept is freed") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(1);
        pool.submit([] {
                static Ints mine;
                mine = numbers(1000);
            })
            .get();
        pool.submit(
                [](Ints buffer) {
                    static Ints mine;
                    mine = std::move(buffer);
                },
                numbers(10))
            .get();
        const Ints shown = numbers(10);
        pool.submit(
                [](const IntView& view) {
                    static IntView mine;
                    mine = view;
                },
                shown.share())
            .get();
        REQUIRE(memory.more() == 2 + 2 + 2 + 1);
        REQUIRE_THROWS_AS(pool.submit([] { std::raise(SIGKILL); }).get(), WorkerDied);
        REQUIRE(memory.more() == 2);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a pool ends with buffers in its queue and in results") {
    const BufferMemory memory;
    std::vector<Future<Ints>> futures;
    {
        ProcessPoolExecutor pool(1);
        for (int i = 0; i < 20; ++i) futures.push_back(pool.submit(increment, numbers(10)));
        futures.front().wait();
        SECTION("in order") {}
        SECTION("cancelled") {
            pool.shutdown(true, true);
        }
        SECTION("killed") {
            pool.kill_workers();
        }
        SECTION("broken") {
            kill(supervisor_of(getpid()), SIGKILL);
        }
    }
    int kept = 0;
    for (auto& future : futures) {
        try {
            kept += future.get()[0];
        } catch (const prong::Error&) {
        }
    }
    REQUIRE(kept >= 1);
    futures.clear();
    REQUIRE(memory.more() == 0);
}

TEST_CASE("map takes buffers from a range of rvalues") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(2);
        std::vector<Ints> buffers;
        for (int i = 0; i < 20; ++i) buffers.push_back(numbers(10, i));
        const std::ranges::subrange moved(std::move_iterator(buffers.begin()),
                                          std::move_iterator(buffers.end()));
        std::vector<Ints> results = pool.map(increment, moved).get();
        REQUIRE(results.size() == 20);
        REQUIRE(results[19][0] == 20);
        REQUIRE(buffers[0].empty());

        auto made =
            std::views::iota(0, 20) | std::views::transform([](int i) { return numbers(10, i); });
        std::int64_t total = 0;
        for (const std::int64_t one : pool.map(sum_value, made)) total += one;
        REQUIRE(total == 20 * 45 + 10 * 190);

        const auto odd = [](Ints buffer) -> Ints {
            if (buffer[0] % 2 == 1) throw std::runtime_error("odd");
            return buffer;
        };
        auto mixed = pool.map(odd, made);
        int thrown = 0;
        for (auto it = mixed.begin(); it != mixed.end(); ++it) {
            try {
                const Ints result = *it;
                REQUIRE(result.size() == 10);
            } catch (const std::runtime_error&) {
                ++thrown;
            }
        }
        REQUIRE(thrown == 10);
        { // some results are never looked at
            auto dropped = pool.map(increment, made);
            REQUIRE((*dropped.begin()).size() == 10);
        }
        const Ints table = numbers(10);
        const IntView view = table.share();
        const std::vector<IntView> views(50, view);
        for (const std::int64_t one : pool.map(sum_view, views)) REQUIRE(one == 45);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a pipe moves a buffer to the receiver") {
    const BufferMemory memory;
    {
        auto [here, there] = prong::Pipe();
        Process child(
            [](prong::Connection connection) {
                auto buffer = connection.recv<Ints>();
                for (int& element : buffer) ++element;
                connection.send(std::move(buffer));
                connection.send(connection.recv<IntView>()[1]);
            },
            std::move(there));
        child.start();
        Ints buffer = numbers(10);
        const int* const place = buffer.data();
        here.send(std::move(buffer));
        REQUIRE(buffer.empty()); // NOLINT(bugprone-use-after-move)
        buffer = here.recv<Ints>();
        REQUIRE(buffer.data() == place);
        REQUIRE(sum_of(buffer) == 55);
        here.send(buffer.share());
        REQUIRE(here.recv<int>() == 2);
        child.join();
        // Nobody is left to receive it.
        REQUIRE_THROWS_AS(here.send(std::move(buffer)), std::system_error);
        REQUIRE(sum_of(buffer) == 55); // NOLINT(bugprone-use-after-move)
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a message with a buffer can be received once") {
    {
        auto [a, b] = prong::Pipe();
        a.send(numbers(10));
        const auto message = b.recv_bytes();
        b.send_bytes(message);
        b.send_bytes(message);
        REQUIRE(a.recv<Ints>().size() == 10);
        REQUIRE_THROWS_AS(a.recv<Ints>(), ObjectGone);
        a.send(numbers(10));
        REQUIRE_THROWS_AS(b.recv<SharedBuffer<double>>(), CodecError);
    }
}

TEST_CASE("a queue moves buffers to consumers") {
    const BufferMemory memory;
    {
        const prong::Queue<Ints> queue(2);
        Ints buffer = numbers(10);
        queue.put(numbers(3));
        queue.put(numbers(4));
        REQUIRE(!queue.try_put(std::move(buffer)));
        REQUIRE(!queue.put_for(1ms, std::move(buffer)));
        REQUIRE(buffer.size() == 10); // NOLINT(bugprone-use-after-move)
        Process child([queue] { queue.put(increment(queue.get())); });
        child.start();
        child.join();
        REQUIRE(queue.get().size() == 4);
        REQUIRE(queue.get()[2] == 3);
        queue.put(std::move(buffer));
        queue.put(numbers(5));
    } // ends with two items
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a process gets a buffer as an argument") {
    const BufferMemory memory;
    {
        auto [here, there] = prong::Pipe();
        Ints buffer = numbers(10);
        const int* const place = buffer.data();
        Process child(
            [](Ints mine, const IntView& view, prong::Connection connection) {
                ++mine[0];
                connection.send(sum_of(view));
                connection.send(std::move(mine));
            },
            std::move(buffer), numbers(5).share(), std::move(there));
        REQUIRE(buffer.empty()); // NOLINT(bugprone-use-after-move)
        child.start();
        REQUIRE(here.recv<std::int64_t>() == 10);
        buffer = here.recv<Ints>();
        REQUIRE(buffer.data() == place);
        REQUIRE(buffer[0] == 1);
        child.join();
        {
            const Process never([](const Ints& /*buffer*/) {}, numbers(10));
        }

        Shared<std::size_t> size;
        const Ints mine = numbers(10);
        Process other([&] { *size = mine.size() + mine.share().size() + 1; });
        other.start();
        other.join();
        REQUIRE(*size == 1); // a copy by fork is empty
        REQUIRE(mine.size() == 10);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a process that dies frees its buffers") {
    const BufferMemory memory;
    const Ints mine = numbers(10);
    {
        Shared<Gate> made;
        Process process([&] {
            static Ints buffer;
            static IntView view;
            buffer = numbers(10);
            view = buffer.share();
            made->open();
            sleep_for_ever();
        });
        process.start();
        made->pass();
        REQUIRE(memory.more() == 2 + 3);
        process.kill();
        process.join();
    }
    REQUIRE(memory.more() == 2);
}

TEST_CASE("a process that is killed as it starts frees its arguments") {
    const BufferMemory memory;
    {
        for (int i = 0; i < 20; ++i) {
            Process process([](const Ints&, const IntView&) {}, numbers(10), numbers(5).share());
            process.start();
            process.kill();
            process.join();
        }
        const Ints next = numbers(1); // as it is made, the others are freed
        REQUIRE(memory.more() == 2);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a manager's object gets buffers") {
    const BufferMemory memory;
    {
        prong::Manager manager;
        struct Adder {
            std::int64_t total = 0;
            std::int64_t add(const Ints& buffer) { return total += sum_of(buffer); }
        };
        auto proxy = manager.make<Adder>();
        REQUIRE(proxy.call(&Adder::add, numbers(10)) == 45);
        REQUIRE(proxy.call(&Adder::add, numbers(10)) == 90);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a zygote's workers have buffers") {
    // In a process of its own, because the zygote lives on.
    Process program([] {
        prong::start_zygote();
        ProcessPoolExecutor pool(2);
        Ints buffer = pool.submit(increment, numbers(10)).get();
        if (sum_of(buffer) != 55) std::_Exit(3);
        if (pool.submit(sum_view, buffer.share()).get() != 55) std::_Exit(4);
    });
    program.start();
    program.join();
    REQUIRE(program.exitcode() == 0);
}

TEST_CASE("a batch or a map of temporary buffers that fails frees them") {
    const BufferMemory memory;
    const auto buffers = std::views::iota(0, 10) | std::views::transform([](int i) {
                             if (i == 7) throw std::runtime_error("no more");
                             return numbers(10);
                         });
    {
        ProcessPoolExecutor pool(1);
        REQUIRE_THROWS_AS(pool.submit_batch(increment, buffers), std::runtime_error);
        const auto map_all = [&] {
            for (const Ints& one : pool.map(increment, buffers)) REQUIRE(one.size() == 10);
        };
        REQUIRE_THROWS_AS(map_all(), std::runtime_error);
        auto futures = pool.submit_batch(increment, buffers | std::views::take(5));
        for (auto& future : futures) REQUIRE(future.get().size() == 10);
        pool.shutdown();
        REQUIRE_THROWS_AS(pool.submit_batch(increment, buffers | std::views::take(5)),
                          prong::PoolShutdown);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a map of temporary buffers whose elements cannot be encoded frees them") {
    const BufferMemory memory;
    using Element = std::pair<Ints, Unencodable>;
    const auto elements = std::views::iota(0, 10) | std::views::transform([](int) {
                              return Element(numbers(10), Unencodable());
                          });
    {
        ProcessPoolExecutor pool(1);
        const auto map_all = [&] {
            for (const std::size_t size :
                 pool.map([](const Element& element) { return element.first.size(); }, elements))
                REQUIRE(size == 10);
        };
        for (int i = 0; i < 3; ++i) REQUIRE_THROWS_AS(map_all(), std::runtime_error);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a batch or a map that fails leaves buffers that are no temporaries to the caller") {
    ProcessPoolExecutor pool(1);
    pool.shutdown();
    std::vector<Ints> buffers;
    for (int i = 0; i < 5; ++i) buffers.push_back(numbers(10));
    const auto moved = [&] {
        return std::ranges::subrange(std::move_iterator(buffers.begin()),
                                     std::move_iterator(buffers.end()));
    };
    REQUIRE_THROWS_AS(pool.submit_batch(increment, moved()), prong::PoolShutdown);
    REQUIRE_THROWS_AS(pool.map(increment, moved()), prong::PoolShutdown);
    REQUIRE_THROWS_AS(pool.map([](Ints buffer, int) { return buffer; }, moved(),
                               std::views::iota(0)), // whose elements are temporaries
                      prong::PoolShutdown);
    for (const Ints& buffer : buffers) REQUIRE(buffer.size() == 10);
}

TEST_CASE("the buffer of a task without a future is freed with its pool") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(1);
        const auto die = [](const Ints&) { std::raise(SIGKILL); };
        static_cast<void>(pool.submit(die, numbers(10)));
        static_cast<void>(pool.with(TaskOptions{.max_retries = 1}).submit(increment, numbers(10)));
    }
    REQUIRE(memory.more() == 0);
}
