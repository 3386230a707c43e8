from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal

import pytest

from tallystick.client.record import Answer, Record, read_record, recorded
from tallystick.ledger.event import SpendEvent
from tallystick.testing import FakeClock

BODY = b"""{"id": "a", "choices": [{"index": 0, "message": {"role": "assistant", "content": "two"}}],
"usage": {"prompt_tokens": 3}, "items": 7}"""


def test_an_answer_is_read_by_attribute_and_by_item() -> None:
    answer = read_record(BODY, Answer)

    assert answer.choices[0].message.content == answer["choices"][0]["message"]["content"] == "two"
    assert answer.usage.prompt_tokens == 3
    assert answer["items"] == 7
    assert answer.get("nothing") is None


def test_what_dialects_leave_out_is_none_and_a_mistake_is_an_error() -> None:
    message = read_record(BODY, Answer).choices[0].message

    assert message.tool_calls is None
    with pytest.raises(AttributeError, match="no 'contents'; it has role, content"):
        _ = message.contents


def test_it_can_be_dumped_copied_and_pickled() -> None:
    answer = read_record(BODY, Answer)

    assert answer.model_dump() == json.loads(BODY)
    assert type(answer.model_dump()["choices"][0]) is dict
    assert json.loads(answer.model_dump_json()) == json.loads(json.dumps(answer)) == json.loads(BODY)
    for other in (copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert other.choices[0].message.content == "two"


def test_the_text_of_a_response_is_put_together() -> None:
    parts = [{"type": "output_text", "text": "two "}, {"type": "refusal"}, {"type": "output_text", "text": "halves"}]
    body = json.dumps({"output": [{"type": "reasoning"}, {"type": "message", "content": parts}]}).encode()

    assert read_record(body, Answer).output_text == "two halves"


@pytest.mark.parametrize("body", [b"[]", b"1", b"<html>", b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_record(body, Record)


def test_the_cost_is_exact() -> None:
    now = FakeClock().now()
    event = SpendEvent(
        event_id="e",
        call_type="chat_completion",
        endpoint="/v1/chat/completions",
        status="success",
        started_at=now,
        ended_at=now,
        cost_nano_usd=30_000_000_001,
        model_group="public",
        model="gpt-4o",
        deployment_id="d",
        provider="openai",
    )

    told = recorded("e", event)
    assert told.cost_usd == Decimal("30.000000001")
    assert (told.model_group, told.model, told.deployment_id, told.status) == ("public", "gpt-4o", "d", "success")
    assert recorded("e", None).status == "running"
