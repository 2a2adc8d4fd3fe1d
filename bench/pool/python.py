"""The workloads on CPython's pools: python.py POOL WORKLOAD WORKERS SECONDS

POOL is ProcessPoolExecutor or Pool. Prints "metric,value" lines; see measure.cpp for the metrics.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

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


class Executor:
    def __init__(self, workers):
        self.pool = ProcessPoolExecutor(workers)

    def submit(self, function, argument):
        return self.pool.submit(function, argument).result

    def map(self, function, items, chunk):
        return list(self.pool.map(function, items, chunksize=chunk))

    def close(self):
        self.pool.shutdown()


class Pool:
    def __init__(self, workers):
        self.pool = multiprocessing.Pool(workers)

    def submit(self, function, argument):
        return self.pool.apply_async(function, (argument,)).get

    def map(self, function, items, chunk):
        return self.pool.map(function, items, chunksize=chunk)

    def close(self):
        self.pool.close()
        self.pool.join()


def run_all(pool, task, count):
    """Seconds for count tasks."""
    start = time.perf_counter()
    results = [pool.submit(task, n) for n in range(count)]
    total = sum(result() for result in results)
    elapsed = time.perf_counter() - start
    assert total == count * (count + 1) // 2
    return elapsed


def throughput(pool, seconds):
    count = max(200, int(500 / run_all(pool, increment, 500) * seconds))
    yield "noop_tasks_per_s", count / run_all(pool, increment, count)


def round_trips(pool, seconds, idle):
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 20:
        time.sleep(idle)
        start = time.perf_counter()
        answer = pool.submit(increment, 1)()
        times.append((time.perf_counter() - start) * 1e6)
        assert answer == 2
    times.sort()
    name = "idle_round_trip" if idle else "round_trip"
    yield name + "_p50_us", times[len(times) // 2]
    yield name + "_p99_us", times[len(times) * 99 // 100]


def utilisation(pool, seconds, workers):
    seconds = max(seconds, 0.2)
    cpus = min(workers, len(os.sched_getaffinity(0)))
    count = int(1000 * seconds * cpus)
    yield "cpu_share", count / 1000 / (run_all(pool, burn_millisecond, count) * cpus)


def mapping(pool, seconds):
    best = 0
    end = time.perf_counter() + 4 * seconds
    for chunk in (10_000, 50_000, 2_000, 200_000, 500):
        start = time.perf_counter()
        result = pool.map(square, range(MAP_COUNT), chunk)
        best = max(best, MAP_COUNT / (time.perf_counter() - start))
        assert result[-1] == (MAP_COUNT - 1) ** 2 and len(result) == MAP_COUNT
        if time.perf_counter() > end:
            break
    yield "map_items_per_s", best


def echoing(pool, seconds, mib):
    data = os.urandom(1 << 20) * mib
    assert pool.submit(echo, data)() == data
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 2:
        start = time.perf_counter()
        pool.submit(echo, data)()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    yield f"echo_{mib}_mib_ms", times[len(times) // 2]


def creation(make, workers, seconds):
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        pool = make(workers)
        assert pool.submit(increment, 1)() == 2
        pool.close()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    yield "creation_ms", times[len(times) // 2]


def main():
    make = {"ProcessPoolExecutor": Executor, "Pool": Pool}[sys.argv[1]]
    workload, workers, seconds = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    if workload == "creation":
        figures = creation(make, workers, seconds)
    else:
        pool = make(workers)
        run_all(pool, increment, 10 * workers)
        figures = {
            "noop": lambda: throughput(pool, seconds),
            "round_trip": lambda: round_trips(pool, seconds, 0),
            "idle_round_trip": lambda: round_trips(pool, seconds, 0.01),
            "cpu": lambda: utilisation(pool, seconds, workers),
            "map": lambda: mapping(pool, seconds),
            "echo_1_mib": lambda: echoing(pool, seconds, 1),
            "echo_64_mib": lambda: echoing(pool, seconds, 64),
        }[workload]()
    for metric, value in figures:
        print(f"{metric},{value}", flush=True)
    if workload != "creation":
        pool.close()


if __name__ == "__main__":
    main()
