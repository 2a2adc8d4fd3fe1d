// Shows that a crash fails one task only: its future throws `WorkerDied`, all other tasks return
// their results, and a new worker replaces the dead one.

#include <prong/prong.hpp>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace {

int parse(int document) {
    if (document == 3) std::raise(SIGSEGV);
    if (document == 5) std::exit(42);
    return document * 100;
}

} // namespace

int main() {
    prong::ProcessPoolExecutor pool(2);
    std::vector<prong::Future<int>> futures;
    for (int document = 0; document < 8; ++document)
        futures.push_back(pool.submit(parse, document));

    for (auto& future : futures) {
        try {
            std::cout << future.get() << "\n";
        } catch (const prong::WorkerDied& error) {
            std::cout << "died with exit code " << error.exitcode() << ", running " << error.task()
                      << "\n";
        }
    }
    std::cout << "still at work: " << pool.submit(parse, 8).get() << "\n";
}
