"""What is read of answers with images, sound and ranks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.wire.media.answer import media_reading
from tallystick.wire.media.request import parse_media
from tallystick.wire.usage import Usage

SPEECH = parse_media("audio/speech", b'{"model": "m", "input": "Who?", "voice": "v"}')
RERANK = parse_media("rerank", b'{"model": "m", "query": "q", "documents": ["a"]}')


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_the_last_byte_of_sound_waits_for_the_end(chunks: list[bytes]) -> None:
    meter = media_reading(SPEECH).meter()
    passed = b"".join(meter.feed(chunk) for chunk in chunks)
    whole = b"".join(chunks)
    assert passed == whole[:-1]
    assert passed + meter.finish() == whole


@pytest.mark.parametrize("count", [-1, 10**12])
def test_a_garbled_count_is_no_usage(count: int) -> None:
    body = json.dumps({"results": [], "meta": {"billed_units": {"search_units": count}}}).encode()
    reading = media_reading(RERANK).read_plain(body)
    assert (reading.facts.usage, reading.body) == (None, body)


def test_a_whole_answer_is_not_changed_where_it_is_in_coheres_shape() -> None:
    body = b'{"results":  [], "meta": {"billed_units": {"search_units": 2}}}'
    reading = media_reading(RERANK).read_plain(body)
    assert (reading.facts.usage, reading.body) == (Usage(searches=2), body)
