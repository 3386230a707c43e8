"""What settling ends, also when a call does not get as far as its intent."""

from __future__ import annotations

import pytest

from tallystick.calls.settle import Settler
from tallystick.errors import LedgerUnavailable
from tallystick.ledger.event import SpendEvent
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


class Observing:
    """Notes what it is told, and what the journal had then."""

    def __init__(self, journal):
        self.told = []
        self.journal = journal

    def begin(self, _call):
        raise AssertionError("not here")

    def end(self, event):
        self.told.append((event.event_id, list(self.journal.safe)))


class Journaling:
    """Stands for a journal that fails in a chosen way."""

    def __init__(self, *, failing=""):
        self.failing = failing
        self.written, self.safe = [], []
        self.last_waiting_seq = None

    def append_intent(self, _intent):
        return

    def append_event(self, event):
        if self.failing == "encode":
            raise TypeError
        if self.failing == "append":
            raise LedgerUnavailable("full")
        self.written.append(event.event_id)
        return len(self.written)

    async def settled(self, _seq):
        if self.failing == "sync":
            raise LedgerUnavailable("no disk")
        self.safe = list(self.written)


def event_of(event_id):
    now = SystemClock().now()
    return SpendEvent(
        event_id=event_id, call_type="chat_completion", endpoint="/v1", status="success", started_at=now, ended_at=now
    )


class Settled(Holding):
    def settle(self, _event, _seq):
        self.ended += 1


@pytest.mark.parametrize("failing", ["", "append", "sync"])
async def test_an_event_is_told_of_once_when_the_journal_has_it(failing):
    journal = Journaling(failing=failing)
    observer = Observing(journal)
    settler = Settler(journal=journal, clock=SystemClock(), metrics=Metrics(), observer=observer)
    event = event_of("one")
    settler.begin(lambda: event, Settled())
    if failing:
        with pytest.raises(LedgerUnavailable):
            await settler.end(event)
    else:
        await settler.end(event)
    assert observer.told == [("one", [] if failing else ["one"])]  # Safe by then, where it can be made safe.


async def test_an_event_that_can_not_be_written_is_not_told_of_but_the_one_in_its_place():
    journal = Journaling(failing="encode")
    observer = Observing(journal)
    settler = Settler(journal=journal, clock=SystemClock(), metrics=Metrics(), observer=observer)
    event = event_of("one")
    settler.begin(lambda: event, Settled())
    with pytest.raises(TypeError):
        await settler.end(event)
    assert observer.told == []
    journal.failing = ""
    settler.end_unheard(event)
    assert [event_id for event_id, _ in observer.told] == ["one"]
