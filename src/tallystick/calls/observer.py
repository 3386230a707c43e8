"""The port to whoever wants to be told of calls."""

from __future__ import annotations

from typing import Protocol

from tallystick.calls.call import RunningCall
from tallystick.calls.callbacks.answer import HeardAnswer
from tallystick.ledger.event import SpendEvent


class CallObserver(Protocol):
    """Is told of calls, in the order in which it happens. It must not raise, and must return at once."""

    def begin(self, call: RunningCall) -> HeardAnswer:
        """The call's intent is in the journal. The answer is to be put into what is returned, as the caller gets it."""

    def end(self, event: SpendEvent) -> None:
        """The event is in the journal, as safe as `journal_sync` promises. May be of a call that had no `begin`."""
