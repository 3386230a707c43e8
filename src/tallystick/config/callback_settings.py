"""Settings of the callbacks: which there are, and how much they may take.

The lists hold import paths (`my_module.my_instance`) and names (`langfuse`). Here only the import paths are in force;
`unknown_keys` warns of the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from tallystick.config.places import Given, Place
from tallystick.config.record import MIB, Frozen, PositiveCount, Seconds

CallbackList = Literal["callbacks", "input_callback", "success_callback", "failure_callback"]

_NAME: Final = re.compile(r"[A-Za-z_][\w-]*")
_IMPORT_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def is_import_path(entry: str) -> bool:
    """Whether an entry names something to import, and not a destination that is known by its name."""
    return _IMPORT_PATH.fullmatch(entry) is not None


def _check_entry(entry: str) -> str:
    if not is_import_path(entry) and not _NAME.fullmatch(entry):
        raise ValueError("must be an import path (`my_module.my_instance`) or the name of a destination (`langfuse`)")
    return entry


def _listed(value: object) -> object:
    """Read a single entry as a list of one."""
    return (value,) if isinstance(value, str) else value


_Entries = tuple[Annotated[str, AfterValidator(_check_entry)], ...]


class CallbackSettings(Frozen):
    """What is told of calls besides the ledger."""

    callbacks: Annotated[
        _Entries,
        Given(
            name="callbacks",
            description="Functions and objects that are told of every call: import paths, relative to the directory of "
            "the configuration file or from where Python finds modules. A single one may stand for the list.",
            file=(Place("litellm_settings.callbacks", _listed),),
            in_environment=False,
        ),
    ] = ()
    input_callback: Annotated[
        _Entries,
        Given(
            name="input_callback",
            description="The same, for calls that begin.",
            file=(Place("litellm_settings.input_callback", _listed),),
            in_environment=False,
        ),
    ] = ()
    success_callback: Annotated[
        _Entries,
        Given(
            name="success_callback",
            description="The same, for calls that succeeded.",
            file=(Place("litellm_settings.success_callback", _listed),),
            in_environment=False,
        ),
    ] = ()
    failure_callback: Annotated[
        _Entries,
        Given(
            name="failure_callback",
            description="The same, for calls that failed or were interrupted.",
            file=(Place("litellm_settings.failure_callback", _listed),),
            in_environment=False,
        ),
    ] = ()
    turns_off_messages: Annotated[
        bool,
        Given(
            name="turn_off_message_logging",
            description="Tell callbacks neither messages nor answers nor what errors say; the numbers stay. May be "
            "changed while the gateway runs.",
            file=("litellm_settings.turn_off_message_logging",),
        ),
    ] = False
    queue_max: Annotated[
        PositiveCount,
        Given(
            name="callback_queue_max",
            description="Most events that wait for callbacks that may block, and as many for coroutines. Further ones "
            "are dropped for the callbacks (not for the ledger), counted and logged.",
        ),
    ] = 10_000
    queue_bytes_max: Annotated[
        PositiveCount,
        Given(
            name="callback_queue_bytes_max",
            description="Most bytes of requests and answers in each of the two queues; beyond it as above.",
        ),
    ] = 64 * MIB
    answer_bytes_max: Annotated[
        PositiveCount,
        Given(
            name="callback_answer_bytes_max",
            description="A larger answer is not kept for callbacks: they are told its id, model and usage.",
        ),
    ] = 4 * MIB
    timeout_seconds: Annotated[
        Seconds,
        Given(
            name="callback_timeout",
            description="Longest time one callback may take for one call; then the next is called.",
        ),
    ] = 10.0
    drain_seconds: Annotated[
        Seconds,
        Given(
            name="callback_drain_timeout",
            description="At the end of the process, longest wait for callbacks that are behind; what is left is "
            "dropped, counted and logged.",
        ),
    ] = 5.0

    def lists(self) -> Mapping[CallbackList, tuple[str, ...]]:
        """Return the lists by their names."""
        return {
            "callbacks": self.callbacks,
            "input_callback": self.input_callback,
            "success_callback": self.success_callback,
            "failure_callback": self.failure_callback,
        }
