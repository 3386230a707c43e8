from __future__ import annotations

import json
from typing import Any

import pytest

from tallystick.client.asking import question
from tallystick.client.record import Answer, read_record
from tallystick.errors import BadRequest

MESSAGES: Any = [{"role": "user", "content": "Who?"}]


def test_arguments_become_the_request_that_a_gateway_would_have_read() -> None:
    asked = question(
        "completion",
        {
            "model": "m",
            "messages": MESSAGES,
            "temperature": 0,
            "user": "u",
            "team": "t",
            "session": "s",
            "tags": ["a"],
            "metadata": {"run": 7},
            "num_retries": 2,
            "stop": None,
        },
    )

    request = asked.request
    assert asked.team_id == "t"
    assert (request.user, request.session_id, request.tags) == ("u", "s", ["a"])
    assert request.litellm_metadata == {"run": 7}
    assert request.metadata == {}, "no provider is to get it"
    assert request.options.num_retries == 2
    assert "stop" not in json.loads(request.raw)


def test_messages_have_their_end_user_where_no_provider_sees_it() -> None:
    request = question("messages", {"model": "m", "messages": MESSAGES, "max_tokens": 9, "user": "u"}).request

    assert request.litellm_metadata == {"user": "u"}
    assert "user" not in json.loads(request.raw)


def test_an_earlier_answer_may_be_sent_again() -> None:
    answer = read_record(b'{"choices": [{"message": {"role": "assistant", "content": "two"}}]}', Answer)
    request = question("completion", {"model": "m", "messages": [*MESSAGES, answer.choices[0].message]}).request

    assert json.loads(request.raw)["messages"][1] == {"role": "assistant", "content": "two"}


def test_objects_of_other_libraries_are_written_as_they_say() -> None:
    class Theirs:
        def model_dump(self) -> dict[str, str]:
            return {"role": "user", "content": "theirs"}

    request = question("completion", {"model": "m", "messages": (each for each in [Theirs()])}).request

    assert json.loads(request.raw)["messages"] == [{"role": "user", "content": "theirs"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": "k"}, "'api_key' has no effect on a single call: give it to Client"),
        ({"guardrails": ["a"]}, "'guardrails' has no effect on a single call: leave it out"),
        ({"team": 7}, "'team': expected the id"),
        ({"tags": "a"}, "'tags'"),
        ({"messages": []}, "'messages' is missing"),
        ({"response_format": int}, "type is no JSON"),
        ({"temperature": {1, object()}}, "can't be written as JSON"),
        ({"num_retries": -1}, "'num_retries'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        question("completion", {"model": "m", "messages": MESSAGES, **arguments})
