"""What of many batches is still to be committed."""

from __future__ import annotations

from ledger_kit import make_event
from tallystick.ledger.batch import Batch, DeadLetter, batch_of
from tallystick.ledger.parts import parts_above

EVENTS = [make_event() for _ in range(6)]


def run(first: int, last: int, producer_id: str = "p") -> Batch:
    return batch_of(producer_id, first, EVENTS[first - 1 : last])


def test_each_producer_gets_one_contiguous_batch_in_the_order_of_ids() -> None:
    parts = parts_above([run(1, 2, "q"), run(1, 2), run(2, 4), run(1, 2), run(5, 6)], {"p": 1})
    assert parts == [run(2, 6), run(1, 2, "q")]


def test_what_is_behind_a_gap_or_below_the_watermark_is_left_out() -> None:
    assert parts_above([run(4, 5), run(1, 3, "q")], {"p": 2, "q": 3}) == []


def test_dead_letters_keep_their_places() -> None:
    letter = DeadLetter(seq=3, event_id="", reason="lost", cost_nano_usd=0, payload=b"")
    dead = Batch(producer_id="p", first_seq=3, last_seq=3, numbers=(), events=(), dead_letters=(letter,))
    (part,) = parts_above([run(1, 2), dead, run(4, 4)], {})
    assert (part.first_seq, part.last_seq, part.numbers, part.dead_letters) == (1, 4, (1, 2, 4), (letter,))
