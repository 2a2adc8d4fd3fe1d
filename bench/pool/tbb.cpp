// oneTBB: task_arena::enqueue with a std::promise for each task, parallel_for for the map.

#include "competitor.hpp"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <future>
#include <utility>

namespace bench {
namespace {

class Tbb final : public Competitor {
public:
    // Without the first line there would be no more threads than CPUs; the caller takes no part.
    explicit Tbb(Setup setup)
        : limit_(tbb::global_control::max_allowed_parallelism,
                 static_cast<std::size_t>(setup.workers) + 1),
          arena_(setup.workers, 0) {}

    std::int64_t run_all(Task task, int count) override {
        return run_all_by_futures(count,
                                  [&](int n) { return submit([task, n] { return task(n); }); });
    }

    std::optional<std::int64_t> run_all_from(int threads, Task task, int count) override {
        return run_in_threads(threads, [&] { return run_all(task, count); });
    }

    int call(int n) override {
        return submit([n] { return increment(n); }).get();
    }

    std::vector<std::int64_t> map_squares(int count) override {
        std::vector<std::int64_t> squares(static_cast<std::size_t>(count));
        arena_.execute([&] {
            tbb::parallel_for(0, count,
                              [&](int n) { squares[static_cast<std::size_t>(n)] = square(n); });
        });
        return squares;
    }

    Bytes echo(const Bytes& bytes) override {
        auto copy = std::make_shared<Bytes>(bytes); // enqueue wants what it runs to be const
        return submit([copy] { return bench::echo(std::move(*copy)); }).get();
    }

    Bytes result(int size) override {
        return submit([size] { return make_bytes(size); }).get();
    }

private:
    template <typename F>
    std::future<std::invoke_result_t<F&>> submit(F f) {
        auto promise = std::make_shared<std::promise<std::invoke_result_t<F&>>>();
        auto future = promise->get_future();
        arena_.enqueue([promise, f = std::move(f)] { promise->set_value(f()); });
        return future;
    }

    tbb::global_control limit_;
    tbb::task_arena arena_;
};

} // namespace

std::unique_ptr<Competitor> make_tbb(Setup setup) {
    return std::make_unique<Tbb>(setup);
}

} // namespace bench
