"""Find calls by the id that their callers know."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.admin.moments import event_id_in
from tallystick.admin.spend_rows import CACHE_HIT_MARK, request_id_of
from tallystick.ledger.store import CommittedEvent, EventFilter, LedgerReader

# Some providers give the same id to several answers.
_ANSWERS_MAX: Final = 1_000


async def events_of_request(ledger: LedgerReader, request_id: str, where: EventFilter) -> tuple[CommittedEvent, ...]:
    """Find by event id, else by the id of the provider's answer, with or without the mark of a cache hit."""
    event_id = event_id_in(request_id)
    if event_id is not None:
        by_id = msgspec.structs.replace(where, event_id=event_id)
        found = await ledger.latest_events(limit=1, where=by_id)
        if found:
            return found
    answer_id = request_id.partition(CACHE_HIT_MARK)[0]
    by_answer = msgspec.structs.replace(where, provider_response_id=answer_id)
    found = await ledger.latest_events(limit=_ANSWERS_MAX, where=by_answer)
    if answer_id == request_id:
        return found
    return tuple(committed for committed in found if request_id_of(committed.event) == request_id)
