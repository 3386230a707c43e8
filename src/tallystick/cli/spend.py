"""`tallystick spend`: who spent what, from the running sums."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from tallystick.access.principal import MASTER_KEY_ALIAS, MASTER_KEY_HASH
from tallystick.bootstrap import Store
from tallystick.cli.database import use_store
from tallystick.cli.options import ConfigOption, DatabaseOption, JsonOption, ends_well, settings_of
from tallystick.cli.output import print_json, print_table, usd_column, usd_text, working
from tallystick.control.objects import Kind, ObjectRef
from tallystick.errors import BadRequest
from tallystick.ledger.batch import COUNTERS
from tallystick.ledger.store import GroupBy, LedgerReader, SumRow
from tallystick.runtime.clock import SystemClock

_FIRST_DAY: Final = date(1970, 1, 1)
_LAST_DAY: Final = date(9998, 12, 31)
_DAYS_SHOWN: Final = 30
_ROWS_SHOWN: Final = 20
_ROWS_MAX: Final = 100_000
_HASH_SHOWN: Final = 12
_DATE_FORMATS: Final = ["%Y-%m-%d"]


class By(StrEnum):
    """What spend may be grouped by."""

    KEY = "key"
    USER = "user"
    TEAM = "team"
    ORGANIZATION = "organization"
    MODEL_GROUP = "model-group"
    MODEL = "model"
    PROVIDER = "provider"
    ENDPOINT = "endpoint"
    DAY = "day"
    END_USER = "end-user"
    TAG = "tag"


# Of these the totals by day are grouped; end users and tags have totals for all time.
_DAILY: Final[dict[By, GroupBy]] = {
    By.KEY: "key",
    By.USER: "user",
    By.TEAM: "team",
    By.ORGANIZATION: "organization",
    By.MODEL_GROUP: "model_group",
    By.MODEL: "model",
    By.PROVIDER: "provider",
    By.ENDPOINT: "endpoint",
    By.DAY: "day",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Whole days, UTC, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLine:
    """One group and its sums. The name is '' for calls that had none; only keys have an alias."""

    name: str
    alias: str = ""
    sums: SumRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendReport:
    """The dearest groups, what is in no line above, and the whole. Without a period it is all time."""

    by: By
    period: Period | None
    lines: tuple[SpendLine, ...]
    whole: SumRow

    @property
    def others(self) -> SumRow | None:
        """The rest of the whole. None where groups overlap: a call with two tags counts for both."""
        return None if self.by is By.TAG else _minus(self.whole, [line.sums for line in self.lines])


@ends_well
def spend(
    by: Annotated[By, typer.Option(help="What to group by.")] = By.KEY,
    since: Annotated[
        datetime | None, typer.Option(formats=_DATE_FORMATS, help="First day, UTC.", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_DATE_FORMATS, help="Last day, UTC, included.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=_ROWS_MAX, help="Most lines to show (20; days: all).", show_default=False),
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Show who spent what, dearest first: of all time, or of the days given. By day: the last 30 days."""
    settings = settings_of(config, database_url)
    period = _period(by, since, until, today=SystemClock().now().astimezone(UTC).date())
    with working("Adding up spend"):
        report = use_store(settings, lambda store: _report(store, by, period, limit), makes_database=False)
    if json:
        print_json(_facts(report))
    else:
        _show(report)


def _period(by: By, since: datetime | None, until: datetime | None, *, today: date) -> Period | None:
    """Return the days asked for; None is all time. Raises BadRequest."""
    if since is None and until is None:
        return Period(first=today - timedelta(days=_DAYS_SHOWN - 1), last=today) if by is By.DAY else None
    if by not in _DAILY:
        raise BadRequest(f"--by {by.value} shows totals of all time: leave out --since and --until.")
    period = Period(first=since.date() if since else _FIRST_DAY, last=until.date() if until else _LAST_DAY)
    if period.first > period.last:
        raise BadRequest(f"--since {period.first} is later than --until {period.last}.")
    return period


