"""The sinks: does each take what it is sent, and did it get everything."""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.cli.checks.check import Check
from tallystick.cli.output import counted
from tallystick.config.settings import Settings
from tallystick.ledger.sinks.look import SinkStanding, look_at_sinks
from tallystick.runtime.masking import mask_text


def check_sinks(settings: Settings) -> Iterator[Check]:
    """Return a check for each sink, from the journals of this machine. None is asked."""
    for standing in look_at_sinks(settings.journal.directory, [entry.name for entry in settings.sinks]):
        yield _check(standing)


def _check(standing: SinkStanding) -> Check:
    name = f"sink: {standing.name}"
    found = f"{counted(standing.sent, 'event')} sent, {standing.lag_events:,} wait"
    if standing.error:
        return Check(
            name=name,
            state="warn",
            found=f"{found}; {mask_text(standing.error)}",
            mend="Bring it back, or correct its settings. What waits is sent then; until then it fills the journal.",
        )
    missed = standing.refused + standing.skipped
    if missed:
        return Check(
            name=name,
            state="warn",
            found=f"{found}; {standing.refused:,} were refused and {standing.skipped:,} skipped in all",
            mend=f"`tallystick sinks replay {standing.name} --since …` sends what it did not get.",
        )
    return Check(name=name, state="good", found=found)
