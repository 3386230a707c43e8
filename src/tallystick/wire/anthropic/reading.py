"""Answers in Anthropic's dialect for callers who speak it."""

from __future__ import annotations

from typing import Final

from tallystick.wire.anthropic.stream import AnthropicEvents
from tallystick.wire.anthropic.upstream import read_facts
from tallystick.wire.native_reading import NativeReading

PASSED_THROUGH: Final = NativeReading(read_facts=read_facts, stream_events=lambda: AnthropicEvents().read)
