"""Verification: prove from the events that the ledger adds up, and mend the sums where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.ledger.store import Audit, LedgerAuditor


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the last audit found. `rows_repaired` is None when no repair was asked for."""

    audit: Audit
    rows_repaired: int | None = None

    @property
    def is_good(self) -> bool:
        return self.audit.difference_count == 0


async def verify_ledger(auditor: LedgerAuditor, *, repair: bool, difference_limit: int) -> Verification:
    """Audit. With `repair`, rebuild the sums if they do not add up, and audit again: only that audit counts.

    A repair mends sums. An event or a commit that is missing stays a difference.
    """
    audit = await auditor.audit(difference_limit=difference_limit)
    if not repair:
        return Verification(audit=audit)
    if audit.difference_count == 0:
        return Verification(audit=audit, rows_repaired=0)
    rows_repaired = await auditor.repair()
    return Verification(audit=await auditor.audit(difference_limit=difference_limit), rows_repaired=rows_repaired)
