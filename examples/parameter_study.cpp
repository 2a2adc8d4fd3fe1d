// A parameter study on many machines: how likely does water find a way through a porous grid? Each
// pair of size and porosity is a task. The search is recursive and overflows the stack in large,
// open grids. That corner of the parameters crashes, and all others have their results.

#include <prong/mpi.hpp>
#include <prong/prong.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

namespace {

/// A square of cells, which are open with some probability.
class Grid {
public:
    Grid(int size, double porosity, std::mt19937_64& random) : size_(size) {
        std::bernoulli_distribution is_open(porosity);
        for (int i = 0; i < size * size; ++i) open_.push_back(is_open(random) ? 1 : 0);
    }

    /// Lets water in at the top; returns whether it comes to the bottom.
    bool lets_through() {
        bool through = false;
        for (int column = 0; column < size_; ++column) through = flow(0, column) || through;
        return through;
    }

private:
    bool flow(int row, int column) {
        if (row < 0 || column < 0 || row >= size_ || column >= size_) return false;
        char& cell = open_[static_cast<std::size_t>(row * size_ + column)];
        if (cell == 0) return false;
        cell = 0; // wet
        bool through = row == size_ - 1;
        for (const int step : {-1, 1}) {
            through = flow(row + step, column) || through;
            through = flow(row, column + step) || through;
        }
        return through;
    }

    int size_;
    std::vector<char> open_;
};

/// The task: the share of grids that let water through.
double share_of_open_grids(int size, double porosity) {
    constexpr int trials = 20;
    std::mt19937_64 random(static_cast<std::uint64_t>(size));
    int open = 0;
    for (int i = 0; i < trials; ++i) open += Grid(size, porosity, random).lets_through() ? 1 : 0;
    return static_cast<double>(open) / trials;
}

} // namespace

int main(int argc, char** argv) {
    prong::mpi::serve(argc, argv); // on other machines: does not return
    const std::vector<std::string> hosts(argv + 1, argv + argc);
    prong::MpiPoolExecutor pool(prong::MpiOptions{.hosts = hosts});

    const std::vector<int> sizes{10, 100, 1000};
    const std::vector<double> porosities{0.4, 0.55, 0.65, 0.9};
    std::vector<prong::Future<double>> shares;
    for (const int size : sizes) {
        for (const double porosity : porosities)
            shares.push_back(pool.submit(share_of_open_grids, size, porosity));
    }

    std::printf("   size");
    for (const double porosity : porosities) std::printf("  %6.2f", porosity);
    auto share = shares.begin();
    for (const int size : sizes) {
        std::printf("\n%7d", size);
        for (std::size_t i = 0; i < porosities.size(); ++i) {
            try {
                std::printf("  %6.2f", (share++)->get());
            } catch (const prong::WorkerDied& error) {
                std::printf("  sig %2d", error.signal());
            }
        }
    }
    std::printf("\n");
}
