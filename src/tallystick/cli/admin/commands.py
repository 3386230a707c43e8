"""`create`, `list`, `show`, `update` and `delete` for a noun: made from its description, so that all are alike."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from tallystick.access.keys import mask_key
from tallystick.cli.admin.api import AdminAPI
from tallystick.cli.admin.nouns import Field, Noun
from tallystick.cli.admin.requests import body_of, option_name
from tallystick.cli.admin.shown import at, print_thing, print_things
from tallystick.cli.admin.where import KeyOption, URLOption, Where
from tallystick.cli.options import ConfigOption, DatabaseOption, JsonOption, ends_well
from tallystick.cli.output import counted, print_json, printable, say, working
from tallystick.errors import BadRequest, NotFound

_TYPES: Final = {"text": str, "texts": list[str], "number": float, "integer": int, "object": str, "flag": bool}
_KEY_OR_HASH: Final = re.compile(r"sk-.*|[0-9a-f]{64}", re.DOTALL)
_PLACE: Final = {
    "url": URLOption,
    "api_key": KeyOption,
    "config": ConfigOption,
    "database_url": DatabaseOption,
    "json": JsonOption,
}
_SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=JSON", help="Any other field of the request; null clears.", show_default=False
    ),
]
_PageOption = Annotated[int, typer.Option("--page", min=1, max=1_000_000, help="Which page of that many.")]
_LimitOption = Annotated[int, typer.Option("--limit", min=1, max=100, help="Most to show.")]


def noun_app(noun: Noun) -> typer.Typer:
    """Return the group of a noun's commands."""
    app = typer.Typer(
        no_args_is_help=True, help=f"Make, list, show, change and delete {noun.name}.", rich_markup_mode=None
    )
    commands = _Commands(noun)
    # Any: annotations, with what typer reads of them.
    create: dict[str, Any] = {**_options(noun.fields), "settings": _SetOption}
    update: dict[str, Any] = {**_options([each for each in noun.fields if each.on_update]), "settings": _SetOption}
    filters: dict[str, Any] = {
        option_name(each.option): Annotated[str | None, typer.Option(each.option, help=each.help, show_default=False)]
        for each in noun.filters
    }
    name = Annotated[str, typer.Argument(metavar=_named(noun), help=f"The {noun.one}.")]
    names = Annotated[list[str], typer.Argument(metavar=f"{_named(noun)}…", help=f"The {noun.name}.")]
    for command, options, text in (
        (commands.create, create, f"Make {noun.article} {noun.one}."),
        (commands.list, {**filters, "limit": _LimitOption, "page": _PageOption}, f"List {noun.name}."),
        (commands.show, {"name": name}, f"Show {noun.article} {noun.one}."),
        (commands.update, {"name": name, **update}, f"Change {noun.article} {noun.one}: what is not named stays."),
        (commands.delete, {"names": names}, f"Delete {noun.name}. What they spent stays in the ledger."),
    ):
        _add(app, command, options, text)
    return app


