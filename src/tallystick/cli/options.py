"""Options that every command has, and how a command ends when something is wrong."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from tallystick.cli.output import say
from tallystick.config.load import load_settings
from tallystick.config.settings import Settings
from tallystick.errors import BadRequest, ConfigError, TallystickError
from tallystick.runtime.masking import mask_text

Parameters = ParamSpec("Parameters")

GOOD, PROBLEM, WRONG_USE = 0, 1, 2

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file (YAML, as LiteLLM's).", show_default=False)
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url", help="sqlite:///PATH or postgresql://…; else from the settings.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts for machines.")]


def ends_well(command: Callable[Parameters, int | None]) -> Callable[Parameters, None]:
    """Turn a command's result into its exit code, and an error of ours into one line without a traceback."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            code = command(*args, **kwargs) or GOOD
        except TallystickError as error:
            say(f"tallystick: {mask_text(error.message)}")
            code = WRONG_USE if isinstance(error, ConfigError | BadRequest) else PROBLEM
        raise typer.Exit(code)

    return run


def settings_of(config: Path | None, database_url: str | None) -> Settings:
    """Read the settings as `serve` does. Raises ConfigError."""
    return load_settings(config_file=config, overrides={"database_url": database_url}, environ=os.environ)
