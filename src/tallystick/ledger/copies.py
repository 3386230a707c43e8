"""Copied slots: what may be done with work that another slot may hold too.

The events in a copied segment have their numbers already, the same as in the original, so whoever delivers them second
repeats. What is not finished is another matter: see docs/adr/0006-no-number-twice.md.
"""

from __future__ import annotations

import structlog

from tallystick.ledger.places import is_held
from tallystick.ledger.segments import Recovered
from tallystick.ledger.slots import CopiedWork, ProducerRecord, Slot

log = structlog.get_logger()


def copied_work(recovered: Recovered, record: ProducerRecord | None, *, is_copy: bool) -> CopiedWork | None:
    """Return which of a slot's segments are copies of what another slot holds or held; None when none are.

    It is remembered for as long as such a segment is there: at the second start, the slot is no copy any more.
    """
    if record is None:
        return None
    held = {segment.producer_id for segment in recovered.segments}
    if is_copy:
        copied = CopiedWork(original=record.place, producer_ids=tuple(sorted(held)))
    elif record.copied is not None:
        left = tuple(producer_id for producer_id in record.copied.producer_ids if producer_id in held)
        copied = CopiedWork(original=record.copied.original, producer_ids=left)
    else:
        return None
    return copied if copied.producer_ids else None


def leave_running_calls(slot: Slot, recovered: Recovered, copied: CopiedWork | None) -> Recovered:
    """Leave the running calls of a copied slot to the original, when its process lives: they end there.

    When none does, or it can't be seen, they are ended here like those of any process that died.
    """
    if copied is None or recovered.producer_id not in copied.producer_ids or not recovered.open_intents:
        return recovered
    if not is_held(copied.original):
        return recovered
    calls, original = len(recovered.open_intents), copied.original.path
    log.warning("running_calls_left_to_original", slot=slot.name, calls=calls, original=original)
    return recovered._replace(open_intents={})