class _Commands:
    """The commands. `place` says where; `values` are the options by name."""

    def __init__(self, noun: Noun) -> None:
        self._noun = noun

    def create(self, place: Where, *, json: bool, values: dict[str, Any]) -> None:  # Any: options' values.
        noun = self._noun
        body = body_of(noun.fields, values, values["settings"] or ())

        async def work(api: AdminAPI) -> Any:  # Any: JSON.
            return await api.send("POST", noun.create_path, body=body)

        made = place.run(work, writes=True, makes_database=True)
        if json:
            print_json(made)
            return
        secret = at(made, noun.secret) if noun.secret else None
        name = at(made, noun.id_field) or at(made, "model_id")
        if secret:
            typer.echo(secret)
            owner = at(made, "key_alias") or at(made, "key_name") if noun.one == "key" else f"of {noun.one} {name}"
            say(f"This is key {owner}, shown only this once; it {_until(at(made, 'expires'))}.")
        else:
            typer.echo(printable(f"Created {noun.one} {name}"))

    def list(self, place: Where, *, json: bool, values: dict[str, Any]) -> None:  # Any: options' values.
        noun = self._noun
        page, limit = values["page"], values["limit"]
        query = {
            **dict(noun.list_query),
            "page": page,
            noun.size_parameter: limit,
            **{each.parameter: values[option_name(each.option)] for each in noun.filters},
        }

        async def work(api: AdminAPI) -> Any:  # Any: JSON.
            return await api.send("GET", noun.list_path, query=query)

        with working(f"Reading {noun.name}"):
            answer = place.run(work, writes=False, makes_database=False)
        if json:
            print_json(answer)
            return
        things = answer if isinstance(answer, list) else at(answer, noun.list_rows) or []
        print_things(noun, things)
        total = at(answer, noun.list_total) if noun.list_total else None
        if things and total is not None:
            first = (page - 1) * limit + 1
            typer.echo(f"{noun.name.capitalize()} {first:,} to {first + len(things) - 1:,} of {total:,}.")
        else:
            typer.echo(f"{counted(len(things), noun.one)}.")

    def show(self, place: Where, *, json: bool, values: dict[str, Any]) -> None:  # Any: options' values.
        noun = self._noun

        async def work(api: AdminAPI) -> Any:  # Any: JSON.
            name = await self._id(api, values["name"])
            return await api.send("GET", noun.show_path, query={noun.show_parameter: name})

        answer = place.run(work, writes=False, makes_database=False)
        if json:
            print_json(answer)
            return
        shown = at(answer, noun.show_part) if noun.show_part else answer
        print_thing(shown[0] if isinstance(shown, list) and shown else shown)

    def update(self, place: Where, *, json: bool, values: dict[str, Any]) -> None:  # Any: options' values.
        noun = self._noun
        body = body_of(noun.fields, values, values["settings"] or ())
        if not body:
            raise BadRequest(f"Say what to change of the {noun.one}: `--help` shows the options.")

        async def work(api: AdminAPI) -> Any:  # Any: JSON.
            name = await self._id(api, values["name"])
            named = {noun.update_field: name} if noun.update_field else {}
            path = noun.update_path.format(id=quote(name, safe=""))
            return await api.send(noun.update_method, path, body={**body, **named})

        answer = place.run(work, writes=True, makes_database=False)
        if json:
            print_json(answer)
        else:
            typer.echo(printable(f"Updated {noun.one} {_masked(values['name'])}"))

    def delete(self, place: Where, *, json: bool, values: dict[str, Any]) -> None:  # Any: options' values.
        noun = self._noun

        async def work(api: AdminAPI) -> Any:  # Any: JSON.
            ids = [await self._id(api, name) for name in values["names"]]
            if noun.deletes_many:
                return await api.send(noun.delete_method, noun.delete_path, body={noun.delete_field: ids})
            return [
                await api.send(noun.delete_method, noun.delete_path, body={noun.delete_field: each}) for each in ids
            ]

        answer = place.run(work, writes=True, makes_database=False)
        if json:
            print_json(answer)
            return
        for name in values["names"]:
            typer.echo(printable(f"Deleted {noun.one} {_masked(name)}"))

    async def _id(self, api: AdminAPI, name: str) -> str:
        """Return the id of what is named; a key is named by itself, its hash or its alias."""
        if self._noun.one != "key" or _KEY_OR_HASH.fullmatch(name):
            return name
        found = await api.send("GET", self._noun.list_path, query={"key_alias": name, "size": 2})
        hashes = [each for each in at(found, "keys") or [] if isinstance(each, str)]
        if len(hashes) != 1:
            raise NotFound(f"Key not found: no key has the alias {name[:64]!r}.")
        return hashes[0]


def _add(app: typer.Typer, command: Callable[..., None], options: dict[str, Any], text: str) -> None:
    """Add a command with these options and those that say where. Any: annotations."""

    def run(**values: Any) -> None:  # Any: options' values.
        place = Where(**{each: values.pop(each) for each in ("url", "api_key", "config", "database_url")})
        command(place, json=values.pop("json"), values=values)

    annotations = {**options, **_PLACE}
    defaults = {
        "limit": 50,
        "page": 1,
        "json": False,
        "name": inspect.Parameter.empty,
        "names": inspect.Parameter.empty,
    }
    parameters = [
        inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(each), annotation=annotation)
        for each, annotation in annotations.items()
    ]
    wrapped = ends_well(run)
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # What typer reads options from.
    wrapped.__annotations__ = annotations
    app.command(command.__name__, help=text)(wrapped)


def _options(fields: Sequence[Field]) -> dict[str, Any]:  # Any: annotations.
    return {
        option_name(each.option): Annotated[
            _TYPES[each.type] | None,
            typer.Option(
                f"{each.option}/--no-{each.option.removeprefix('--')}" if each.type == "flag" else each.option,
                help=each.help,
                show_default=False,
            ),
        ]
        for each in fields
    }


def _named(noun: Noun) -> str:
    return "KEY|HASH|ALIAS" if noun.one == "key" else "ID"


def _masked(name: str) -> str:
    return mask_key(name) if name.startswith("sk-") else name


def _until(expires: object) -> str:
    return f"expires at {expires}" if expires else "never expires"
