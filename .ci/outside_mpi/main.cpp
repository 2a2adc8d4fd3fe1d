// A user's first program on many machines, built outside of the project against what it installs.

#include <prong/mpi.hpp>

int square(int n) {
    return n * n;
}

int main(int argc, char** argv) {
    prong::mpi::serve(argc, argv);
    prong::MpiPoolExecutor pool;
    return pool.submit(square, 7).get() == 49 ? 0 : 1;
}
