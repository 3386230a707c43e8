"""`tallystick keys`: make, list and delete virtual keys in the database, without a running gateway."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import pydantic
import typer

from tallystick.access.keys import VirtualKey, hash_key, mask_key
from tallystick.access.store import KeyFilter, KeyStore
from tallystick.admin.key_requests import GenerateKey
from tallystick.bootstrap import Store
from tallystick.cli.database import use_store
from tallystick.cli.options import ConfigOption, DatabaseOption, JsonOption, ends_well, settings_of
from tallystick.cli.output import counted, print_json, print_table, printable, say, usd_column, usd_text, working
from tallystick.errors import BadRequest, NotFound
from tallystick.runtime.clock import SystemClock

keys_app = typer.Typer(no_args_is_help=True, help="Make, list and delete virtual keys.", rich_markup_mode=None)

_CREATED_BY: Final = "command line"
_KEY_PREFIX: Final = "sk-"
_OPTIONS: Final = {
    "key_alias": "--alias",
    "user_id": "--user",
    "team_id": "--team",
    "organization_id": "--organization",
}


@keys_app.command()
@ends_well
def create(
    alias: Annotated[str | None, typer.Option(help="A name for people; no two keys share one.")] = None,
    user: Annotated[str | None, typer.Option(help="The user to whom its spend is attributed.")] = None,
    team: Annotated[str | None, typer.Option(help="The team to which its spend is attributed.")] = None,
    organization: Annotated[str | None, typer.Option(help="The organization of its spend.")] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Models that it may call, with commas or repeated; none means all.")
    ] = None,
    tags: Annotated[list[str] | None, typer.Option(help="Tags of all of its calls, with commas or repeated.")] = None,
    duration: Annotated[str | None, typer.Option(help="How long it is good for: 30s, 15m, 24h, 30d, 2w, 1mo.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object of your own.")] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Make a virtual key and print it. It is shown only this once."""
    asked = _asked(
        key_alias=alias,
        user_id=user,
        team_id=team,
        organization_id=organization,
        models=_split(models),
        tags=_split(tags),
        duration=duration,
        metadata=None if metadata is None else _json_object(metadata),
    )
    plain_key = asked.plain_key()
    key = asked.virtual_key(plain_key, now=SystemClock().now(), created_by=_CREATED_BY)
    use_store(settings_of(config, database_url), lambda store: store.keys.insert(key), makes_database=True)
    if json:
        print_json({"key": plain_key, **_facts(key, spend_nano_usd=0)})
        return
    typer.echo(plain_key)
    say(f"This is key {key.key_alias or key.key_name}, shown only this once; it {_until(key)}.")


@keys_app.command("list")
@ends_well
def list_keys(
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most keys to show.")] = 50,
    page: Annotated[int, typer.Option(min=1, max=1_000_000, help="Which page of that many.")] = 1,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """List virtual keys, newest first, and what they have spent."""
    settings = settings_of(config, database_url)
    with working("Reading keys"):
        listed, total = use_store(settings, lambda store: _listed(store, page, limit), makes_database=False)
    if json:
        keys = [_facts(key, spend_nano_usd=spend) for key, spend in listed]
        print_json({"keys": keys, "total_count": total, "page": page, "limit": limit})
        return
    columns = ("key", "alias", "user", "team", "models", "spend", "created", "expires", "blocked")
    amounts = usd_column([spend for _, spend in listed])
    print_table(
        [(column, "right" if column == "spend" else "left") for column in columns],
        [_row(key, amount) for (key, _), amount in zip(listed, amounts, strict=True)],
    )
    first = (page - 1) * limit + 1
    typer.echo(
        f"Keys {first:,} to {first + len(listed) - 1:,} of {total:,}." if listed else f"{counted(total, 'key')}."
    )


@keys_app.command()
@ends_well
def delete(
    names: Annotated[list[str], typer.Argument(metavar="KEY|HASH|ALIAS…", help="Keys, their hashes or aliases.")],
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json: JsonOption = False,
) -> None:
    """Delete virtual keys: all of them or, when one is not found, none. What they spent stays in the ledger."""
    settings = settings_of(config, database_url)
    deleted = use_store(settings, lambda store: _delete(store.keys, names), makes_database=False)
    if json:
        print_json({"deleted": [{"key_hash": key.key_hash, "key_alias": key.key_alias} for key in deleted]})
        return
    for key in deleted:
        typer.echo(printable(f"Deleted {key.key_alias or key.key_name}"))


async def _listed(store: Store, page: int, limit: int) -> tuple[list[tuple[VirtualKey, int]], int]:
    found = await store.keys.list_keys(KeyFilter(), offset=(page - 1) * limit, limit=limit)
    spent = [(key, (await store.reader.total("key", key.key_hash)).cost_nano_usd) for key in found.keys]
    return spent, found.total_count


async def _delete(keys: KeyStore, names: list[str]) -> list[VirtualKey]:
    found: dict[str, VirtualKey] = {}
    unknown: list[str] = []
    for name in names:
        key = await _find(keys, name)
        if key is None:
            unknown.append(_shown(name))
        else:
            found[key.key_hash] = key
    if unknown:
        raise NotFound(f"There is no key {', '.join(unknown)}. Nothing was deleted.")
    if not await keys.delete(tuple(found)):
        raise NotFound("One of the keys was deleted by somebody else just now. Nothing was deleted here.")
    return list(found.values())


async def _find(keys: KeyStore, name: str) -> VirtualKey | None:
    """Return the key that is named by itself, by its hash or by its alias."""
    by_itself = await keys.find(hash_key(name)) if name.startswith(_KEY_PREFIX) else None
    return by_itself or await keys.find(name) or await keys.find_by_alias(name)


def _asked(**fields: Any) -> GenerateKey:  # Any: text, lists and objects, which the model checks.
    """Check the fields as the HTTP API does. Raises BadRequest, which names the option."""
    try:
        return GenerateKey(**fields)
    except pydantic.ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        raise BadRequest(f"{_OPTIONS.get(name, f'--{name}')}: {first['msg'].removeprefix('Value error, ')}") from error


def _split(given: list[str] | None) -> list[str] | None:
    """Read values that may be given with commas, repeatedly, or both."""
    if given is None:
        return None
    return [value for text in given for part in text.split(",") if (value := part.strip())]


def _json_object(text: str) -> dict[str, Any]:  # Any: the caller's own JSON.
    try:
        value = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(f"--metadata must be a JSON object such as '{{\"a\": 1}}': {error}") from error
    return value


def _shown(name: str) -> str:
    """Return how a name may be repeated: a whole key is a secret."""
    return f"'{mask_key(name) if name.startswith(_KEY_PREFIX) else name[:64]}'"


def _facts(key: VirtualKey, *, spend_nano_usd: int) -> dict[str, Any]:  # Any: JSON.
    return {**msgspec.to_builtins(key), "spend_nano_usd": spend_nano_usd, "spend_usd": usd_text(spend_nano_usd)}


def _row(key: VirtualKey, amount: str) -> tuple[str, ...]:
    return (
        key.key_name,
        key.key_alias,
        key.user_id,
        key.team_id,
        ", ".join(key.models) or "all",
        amount,
        _day(key.created_at),
        "never" if key.expires_at is None else _day(key.expires_at),
        "yes" if key.blocked else "no",
    )


def _until(key: VirtualKey) -> str:
    return "never expires" if key.expires_at is None else f"expires {_day(key.expires_at)}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}Z"
