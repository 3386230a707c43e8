from __future__ import annotations

import threading

from tallystick.runtime.gate import Gate


def test_a_gate_closes_when_nobody_is_inside() -> None:
    gate = Gate()
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with gate:
            inside.set()
            leave.wait(10)

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait(10)

    assert not gate.close(timeout_seconds=0.01)
    leave.set()
    assert gate.close(timeout_seconds=10)
    worker.join()


def test_who_comes_to_a_closed_gate_waits_until_it_opens() -> None:
    gate = Gate()
    assert gate.close(timeout_seconds=1)
    passed = threading.Event()

    def work() -> None:
        with gate:
            passed.set()

    worker = threading.Thread(target=work)
    worker.start()

    assert not passed.wait(0.05)
    gate.open()
    assert passed.wait(10)
    worker.join()
