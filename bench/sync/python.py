"""The workloads with CPython's primitives: python.py WORKLOAD PROCESSES SECONDS

Prints "metric,value" lines; see measure.cpp for the workloads.
"""

import multiprocessing
import os
import sys
import time
from multiprocessing.managers import BaseManager

context = multiprocessing.get_context("fork")


def use_lock(process, count, lock):
    for _ in range(count):
        lock.acquire()
        lock.release()


def take_turns(process, count, condition, turn):
    for _ in range(count):
        with condition:
            while turn.value % 2 != process:
                condition.wait()
            turn.value += 1
            condition.notify()


def use_barrier(process, count, barrier):
    for _ in range(count):
        barrier.wait()


def use_queue(process, count, queue, message, pairs):
    if process < pairs:
        for _ in range(count):
            queue.put(message)
    else:
        for _ in range(count):
            assert len(queue.get()) == len(message)


def run_process(body, process, count, ready, go, ends, arguments):
    ready.release()
    go.wait()
    body(process, count, *arguments)
    ends[process] = time.monotonic()


def run_once(processes, count, body, arguments):
    """Seconds until all processes have done their part."""
    ready = context.Semaphore(0)
    go = context.Event()
    ends = context.Array("d", processes, lock=False)
    children = [
        context.Process(target=run_process, args=(body, n, count, ready, go, ends, arguments))
        for n in range(processes)
    ]
    for child in children:
        child.start()
    for _ in children:
        ready.acquire()
    start = time.monotonic()
    go.set()
    for child in children:
        child.join()
    return max(ends) - start


def rate(processes, body, arguments, seconds, parts=1):
    count = 20
    elapsed = run_once(processes, count, body, arguments)
    while elapsed < seconds / 2:
        count = int(count * min(8, 0.75 * seconds / elapsed + 0.1) + 1)
        elapsed = run_once(processes, count, body, arguments)
    return count * parts / run_once(processes, count, body, arguments)


class Number:
    def __init__(self):
        self.value = 0

    def add(self, more):
        self.value += more
        return self.value


class Manager(BaseManager):
    pass


Manager.register("Number", Number)


def manager_call(seconds):
    with Manager() as manager:
        number = manager.Number()
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 20:
            start = time.perf_counter()
            assert number.add(1) == len(times) + 1
            times.append((time.perf_counter() - start) * 1e6)
    times.sort()
    return times[len(times) // 2]


QUEUE_BYTES = {
    "queue_64_b": 64,
    "queue_4_kib": 4096,
    "queue_64_kib": 65536,
    "queue_1_mib": 1 << 20,
}


def main():
    workload, size, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if workload == "lock":
        figure = rate(size, use_lock, (context.Lock(),), seconds, size)
    elif workload == "condition":
        turn = context.Value("q", 0, lock=False)
        figure = rate(2, take_turns, (context.Condition(), turn), seconds)
    elif workload == "barrier":
        figure = rate(size, use_barrier, (context.Barrier(size),), seconds)
    elif workload in QUEUE_BYTES:
        message = os.urandom(QUEUE_BYTES[workload])
        queue = context.Queue(256 if len(message) < 65536 else 16)
        figure = rate(2 * size, use_queue, (queue, message, size), seconds, size)
    elif workload == "manager":
        print(f"manager_us,{manager_call(seconds)}", flush=True)
        return
    else:
        return # the others wait for ever for a dead one
    print(f"{workload}_per_s,{figure}", flush=True)


if __name__ == "__main__":
    main()
