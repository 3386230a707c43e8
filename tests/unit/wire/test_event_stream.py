from __future__ import annotations

import binascii
import struct
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

import bedrock_kit as kit
from tallystick.errors import UpstreamGarbled
from tallystick.wire.event_stream import EventStream, StreamMessage

names = st.text("abcdefgh:-", min_size=1, max_size=20)
messages = st.lists(st.tuples(st.dictionaries(names, st.text(max_size=20), max_size=4), st.binary(max_size=60)))


def read(pieces: list[bytes]) -> list[StreamMessage]:
    stream = EventStream()
    return [message for piece in pieces for message in stream.feed(piece)]


@given(messages, st.data())
def test_messages_come_out_whatever_the_pieces(sent: list[Any], data: st.DataObject) -> None:
    whole = b"".join(kit.message(headers, payload) for headers, payload in sent)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert [tuple(message) for message in read(pieces)] == sent
    theirs = EventStreamBuffer()
    theirs.add_data(whole)
    assert [(event.headers, event.payload) for event in theirs] == sent


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_is_found(place: int, change: int) -> None:
    whole = bytearray(kit.event("contentBlockDelta", contentBlockIndex=0, delta={"text": "twelve"}))
    whole[place % len(whole)] ^= change
    with pytest.raises(UpstreamGarbled):
        # In the length, the damage may ask for more bytes; but then its own checksum is wrong.
        read([bytes(whole)])


def test_headers_of_other_types_are_passed_over() -> None:
    head = b"\x01a\x00" + b"\x01b\x04\x00\x00\x00\x07" + b"\x01c\x06\x00\x02xy" + b"\x01d\x07\x00\x01z"
    prelude = struct.pack("!II", len(head) + 16, len(head))
    body = prelude + struct.pack("!I", binascii.crc32(prelude)) + head
    whole = body + struct.pack("!I", binascii.crc32(body))
    assert read([whole]) == [StreamMessage({"d": "z"}, b"")]


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (20, 10), (1 << 30, 0), (1 << 20, 1 << 19)])
def test_impossible_lengths(total: int, headers: int) -> None:
    prelude = struct.pack("!II", total, headers)
    with pytest.raises(UpstreamGarbled, match="can't be"):
        read([prelude + struct.pack("!I", binascii.crc32(prelude))])


def test_headers_that_do_not_fit() -> None:
    for head in (b"\x05ab", b"\x01a\x07\x00\x09z", b"\x01a\x63"):
        prelude = struct.pack("!II", len(head) + 16, len(head))
        body = prelude + struct.pack("!I", binascii.crc32(prelude)) + head
        with pytest.raises(UpstreamGarbled, match="headers"):
            read([body + struct.pack("!I", binascii.crc32(body))])
