// What MPI itself takes: messages to the other ranks and back, without a pool.
//     mpirun -n RANKS+1 bench_mpi_bare WORKLOAD SIZE SECONDS
// Prints "metric,value" lines, as main.cpp has the metrics.

#include "../harness/timing.hpp"

#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using bench::quantile;
using bench::sample;
using bench::Stopwatch;

constexpr int task_bytes = 64; ///< about what a task with a number needs
constexpr int window = 64;     ///< messages to a rank that are outstanding

void send(std::vector<char>& bytes, int rank) {
    MPI_Send(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, rank, 0, MPI_COMM_WORLD);
}

void receive(std::vector<char>& bytes, int rank) {
    MPI_Recv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, rank, 0, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
}

/// Answers each message by itself until an empty one comes.
void answer(std::vector<char>& bytes) {
    for (;;) {
        MPI_Status status;
        MPI_Recv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, 0, 0, MPI_COMM_WORLD,
                 &status);
        int count = 0;
        MPI_Get_count(&status, MPI_BYTE, &count);
        if (count == 0) return;
        MPI_Send(bytes.data(), count, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
}

void exchange(std::vector<char>& bytes) {
    send(bytes, 1);
    receive(bytes, 1);
}

/// Keeps a window of messages outstanding at each of the other ranks.
double messages_per_second(std::vector<char>& bytes, int ranks, double seconds) {
    std::int64_t count = 0;
    const Stopwatch watch;
    while (watch.seconds() < seconds) {
        for (int rank = 1; rank <= ranks; ++rank) {
            for (int i = 0; i < window; ++i) send(bytes, rank);
        }
        for (int rank = 1; rank <= ranks; ++rank) {
            for (int i = 0; i < window; ++i) receive(bytes, rank);
        }
        count += static_cast<std::int64_t>(ranks) * window;
    }
    return static_cast<double>(count) / watch.seconds();
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const std::string workload = argv[1];
    const double seconds = std::atof(argv[3]);
    MPI_Init(nullptr, nullptr);
    int rank = 0;
    int count = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    std::vector<char> bytes(workload == "echo" ? std::strtoul(argv[2], nullptr, 10) : task_bytes,
                            'x');
    if (rank != 0) {
        answer(bytes);
    } else {
        exchange(bytes); // all is warm then
        if (workload == "noop") {
            std::printf("noop_per_s,%g\n", messages_per_second(bytes, count - 1, seconds));
        } else {
            const auto times = sample(seconds, 5, [&] { exchange(bytes); });
            const double middle = quantile(times, 0.5);
            if (workload == "echo") std::printf("echo_ms,%g\n", middle * 1e3);
            if (workload == "round_trip") std::printf("round_trip_us,%g\n", middle * 1e6);
        }
        std::vector<char> end;
        for (int other = 1; other < count; ++other) send(end, other);
    }
    MPI_Finalize();
}
