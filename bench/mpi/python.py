"""The workloads on mpi4py.futures: python.py WORKLOAD SIZE SECONDS. Prints "metric,value" lines.

Starts itself by mpirun: rank 0 and the ranks that serve, as many as SIZE says; 1 for payloads.
"""

import os
import sys
import time

MAP_COUNT = 1_000_000


def increment(n):
    return n + 1


def burn_millisecond(n):
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass
    return n + 1


def square(n):
    return n * n


def echo(data):
    return data


def launch(ranks):
    os.environ.update(
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
        OMPI_MCA_rmaps_base_oversubscribe="1",
    )
    command = ["mpirun.openmpi", "-n", str(1 + ranks), "--bind-to", "none", os.readlink("/proc/self/exe")]
    os.execvp(command[0], command + ["-m", "mpi4py.futures"] + sys.argv)


def sample(seconds, least, timed, between=lambda: None):
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < least:
        between()
        start = time.perf_counter()
        timed()
        times.append(time.perf_counter() - start)
    times.sort()
    return times[len(times) // 2]


def noop(pool, ranks, seconds):
    count = 5000
    start = time.perf_counter()
    futures = [pool.submit(increment, i) for i in range(count)]
    for i, future in enumerate(futures):
        assert future.result() == i + 1
    yield "noop_per_s", count / (time.perf_counter() - start)


def round_trip(pool, ranks, seconds):
    yield "round_trip_us", sample(seconds, 20, lambda: pool.submit(increment, 1).result()) * 1e6


def idle_round_trip(pool, ranks, seconds):
    yield "idle_round_trip_us", 1e6 * sample(
        seconds, 20, lambda: pool.submit(increment, 1).result(), lambda: time.sleep(0.01)
    )


def map_numbers(pool, ranks, seconds):
    best = 0
    for chunk in (1000, 10_000, 100_000):
        start = time.perf_counter()
        for i, value in enumerate(pool.map(square, range(MAP_COUNT), chunksize=chunk)):
            assert value == i * i
        best = max(best, MAP_COUNT / (time.perf_counter() - start))
    yield "map_per_s", best


def cpu(pool, ranks, seconds):
    count = int(seconds * 1000 * min(ranks, os.cpu_count())) + 1
    start = time.perf_counter()
    for future in [pool.submit(burn_millisecond, i) for i in range(count)]:
        future.result()
    yield "cpu_share", count * 0.001 / (time.perf_counter() - start) / min(ranks, os.cpu_count())


def echo_bytes(pool, size, seconds):
    data = b"x" * size
    yield "echo_ms", 1e3 * sample(seconds, 3, lambda: pool.submit(echo, data).result())


WORKLOADS = {
    "noop": noop,
    "round_trip": round_trip,
    "idle_round_trip": idle_round_trip,
    "map": map_numbers,
    "cpu": cpu,
    "echo": echo_bytes,
}

if __name__ == "__main__":
    workload, size, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if "OMPI_COMM_WORLD_SIZE" not in os.environ:
        launch(1 if workload == "echo" else size)

    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as executor:
        executor.submit(increment, 1).result()
        for metric, value in WORKLOADS[workload](executor, size, seconds):
            print(f"{metric},{value}", flush=True)
