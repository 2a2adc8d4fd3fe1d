// A thread pool, and a bare eventfd between two processes: the floor.

#include "measure.hpp"
#include "window.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <stdexcept>
#include <utility>

namespace bench {

Figures measure_thread_pool(const Workload& workload, int size, double seconds) {
    net::thread_pool pool(workers);
    net::io_context loop(1);
    Window window(loop, size); // keeps the loop going
    if (workload.id == "delay") {
        return delays(seconds, [&] {
            std::int64_t delay = 0;
            net::post(pool, [&] {
                net::post(loop, [&, end = run_briefly()] { delay = now_ns() - end; });
            });
            loop.run_one();
            return delay;
        });
    }
    if (workload.id != "awaited") return {};
    Figures figures = rate_and_cpu(size, seconds, [&](int count) {
        window.run(count, [&](int n) {
            net::post(pool, [&, n] {
                net::post(loop, [&, n, result = increment(n)] {
                    if (result == n + 1) window.done();
                });
            });
        });
    });
    figures.erase("awaited_cpu_us"); // it has that of the tasks as well
    return figures;
}

Figures measure_eventfd(const Workload& workload, int /*size*/, double seconds) {
    if (workload.id != "delay") return {};
    const int go = eventfd(0, 0);
    const int ended = eventfd(0, EFD_NONBLOCK);
    auto* const end = static_cast<std::atomic<std::int64_t>*>(
        mmap(nullptr, sizeof(std::atomic<std::int64_t>), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (go < 0 || ended < 0 || end == MAP_FAILED)
        throw std::runtime_error("eventfd or mmap failed");
    const pid_t child = fork();
    if (child == 0) {
        for (eventfd_t count = 0; eventfd_read(go, &count) == 0;) {
            end->store(run_briefly());
            eventfd_write(ended, 1);
        }
        _exit(1);
    }
    net::io_context loop(1);
    net::posix::stream_descriptor watched(loop, ended);
    const Figures figures = delays(seconds, [&] {
        std::int64_t delay = 0;
        loop.restart();
        eventfd_write(go, 1);
        watched.async_wait(net::posix::stream_descriptor::wait_read,
                           [&](const boost::system::error_code&) {
                               eventfd_t count = 0;
                               eventfd_read(ended, &count);
                               delay = now_ns() - end->load();
                           });
        loop.run();
        return delay;
    });
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(go);
    return figures;
}

} // namespace bench
