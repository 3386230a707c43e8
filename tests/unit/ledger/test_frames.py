"""Frames: whole ones come back, anything else is noticed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tallystick.ledger.frames import END, EVENT_KIND, Bad, Frame, Incomplete, encode_frame, find_frame, read_frame

payloads = st.binary(min_size=1, max_size=300)


@given(payload=payloads, seq=st.integers(0, 2**64 - 1), before=st.binary(max_size=20))
def test_a_frame_comes_back(payload: bytes, seq: int, before: bytes) -> None:
    encoded = encode_frame(EVENT_KIND, seq, payload)

    assert read_frame(before + encoded + b"rest", len(before)) == Frame(
        EVENT_KIND, seq, payload, len(before) + len(encoded)
    )


@given(payload=payloads, data=st.data())
def test_any_flipped_bit_is_noticed(payload: bytes, data: st.DataObject) -> None:
    encoded = bytearray(encode_frame(EVENT_KIND, 7, payload))
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << (bit % 8)

    assert isinstance(read_frame(bytes(encoded), 0), Bad | Incomplete)


@given(payload=payloads, data=st.data())
def test_a_frame_cut_anywhere_is_incomplete(payload: bytes, data: st.DataObject) -> None:
    encoded = encode_frame(EVENT_KIND, 7, payload)
    length = data.draw(st.integers(1, len(encoded) - 1))

    assert isinstance(read_frame(encoded[:length], 0), Incomplete)


def test_zeroes_and_nothing_are_the_end() -> None:
    assert read_frame(b"", 0) is END
    assert read_frame(bytes(5), 0) is END
    assert read_frame(bytes(500), 0) == END


def test_the_next_frame_is_found_behind_garbage() -> None:
    encoded = encode_frame(EVENT_KIND, 7, b"payload")

    assert find_frame(b"\xff" * 33 + encoded, 0) == 33
    assert find_frame(b"\xff" * 33, 0) is None
