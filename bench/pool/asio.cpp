// boost::asio::thread_pool with a std::future for each task: threads, so nothing is encoded.

#include "competitor.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <future>
#include <utility>

namespace bench {
namespace {

class Asio final : public Competitor {
public:
    explicit Asio(Setup setup)
        : workers_(setup.workers), pool_(static_cast<std::size_t>(setup.workers)) {}
    ~Asio() override { pool_.join(); }

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
        std::vector<std::future<void>> blocks;
        for (int part = 0; part < workers_; ++part) {
            blocks.push_back(submit([&squares, this, count, part] {
                const int end = part_begin(count, workers_, part + 1);
                for (int n = part_begin(count, workers_, part); n < end; ++n) {
                    squares[static_cast<std::size_t>(n)] = square(n);
                }
            }));
        }
        for (auto& block : blocks) block.get();
        return squares;
    }

    /// Copies the argument, as is necessary if the caller may change it afterwards.
    Bytes echo(const Bytes& bytes) override {
        return submit([copy = bytes]() mutable { return bench::echo(std::move(copy)); }).get();
    }

    Bytes result(int size) override {
        return submit([size] { return make_bytes(size); }).get();
    }

private:
    template <typename F>
    std::future<std::invoke_result_t<F&>> submit(F f) {
        std::packaged_task<std::invoke_result_t<F&>()> task(std::move(f));
        auto future = task.get_future();
        boost::asio::post(pool_, std::move(task));
        return future;
    }

    int workers_;
    boost::asio::thread_pool pool_;
};

} // namespace

std::unique_ptr<Competitor> make_asio(Setup setup) {
    return std::make_unique<Asio>(setup);
}

} // namespace bench
