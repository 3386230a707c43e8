"""What of many batches is still to be committed. A pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallystick.ledger.batch import Batch


def parts_above(batches: Sequence[Batch], watermarks: Mapping[str, int]) -> list[Batch]:
    """Return what committing `batches` one after the other would add: one contiguous batch for each producer.

    Producers come in the order of their ids, those without anything new not at all. A producer that is not among
    `watermarks` stands at 0.
    """
    taken: dict[str, list[Batch]] = {}
    reached = dict(watermarks)
    for batch in batches:
        watermark = reached.get(batch.producer_id, 0)
        part = batch.above(watermark)
        if part is not None and part.first_seq == watermark + 1:
            taken.setdefault(batch.producer_id, []).append(part)
            reached[batch.producer_id] = part.last_seq
    return [_joined(taken[producer_id]) for producer_id in sorted(taken)]


def _joined(parts: Sequence[Batch]) -> Batch:
    """Return the batch of parts that follow each other."""
    if len(parts) == 1:
        return parts[0]
    return Batch(
        producer_id=parts[0].producer_id,
        first_seq=parts[0].first_seq,
        last_seq=parts[-1].last_seq,
        numbers=tuple(number for part in parts for number in part.numbers),
        events=tuple(event for part in parts for event in part.events),
        dead_letters=tuple(letter for part in parts for letter in part.dead_letters),
    )
