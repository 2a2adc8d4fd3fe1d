"""The workloads on CPython's pools: python.py POOL WORKLOAD SIZE SECONDS

POOL is ProcessPoolExecutor or Pool. Prints "metric,value" lines; main.cpp has the metrics.
"""

import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed, wait

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


def make_bytes(size):
    return b"x" * size


def run_briefly(n):
    end = time.monotonic() + 20e-6
    while time.monotonic() < end:
        pass
    return time.monotonic()


def do_nothing(n):
    return time.monotonic()


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
    yield "map_lambda_items_per_s", best


def pending(pool, count, seconds):
    yield "pending_first_tasks_per_s", count / run_all(pool, increment, count)
    yield "pending_tasks_per_s", count / run_all(pool, increment, count)


def submitting_threads(pool, threads, seconds):
    count = 2000 // threads
    running = [threading.Thread(target=run_all, args=(pool, increment, count)) for _ in range(threads)]
    start = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    yield "threads_tasks_per_s", count * threads / (time.perf_counter() - start)


def payload(pool, name, size, seconds):
    data = os.urandom(1 << 20) * (size >> 20) or b"x" * size
    call = {"echo": lambda: pool.submit(echo, data)(), "result": lambda: pool.submit(make_bytes, size)()}[name]
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 2:
        start = time.perf_counter()
        answer = call()
        times.append((time.perf_counter() - start) * 1e6)
    assert len(answer) == size and (name == "result" or answer == data)
    yield f"{name}_first_us", times[0]
    steady = sorted(times[1:])
    yield f"{name}_us", steady[len(steady) // 2]


def completion(pool, count):
    if not isinstance(pool, Executor):
        return

    def cpu_us_per_task(task, take):
        futures = [pool.pool.submit(task, n) for n in range(count)]
        start = time.thread_time()
        take(futures)
        return (time.thread_time() - start) / count * 1e6

    def take_each(futures):
        for future in as_completed(futures):
            delays.append((time.monotonic() - future.result()) * 1e6)

    delays = []
    yield "as_completed_fast_us", cpu_us_per_task(do_nothing, take_each)
    yield "wait_us", cpu_us_per_task(do_nothing, wait)
    delays = []
    yield "as_completed_us", cpu_us_per_task(run_briefly, take_each)
    yield "as_completed_delay_us", sorted(delays)[count // 2]


def creation(make, mib, seconds):
    in_use = bytearray(mib << 20)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        pool = make(2)
        assert pool.submit(increment, 1)() == 2
        pool.close()
        times.append((time.perf_counter() - start) * 1e3)
    assert len(in_use) == mib << 20
    times.sort()
    yield "creation_ms", times[len(times) // 2]


def main():
    make = {"ProcessPoolExecutor": Executor, "Pool": Pool}[sys.argv[1]]
    workload, size, seconds = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    if workload == "creation":
        report(creation(make, size, seconds))
        return
    # Of the others, the size is not the number of workers.
    workers = {"pending": 2, "threads": 1, "as_completed": 1, "echo": 2, "result": 2}.get(workload, size)
    pool = make(workers)
    run_all(pool, increment, 10 * workers)
    report(
        {
            "noop": lambda: throughput(pool, seconds),
            "pending": lambda: pending(pool, size, seconds),
            "threads": lambda: submitting_threads(pool, size, seconds),
            "round_trip": lambda: round_trips(pool, seconds, 0),
            "idle_round_trip": lambda: round_trips(pool, seconds, 0.01),
            "as_completed": lambda: completion(pool, size),
            "cpu": lambda: utilisation(pool, seconds, workers),
            "map": lambda: mapping(pool, seconds),
            "echo": lambda: payload(pool, workload, size, seconds),
            "result": lambda: payload(pool, workload, size, seconds),
        }[workload]()
    )
    pool.close()


def report(figures):
    for metric, value in figures:
        print(f"{metric},{value}", flush=True)


if __name__ == "__main__":
    main()
