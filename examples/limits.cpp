// Ends tasks that run too long or use too much, retries one that crashes, and kills one that is no
// longer wanted.

#include <prong/prong.hpp>

#include <chrono>
#include <csignal>
#include <iostream>
#include <thread>
#include <utility>

using namespace std::chrono_literals;

namespace {

int hang() {
    for (;;) std::this_thread::sleep_for(1s);
}

int stop_when_asked() {
    int steps = 0;
    for (; !prong::this_task::stop_requested(); ++steps) std::this_thread::sleep_for(1ms);
    std::cout << "asked to stop, tidying up" << std::endl;
    return steps;
}

int crash_twice() {
    const int attempt = prong::this_task::attempt();
    if (attempt <= 2) std::raise(SIGSEGV);
    return attempt;
}

int compute_for_ever() {
    for (volatile unsigned n = 0;;) n = n + 1;
}

void print(const char* what, prong::Future<int> future) {
    std::cout << what << ": ";
    try {
        std::cout << future.get() << std::endl;
    } catch (const prong::TaskTimeout&) {
        std::cout << "timed out" << std::endl;
    } catch (const prong::LimitExceeded&) {
        std::cout << "exceeded its limit" << std::endl;
    } catch (const prong::PoisonedTask& error) {
        std::cout << "gave up after " << error.attempts() << " attempts" << std::endl;
    } catch (const prong::CancelledError&) {
        std::cout << "killed" << std::endl;
    }
}

} // namespace

int main() {
    prong::ProcessPoolExecutor pool(2);
    auto timed = pool.with(prong::TaskOptions{.timeout = 100ms});
    print("hangs", timed.submit(hang));

    auto polite = timed.submit(stop_when_asked);
    polite.wait();
    print("stops when asked", std::move(polite));

    print("crashes twice", pool.with(prong::TaskOptions{.max_retries = 2}).submit(crash_twice));
    print("crashes too often", pool.with(prong::TaskOptions{.max_retries = 1}).submit(crash_twice));
    print("computes for ever",
          pool.with(prong::TaskOptions{.limits = {.cpu_time = 100ms}}).submit(compute_for_ever));

    auto unwanted = pool.submit(hang);
    unwanted.kill();
    print("no longer wanted", std::move(unwanted));
}
