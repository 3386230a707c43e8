"""Every error, setting, metric and command is in the reference, and the reference names none that isn't there."""

from __future__ import annotations

import re

import pytest

from docs.command_line import command_tree
from docs.pages import REFERENCE, read, reference_text, tables
from tallystick import errors
from tallystick.config.load import SETTINGS
from tallystick.runtime.telemetry import Metrics

ERRORS = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.TallystickError)
}
COMMANDS = dict(command_tree().leaves("tallystick"))
NOT_SENT = "500"  # What a class has that says nothing of its own: it does not reach a client on purpose.


def test_every_error_is_documented() -> None:
    page = read(REFERENCE / "errors.md")

    assert [name for name in ERRORS if f"`{name}`" not in page] == []


def test_documented_errors_are_as_in_the_code() -> None:
    rows = {cells[0].strip("`"): cells for cells in tables(REFERENCE / "errors.md")}
    documented = {name: (cells[1], cells[2].strip("`")) for name, cells in rows.items() if cells[1].isdigit()}

    assert rows.keys() - ERRORS.keys() == set()
    assert documented == {name: (str(ERRORS[name].http_status), ERRORS[name].error_type) for name in documented}


def test_errors_that_reach_a_client_are_in_its_table() -> None:
    sent = {name for name, error in ERRORS.items() if str(error.http_status) != NOT_SENT}
    families = {name for name in sent if ERRORS[name].__subclasses__() and name in {"RequestError", "UpstreamError"}}
    listed = {cells[0].strip("`") for cells in tables(REFERENCE / "errors.md") if len(cells) == 5}

    assert sent - families - listed == set()


def test_the_tree_names_every_error() -> None:
    drawn = set(re.findall(r"\w+", (errors.__doc__ or "").partition("Only the classes")[0]))

    assert set(ERRORS) - drawn == set()


def test_every_setting_is_documented() -> None:
    page = read(REFERENCE / "settings.md")

    assert SETTINGS
    assert [setting.name for setting in SETTINGS if f"### `{setting.name}`" not in page] == []


def test_every_metric_is_documented() -> None:
    documented = {cells[0].strip("`") for cells in tables(REFERENCE / "metrics.md")}
    declared = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in Metrics().registry.collect()
    }

    assert documented == declared


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"\b{re.escape(name)}\b", reference_text()), f"{name} is in no page of docs/reference"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    text = reference_text()

    assert [option for option in COMMANDS[name].options if option.startswith("--") and option not in text] == []
