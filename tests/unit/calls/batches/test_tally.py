"""A batch's bill: each answer priced by itself, whatever the chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.calls.batches.tally import Tally, estimated
from tallystick.pricing.price import PriceSheet, Rate, Tier
from tallystick.wire import batch_lines
from tallystick.wire.usage import Usage

SHEET = PriceSheet(
    version="v",
    rates={
        "input": Rate(
            nano_usd_per_million=1_000_000, tiers=(Tier(above_input_tokens=100, nano_usd_per_million=9_000_000),)
        ),
        "output": Rate(nano_usd_per_million=2_000_000),
    },
)


def line(usage: dict[str, Any] | None, *, status: int = 200, **body: Any) -> bytes:
    answer = {"id": "x", "model": "m", **({"usage": usage} if usage is not None else {}), **body}
    return json.dumps({"custom_id": "a", "response": {"status_code": status, "body": answer}}).encode() + b"\n"


def counted(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def bill_of(*chunks: bytes, endpoint: str = "/v1/chat/completions", sheet: PriceSheet | None = SHEET) -> Any:
    tally = Tally(endpoint=endpoint, sheet=sheet)
    for chunk in chunks:
        tally.feed(chunk)
    tally.end_file()
    return tally.bill()


def test_tiers_are_of_single_answers() -> None:
    bill = bill_of(line(counted(60, 1)) + line(counted(60, 1)))
    assert bill.cost_nano_usd == 2 * (60 + 2)
    assert (bill.usage, bill.usage_source, bill.cost_status) == (
        Usage(input_tokens=120, output_tokens=2),
        "provider",
        "priced",
    )
    assert bill_of(line(counted(101, 0))).cost_nano_usd == 909


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=6), st.integers(1, 200))
def test_how_it_is_cut_into_chunks_does_not_matter(answers: list[tuple[int, int]], size: int) -> None:
    whole = b"\n".join(line(counted(*answer)) for answer in answers).rstrip()
    chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
    bill = bill_of(*chunks)
    assert bill == bill_of(whole)
    assert bill.cost_nano_usd == sum(bill.breakdown.values())
    assert bill.counts["succeeded"] == len(answers)


def test_failures_cost_nothing_and_what_is_unreadable_is_told() -> None:
    bill = bill_of(
        line(None, status=429) + b'{"custom_id": "b", "response": null, "error": {"code": "expired"}}\n' + b"<<<\n",
        line(counted(10, 0)),
    )
    assert bill.counts == {"succeeded": 1, "failed": 2, "unreadable": 1}
    assert bill.cost_nano_usd == 10


def test_an_answer_without_usage_is_estimated_and_says_so() -> None:
    bill = bill_of(line(None, choices=[{"message": {"content": "x" * 400}}]))
    assert bill.usage_source == "estimated"
    assert bill.cost_nano_usd > 200


def test_responses_are_read_by_their_own_reader() -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    bill = bill_of(line(usage, object="response", output=[]), endpoint="/v1/responses")
    assert bill.usage == Usage(input_tokens=7, output_tokens=3)


def test_without_a_price_the_bill_says_so() -> None:
    bill = bill_of(line(counted(10, 1)), sheet=None)
    assert (bill.cost_nano_usd, bill.cost_status, bill.usage.input_tokens) == (0, "unpriced", 10)
    assert estimated(5, SHEET).cost_nano_usd == 5


def test_a_line_that_is_too_long_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_lines, "LINE_BYTES_MAX", 500)
    bill = bill_of(b"x" * 300, b"x" * 300, b"\n" + line(counted(10, 0)))
    assert bill.counts == {"succeeded": 1, "failed": 0, "unreadable": 1}
    assert bill.cost_nano_usd == 10


def test_what_can_not_be_read_is_not_free() -> None:
    bill = bill_of(b"garbage\n", b"{cut of")
    assert (bill.cost_nano_usd, bill.cost_status) == (0, "unpriced")
    assert bill_of(line(counted(1, 1)), b"garbage\n").cost_status == "unpriced"


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"max_tokens": 10}, 10),
        ({"max_tokens": 10, "n": 2, "best_of": 5}, 50),
        ({"max_tokens": 10, "prompt": ["a", "b", "c"]}, 30),
        ({"max_tokens": 10, "prompt": [[1, 2], [3]]}, 20),
        ({"max_tokens": 10, "prompt": [1, 2, 3], "n": 2}, 20),
        ({"prompt": ["a", "b"]}, 0),
    ],
)
def test_a_line_is_bounded_by_all_that_it_asks_for(body: dict[str, Any], tokens: int) -> None:
    call = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "m", **body}}
    assert batch_lines.read_input_line(json.dumps(call).encode(), 1).output_tokens == tokens
