"""What deployments are resolved with: settings, environment and credentials of the file and of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from tallystick.config.references import resolve_text
from tallystick.config.settings import Settings
from tallystick.control.live_settings import LIVE, OF_DEPLOYMENTS, LiveSettings, live_settings
from tallystick.control.objects import ControlObject, Kind, spec_as
from tallystick.control.snapshot import LeftOut
from tallystick.control.specs import CredentialSpec, SettingSpec, VariableSpec
from tallystick.control.store import Loaded
from tallystick.errors import TallystickError

SpecReader = Callable[[Kind, str, Mapping[str, Any]], dict[str, Any]]  # Any: JSON.
"""From kind, id and spec to the spec as read: with its secrets opened (`Sealer.open`), or masked."""

SpecT = TypeVar("SpecT")


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What the file and the database say besides models."""

    environment: Mapping[str, str]
    credentials: Mapping[str, Mapping[str, Any] | str]  # Any: JSON.
    """The values of each credential by its name, or why it can't be used."""
    settings: LiveSettings
    revisions: Mapping[str, int]
    """Of each of the database's credentials."""
    token: tuple[tuple[str, int], ...]
    """Equal while all is that a deployment is resolved with, but its credential: environment, costs, timeouts."""


def read_written(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    loaded: Loaded,
    open_spec: SpecReader,
    left_out: list[LeftOut],
) -> Written:
    """Open every object that is not a model; those that can't be used are added to `left_out`.

    The database's variables go before the process's, and its credentials before the file's; settings and variables
    that the file has are the file's.
    """
    opener = _Opener(open_spec, left_out)
    environment = dict(environ)
    credentials: dict[str, Mapping[str, Any] | str] = {  # Any: JSON.
        entry.credential_name: entry.credential_values for entry in settings.credential_list
    }
    values: dict[str, Any] = {}  # Any: JSON.
    revisions: dict[str, int] = {}
    token: list[tuple[str, int]] = []
    for held in loaded.objects:
        match held.kind:
            case Kind.ENVIRONMENT_VARIABLE:
                token.append((held.object_id, held.revision))
                variable = opener.open(held, VariableSpec, check=lambda _, spec: _value_of(spec, environ))
                if isinstance(variable, VariableSpec) and held.object_id not in settings.environment_variables:
                    environment[held.object_id] = _value_of(variable, environ)
            case Kind.CREDENTIAL:
                revisions[held.object_id] = held.revision
                credential = opener.open(held, CredentialSpec)
                credentials[held.object_id] = (
                    credential if isinstance(credential, str) else credential.credential_values
                )
            case Kind.SETTING:
                if held.object_id in OF_DEPLOYMENTS:
                    token.append((held.object_id, held.revision))
                setting = opener.open(held, SettingSpec, check=_check_setting)
                if isinstance(setting, SettingSpec):
                    values[held.object_id] = setting.value
            case _:
                continue
    return Written(
        environment=environment,
        credentials=credentials,
        settings=live_settings(settings, values),
        revisions=revisions,
        token=tuple(token),
    )


class _Opener:
    """Opens specs, and notes which can't be."""

    def __init__(self, open_spec: SpecReader, left_out: list[LeftOut]) -> None:
        self._open_spec = open_spec
        self._left_out = left_out

    def open(
        self, held: ControlObject, of: type[SpecT], *, check: Callable[[str, SpecT], object] | None = None
    ) -> SpecT | str:
        """Return the spec with its secrets opened, or why it can't be used."""
        try:
            spec = spec_as(of, self._open_spec(held.kind, held.object_id, held.spec))
            if check is not None:
                check(held.object_id, spec)
        except (TallystickError, ValueError) as error:
            self._left_out.append(LeftOut(kind=held.kind, object_id=held.object_id, name=held.name, reason=str(error)))
            return str(error)
        return spec


def _value_of(variable: VariableSpec, environ: Mapping[str, str]) -> str:
    """A reference stands for what the process's environment or a file has. Raises ValueError."""
    return resolve_text(variable.value, environ)


def _check_setting(name: str, spec: SettingSpec) -> None:
    known = LIVE.get(name)
    if known is None:
        raise ValueError("there is no such setting that may change while the gateway runs")
    known.check(spec.value)
