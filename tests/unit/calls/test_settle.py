"""What settling ends, also when a call does not get as far as its intent."""

from __future__ import annotations

import pytest

from tallystick.calls.settle import Settler
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics


class Holding:
    """Stands for what a call holds, which needs a whole gateway to be had."""

    ended = 0

    def cancel(self):
        self.ended += 1


@pytest.mark.parametrize("step", ["begin", "readmit"])
def test_a_call_whose_intent_can_not_be_made_holds_nothing(step):
    settler = Settler(journal=None, clock=SystemClock(), metrics=Metrics())
    holding = Holding()
    with pytest.raises(ZeroDivisionError):
        getattr(settler, step)(lambda: 1 // 0, holding)
    assert holding.ended == 1
    assert not settler._running