async def _report(store: Store, by: By, period: Period | None, limit: int | None) -> SpendReport:
    lines = [
        SpendLine(name=_name_of(row), alias=await _alias_of(store, _name_of(row)) if by is By.KEY else "", sums=row)
        for row in await _rows(store.reader, by, period, limit)
    ]
    # Read last, so that it has every event that a line has.
    return SpendReport(by=by, period=period, lines=tuple(lines), whole=await _whole(store.reader, period))


async def _rows(reader: LedgerReader, by: By, period: Period | None, limit: int | None) -> tuple[SumRow, ...]:
    if by is By.DAY:
        days = await _by_column(reader, "day", period, _ROWS_MAX)
        return days[-limit:] if limit else days
    if period is not None or by is By.ENDPOINT:
        return await _by_column(reader, _DAILY[by], period, limit or _ROWS_SHOWN)
    return await reader.totals(by.value.replace("-", "_"), limit=limit or _ROWS_SHOWN)


async def _by_column(reader: LedgerReader, column: GroupBy, period: Period | None, limit: int) -> tuple[SumRow, ...]:
    first, last = (period.first, period.last) if period else (_FIRST_DAY, _LAST_DAY)
    return await reader.daily(group_by=column, first=first, last=last, limit=limit)


async def _whole(reader: LedgerReader, period: Period | None) -> SumRow:
    if period is None:
        return await reader.total("global", "")
    days = await _by_column(reader, "day", period, _ROWS_MAX)
    return SumRow(group={}, **{counter: sum(getattr(day, counter) for day in days) for counter in COUNTERS})


async def _alias_of(store: Store, key_hash: str) -> str:
    if key_hash == MASTER_KEY_HASH:
        return MASTER_KEY_ALIAS
    key = await store.control.find(ObjectRef(Kind.KEY, key_hash)) if key_hash else None
    return key.name if key else ""


def _name_of(row: SumRow) -> str:
    """Return the group's name, whatever column it is in; totals have a second one, which only team members fill."""
    return next(iter(row.group.values()))


def _minus(whole: SumRow, parts: list[SumRow]) -> SumRow:
    rest = {counter: getattr(whole, counter) - sum(getattr(part, counter) for part in parts) for counter in COUNTERS}
    return SumRow(group={}, **rest)


def _facts(report: SpendReport) -> dict[str, Any]:  # Any: JSON.
    period = report.period
    others = report.others
    return {
        "by": report.by.value,
        "since": period and period.first,
        "until": period and period.last,
        "lines": [
            {"name": line.name, **({"alias": line.alias} if report.by is By.KEY else {}), **_sums(line.sums)}
            for line in report.lines
        ],
        "others": None if others is None else _sums(others),
        "whole": _sums(report.whole),
    }


def _sums(row: SumRow) -> dict[str, Any]:  # Any: JSON.
    return {**{counter: getattr(row, counter) for counter in COUNTERS}, "cost_usd": usd_text(row.cost_nano_usd)}


def _show(report: SpendReport) -> None:
    title = report.by.value.replace("-", " ")
    sums = [(_label(line), line.sums) for line in report.lines]
    if report.others is not None and report.others.requests:
        sums.append(("(others)", report.others))
    sums.append(("the whole", report.whole))
    amounts = usd_column([row.cost_nano_usd for _, row in sums])
    *rows, last = [_cells(label, row, amount) for (label, row), amount in zip(sums, amounts, strict=True)]
    columns = ("calls", "failed", "input tokens", "output tokens", "spend")
    print_table(
        [(title, "left"), *((column, "right") for column in columns)],
        rows,
        last=last,
    )
    if report.by is By.TAG:
        typer.echo("A call counts for each of its tags, so that tags overlap.")


def _label(line: SpendLine) -> str:
    if line.alias:
        return f"{line.alias} ({line.name[:_HASH_SHOWN]}…)" if line.name != MASTER_KEY_HASH else line.alias
    return line.name or "(none)"


def _cells(label: str, row: SumRow, amount: str) -> tuple[str, ...]:
    return (
        label,
        f"{row.requests:,}",
        f"{row.failed_requests:,}",
        f"{row.input_tokens:,}",
        f"{row.output_tokens:,}",
        amount,
    )
