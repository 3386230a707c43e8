"""The dialects that callers may speak, by name. A new one is a line here and one in `gateway.call_paths`."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.wire.anthropic.caller import AnthropicCaller
from tallystick.wire.dialect import CallerDialect
from tallystick.wire.gemini.caller import GeminiCaller
from tallystick.wire.gemini.request import GEMINI, GEMINI_ARRAY
from tallystick.wire.openai.chat_caller import OpenAIChatCaller
from tallystick.wire.responses.caller import ResponsesCaller

CALLER_DIALECTS: Mapping[str, CallerDialect] = {
    dialect.name: dialect
    for dialect in (
        OpenAIChatCaller(),
        AnthropicCaller(),
        GeminiCaller(GEMINI),
        GeminiCaller(GEMINI_ARRAY),
        ResponsesCaller(),
    )
}
