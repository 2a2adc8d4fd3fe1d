#include "competitor.hpp"

#include <prong/prong.hpp>

#include <ranges>

namespace bench {
namespace {

class Prong final : public Competitor {
public:
    explicit Prong(Setup setup) : pool_(setup.workers) {}

    std::int64_t run_all(Task task, int count) override {
        return run_all_by_futures(count, [&](int n) { return pool_.submit(task, n); });
    }

    std::int64_t run_batch(Task task, int count) override {
        std::int64_t sum = 0;
        for (auto& future : pool_.submit_batch(task, std::views::iota(0, count)))
            sum += future.get();
        return sum;
    }

    std::optional<std::int64_t> run_all_from(int threads, Task task, int count) override {
        return run_in_threads(threads, [&] { return run_all(task, count); });
    }

    int call(int n) override { return pool_.submit(increment, n).get(); }

    std::vector<std::int64_t> map_squares(int count) override {
        return pool_.map(square, std::views::iota(0, count)).get();
    }

    std::vector<std::int64_t> map_squares_by_lambda(int count) override {
        return pool_.map([](int n) { return square(n); }, std::views::iota(0, count)).get();
    }

    Bytes echo(const Bytes& bytes) override { return pool_.submit(bench::echo, bytes).get(); }

    Bytes result(int size) override { return pool_.submit(make_bytes, size).get(); }

private:
    prong::ProcessPoolExecutor pool_;
};

} // namespace

std::unique_ptr<Competitor> make_prong(Setup setup) {
    return std::make_unique<Prong>(setup);
}

} // namespace bench
