// Threads in the place of processes: what ThreadSanitizer can follow.

#include "buffer/memory.hpp"
#include "executor/helpers.hpp"
#include "executor/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/pipe.hpp>
#include <prong/queue.hpp>
#include <prong/shared_buffer.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

using namespace prong::test;
using prong::SharedBuffer;
using prong::SharedView;

namespace {

using Ints = SharedBuffer<int>;

Ints increment(Ints buffer) {
    for (int& element : buffer) ++element;
    return buffer;
}

int sum(const SharedView<int>& view) {
    return std::accumulate(view.begin(), view.end(), 0);
}

} // namespace

TEST_CASE("threads pass buffers to tasks, and drop some") {
    const BufferMemory memory;
    std::atomic<int> wrong = 0;
    {
        ThreadPool pool(3);
        pool.start_all();
        in_threads(3, [&](int thread) {
            const int rounds = how_often(100, 2000);
            Ints buffer(10, 0);
            for (int i = 1; i <= rounds; ++i) {
                buffer = pool.submit(increment, std::move(buffer)).get();
                if (buffer.size() != 10 || buffer[9] != i) ++wrong;
                static_cast<void>(pool.submit(increment, Ints(10, thread)));
                Future<Ints> cancelled = pool.submit(increment, Ints(10, thread));
                cancelled.cancel();
            }
        });
    }
    REQUIRE(wrong == 0);
    REQUIRE(memory.more() == 0);
}

TEST_CASE("threads have views, and the last one frees the buffer") {
    const BufferMemory memory;
    std::atomic<int> wrong = 0;
    {
        ThreadPool pool(2);
        pool.start_all();
        const int rounds = how_often(30, 500);
        for (int round = 0; round < rounds; ++round) {
            SharedView<int> view = Ints(10, round).share();
            in_threads(3, [&pool, &wrong, view, round](int thread) {
                SharedView<int> mine = view;
                if (thread == 0) prong::buffer::sweep();
                if (pool.submit(sum, mine).get() != 10 * round) ++wrong;
                mine = {};
            });
            view = {};
        }
    }
    REQUIRE(wrong == 0);
    REQUIRE(memory.more() == 0);
}

TEST_CASE("threads hand buffers on through a queue") {
    const BufferMemory memory;
    std::atomic<int> total = 0;
    {
        const prong::Queue<Ints> queue(4);
        const int rounds = how_often(100, 2000);
        in_threads(4, [&](int thread) {
            for (int i = 0; i < rounds; ++i) {
                if (thread % 2 == 0)
                    queue.put(Ints(3, 1));
                else
                    total += queue.get()[2];
            }
        });
        REQUIRE(total == 2 * rounds);
    }
    REQUIRE(memory.more() == 0);
}
