"""What Bedrock sends, written without the gateway's code: Converse's answers, and AWS' event streams."""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Iterable
from typing import Any

EVENT_STREAM = "application/vnd.amazon.eventstream"
REQUEST_ID = "7f0c9a52-8a54-4e0c-a7d0-f6b2b1f0b7a1"


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Return one message of an event stream."""
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", len(head) + len(payload) + 16, len(head))
    body = prelude + struct.pack("!I", binascii.crc32(prelude)) + head + payload
    return body + struct.pack("!I", binascii.crc32(body))


def event(kind: str, **fields: Any) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, json.dumps(fields).encode())


def exception(kind: str, text: str) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, json.dumps({"message": text}).encode())


def answer(blocks: list[dict[str, Any]], *, stop: str = "end_turn", usage: dict[str, Any] | None = None) -> bytes:
    """Return a plain answer of Converse."""
    usage = usage or {"inputTokens": 12, "outputTokens": 6, "totalTokens": 18}
    body = {
        "metrics": {"latencyMs": 551},
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": stop,
        "usage": usage,
    }
    return json.dumps(body).encode()


def stream(blocks: list[dict[str, Any]], *, stop: str = "end_turn", usage: dict[str, Any] | None = None) -> list[bytes]:
    """Return the messages of the same answer as ConverseStream sends it: a few characters at a time."""
    sent = [event("messageStart", role="assistant", p="abcd")]
    for index, block in enumerate(blocks):
        sent += _block(index, block)
        sent.append(event("contentBlockStop", contentBlockIndex=index, p="ab"))
    sent.append(event("messageStop", stopReason=stop, p="abcdefgh"))
    usage = usage or {"inputTokens": 12, "outputTokens": 6, "totalTokens": 18}
    return [*sent, event("metadata", metrics={"latencyMs": 551}, usage=usage, p="abc")]


def _block(index: int, block: dict[str, Any]) -> Iterable[bytes]:
    def delta(**fields: Any) -> bytes:
        return event("contentBlockDelta", contentBlockIndex=index, delta=fields)

    if "text" in block:
        yield from (delta(text=piece) for piece in _pieces(block["text"]))
    elif "toolUse" in block:
        call = block["toolUse"]
        start = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
        yield event("contentBlockStart", contentBlockIndex=index, start=start)
        if call["input"]:
            yield from (delta(toolUse={"input": piece}) for piece in _pieces(json.dumps(call["input"])))
    elif "reasoningText" in block["reasoningContent"]:
        thought = block["reasoningContent"]["reasoningText"]
        yield from (delta(reasoningContent={"text": piece}) for piece in _pieces(thought["text"]))
        if thought.get("signature"):
            yield delta(reasoningContent={"signature": thought["signature"]})
    else:
        yield delta(reasoningContent={"redactedContent": block["reasoningContent"]["redactedContent"]})


def _pieces(text: str) -> Iterable[str]:
    return (text[start : start + 7] for start in range(0, len(text), 7))
