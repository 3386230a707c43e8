from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from tallystick.runtime.lasting_threads import LastingThreads


def test_work_is_done_and_its_error_is_told() -> None:
    threads = LastingThreads(2, name="test")

    assert threads.submit(lambda a, b: a + b, 1, b=2).result(10) == 3
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(10)
    threads.shutdown()
    with pytest.raises(RuntimeError, match="have ended"):
        threads.submit(lambda: None)


def test_there_are_no_more_threads_than_needed_and_never_too_many() -> None:
    threads = LastingThreads(3, name="test")
    go_on = threading.Event()

    first = [threads.submit(threading.get_ident).result(10) for _ in range(5)]
    waiting = [threads.submit(lambda: (go_on.wait(10), threading.get_ident())[1]) for _ in range(9)]
    go_on.set()

    assert len({*first, *(each.result(10) for each in waiting)}) <= 3
    threads.shutdown()


def test_one_thread_works_in_order() -> None:
    threads = LastingThreads(1, name="test")
    seen: list[int] = []
    for number in range(100):
        threads.submit(seen.append, number)
    threads.shutdown()

    assert seen == list(range(100))


async def test_a_loop_takes_it_as_its_own() -> None:
    threads = LastingThreads(1, name="test")
    asyncio.get_running_loop().set_default_executor(threads)

    name = await asyncio.to_thread(lambda: threading.current_thread().name)
    assert name.startswith("test")


def test_work_is_done_after_the_end_of_the_main_thread() -> None:
    code = """
import threading, atexit
from tallystick.runtime.lasting_threads import LastingThreads
threads = LastingThreads(1, name="test")
threads.submit(int).result()
def later():
    threading.main_thread().join()
    print(threads.submit(lambda: "in a thread").result(10))
threading.Thread(target=later).start()
atexit.register(lambda: (print(threads.submit(lambda: "at the exit").result(10)), threads.shutdown()))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert result.stdout.split("\n") == ["in a thread", "at the exit", ""]
    assert result.stderr == ""
