"""CPython's part of the comparison: asyncio and a process pool. Prints "metric,value" lines.

Called as: python.py WORKLOAD SIZE SECONDS
"""

import asyncio
import concurrent.futures
import resource
import sys
import time

WORKERS = 2


def increment(n):
    return n + 1


def run_briefly():
    end = time.monotonic_ns() + 20_000
    while True:
        now = time.monotonic_ns()
        if now >= end:
            return now


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def awaited(pool, outstanding, seconds):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(pool, increment, 0)
    count = 0
    cpu = cpu_seconds()
    start = time.perf_counter()
    end = start + seconds

    async def worker():
        nonlocal count
        while True:
            assert await loop.run_in_executor(pool, increment, count) > 0
            count += 1
            if time.perf_counter() > end:
                return

    await asyncio.gather(*(worker() for _ in range(outstanding)))
    yield "awaited_per_s", count / (time.perf_counter() - start)
    yield "awaited_cpu_us", (cpu_seconds() - cpu) / count * 1e6


async def delay(pool, _, seconds):
    loop = asyncio.get_running_loop()
    delays = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(delays) < 100:
        ended = await loop.run_in_executor(pool, run_briefly)
        delays.append((time.monotonic_ns() - ended) * 1e-3)
    delays.sort()
    yield "delay_p50_us", delays[len(delays) // 2]
    yield "delay_p99_us", delays[len(delays) * 99 // 100]


async def main(workload, size, seconds):
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        async for metric, value in {"awaited": awaited, "delay": delay}[workload](pool, size, seconds):
            print(f"{metric},{value}")


asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
