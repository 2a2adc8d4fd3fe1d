// prong in an event loop, and the ways around it: a helper thread, and `get`, which blocks the
// loop.

#include "measure.hpp"
#include "window.hpp"

#include <prong/asio.hpp>
#include <prong/prong.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace bench {
namespace {

/// Takes results one after another, and hands them to the loop.
class HelperThread {
public:
    explicit HelperThread(net::io_context& loop) : loop_(loop) {}

    template <typename Handler>
    void get(prong::Future<int> future, Handler handler) {
        const std::lock_guard lock(mutex_);
        waiting_.emplace_back(std::move(future), std::move(handler));
        changed_.notify_one();
    }

private:
    void run(const std::stop_token& stop) {
        for (;;) {
            std::unique_lock lock(mutex_);
            if (!changed_.wait(lock, stop, [&] { return !waiting_.empty(); })) return;
            auto [future, handler] = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            net::post(loop_, [handler = std::move(handler), n = future.get()] { handler(n); });
        }
    }

    net::io_context& loop_;
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<std::pair<prong::Future<int>, std::function<void(int)>>> waiting_;
    std::jthread thread_{[this](const std::stop_token& stop) { run(stop); }};
};

} // namespace

Figures measure_prong_loop(const Workload& workload, int size, double seconds) {
    prong::ProcessPoolExecutor pool(workers);
    net::io_context loop(1);
    if (workload.id == "delay") {
        return delays(seconds, [&] {
            std::int64_t delay = 0;
            loop.restart();
            prong::async_get(
                loop, pool.submit(run_briefly),
                [&](const std::exception_ptr&, std::int64_t end) { delay = now_ns() - end; });
            loop.run();
            return delay;
        });
    }
    Window window(loop, size);
    return rate_and_cpu(size, seconds, [&](int count) {
        window.run(count, [&](int n) {
            prong::async_get(loop, pool.submit(increment, n),
                             [&](const std::exception_ptr&, int) { window.done(); });
        });
    });
}

Figures measure_helper_thread(const Workload& workload, int size, double seconds) {
    if (workload.id != "awaited") return {};
    prong::ProcessPoolExecutor pool(workers);
    net::io_context loop(1);
    HelperThread helper(loop);
    Window window(loop, size);
    return rate_and_cpu(size, seconds, [&](int count) {
        window.run(count, [&](int n) {
            helper.get(pool.submit(increment, n), [&](int) { window.done(); });
        });
    });
}

Figures measure_blocking_get(const Workload& workload, int size, double seconds) {
    if (workload.id != "awaited") return {};
    prong::ProcessPoolExecutor pool(workers);
    return rate_and_cpu(size, seconds, [&](int count) {
        std::deque<prong::Future<int>> futures;
        for (int n = 0; n < count; ++n) {
            futures.push_back(pool.submit(increment, n));
            if (static_cast<int>(futures.size()) < size) continue;
            futures.front().get();
            futures.pop_front();
        }
        for (auto& future : futures) future.get();
    });
}

} // namespace bench
