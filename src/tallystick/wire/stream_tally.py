"""What deltas say for the ledger: the fields of a StreamMeter, for every meter that reads a stream in deltas."""

from __future__ import annotations

from tallystick.wire.conversation import ToolCall
from tallystick.wire.reply import (
    Begun,
    Delta,
    Ended,
    Failed,
    PartBegun,
    PartGrown,
    Stopped,
    UsageTold,
)
from tallystick.wire.reported import ReportedError
from tallystick.wire.usage import Usage


class StreamTally:
    """Counts one stream: what a StreamMeter tells, but for its bytes and `unscanned_events`."""

    __slots__ = (
        "begun_usage",
        "error",
        "has_stopped",
        "output_characters",
        "reported_cost_nano_usd",
        "response_id",
        "saw_done",
        "service_tier",
        "usage",
    )

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.begun_usage: Usage | None = None
        self.reported_cost_nano_usd: int | None = None
        self.service_tier = ""
        self.response_id = ""
        self.error: ReportedError | None = None
        self.output_characters = 0
        self.has_stopped = False
        self.saw_done = False

    @property
    def first_content(self) -> bool:
        return self.output_characters > 0

    @property
    def is_whole(self) -> bool:
        return self.has_stopped

    def note(self, delta: Delta) -> None:
        """Take the next delta of the stream."""
        if isinstance(delta, PartGrown):
            self.output_characters += len(delta.text)
        elif isinstance(delta, PartBegun):
            part = delta.part
            self.output_characters += len(part.arguments if isinstance(part, ToolCall) else part.text)
        elif isinstance(delta, UsageTold):
            self._note_usage(delta)
        elif isinstance(delta, Stopped):
            self.has_stopped = True
        elif isinstance(delta, Begun):
            self.response_id = delta.id
            self.service_tier = delta.service_tier
        elif isinstance(delta, Failed):
            self.error = delta.error
            self.saw_done = True
        elif isinstance(delta, Ended):
            self.saw_done = True

    def _note_usage(self, told: UsageTold) -> None:
        if told.final:
            self.usage = told.usage
        else:
            self.begun_usage = told.usage
        if told.reported_cost_nano_usd is not None:
            self.reported_cost_nano_usd = told.reported_cost_nano_usd
        self.service_tier = told.service_tier
