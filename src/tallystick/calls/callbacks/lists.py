"""Which callbacks there are, and what each of them is called for.

A callback is a function, or an object with the methods of LiteLLM's CustomLogger. Of a method's two forms, the one with
`async_` is called where the object has it, else the other. Nothing of LiteLLM is needed: an object that inherits from
its CustomLogger has every method, and those that it has not written itself are left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.calls.callbacks.arguments import Form, Moment

Function = Callable[..., Any]  # Any: what a callback returns is nobody's concern.

_METHODS: Final[Mapping[Moment, tuple[tuple[str, Form], ...]]] = {
    "begin": (("log_pre_api_call", "before"),),
    "success": (("log_post_api_call", "after"), ("log_success_event", "after")),
    "failure": (("log_failure_event", "after"),),
}
_KNOWN: Final = frozenset(name for methods in _METHODS.values() for name, _ in methods)
_NOT_CALLED: Final = (
    "log_stream_event", "async_log_stream_event", "async_pre_call_hook", "async_moderation_hook",
    "async_post_call_success_hook", "async_post_call_failure_hook", "async_post_call_streaming_hook",
    "async_post_call_streaming_iterator_hook", "async_pre_call_deployment_hook", "async_pre_request_hook",
    "async_filter_deployments", "logging_hook", "async_logging_hook", "async_log_audit_log_event",
)  # fmt: skip
"""What LiteLLM would call of such an object, and this gateway does not."""
_BASE: Final = "litellm.integrations.custom_logger"


class Named(NamedTuple):
    """A callback and what the log and the pages call it."""

    name: str
    callback: object


class CallbackLists(msgspec.Struct, frozen=True, kw_only=True):
    """The four lists, as LiteLLM has them."""

    both: tuple[Named, ...] = ()
    """`callbacks`: told of all that they have a method for; functions, of success and failure."""
    begin: tuple[Named, ...] = ()
    """`input_callback`"""
    success: tuple[Named, ...] = ()
    failure: tuple[Named, ...] = ()

    def all(self) -> Sequence[Named]:
        """Return every callback once."""
        found = {id(each.callback): each for each in (*self.both, *self.begin, *self.success, *self.failure)}
        return tuple(found.values())


NO_CALLBACKS: Final = CallbackLists()


class Action(NamedTuple):
    """One thing to call."""

    callback: str
    method: str
    """'' for a function."""
    run: Function
    form: Form
    is_async: bool
    redacts: bool
    """It asks for no messages and no answers."""


def actions_of(lists: CallbackLists) -> Mapping[Moment, tuple[Action, ...]]:
    """Return what is called at each moment, in order, each callback once."""
    own: Mapping[Moment, tuple[Named, ...]] = {
        "begin": (*(each for each in lists.both if _method(each.callback, "log_pre_api_call")), *lists.begin),
        "success": (*lists.both, *lists.success),
        "failure": (*lists.both, *lists.failure),
    }
    return {
        moment: tuple(
            action
            for each in {id(each.callback): each for each in members}.values()
            for action in _actions(moment, each)
        )
        for moment, members in own.items()
    }


def require_callback(callback: object) -> None:
    """Raise ValueError for what can't be a callback."""
    if callable(callback) or any(_method(callback, name) for name in _KNOWN):
        return
    methods = ", ".join(sorted(_KNOWN))
    raise ValueError(
        f"is a {type(callback).__name__}: it must be a function, or an object with one of {methods} (or async_…)"
    )


def hooks_not_called(callback: object) -> tuple[str, ...]:
    """Return the methods of an object that LiteLLM would call and that are not called here."""
    if _is_function(callback):
        return ()
    return tuple(name for name in _NOT_CALLED if _own_method(callback, name) is not None)


def _actions(moment: Moment, named: Named) -> Iterator[Action]:
    name, callback = named
    redacts = bool(getattr(callback, "turn_off_message_logging", False))
    found = [(form, run) for method, form in _METHODS[moment] if (run := _method(callback, method)) is not None]
    for form, run in found:
        yield Action(name, run.__name__, run, form, inspect.iscoroutinefunction(run), redacts)
    if callable(callback) and not found:
        form = "input_function" if moment == "begin" else "after"
        yield Action(name, "", callback, form, _is_coroutine_function(callback), redacts)


def _method(callback: object, name: str) -> Function | None:
    """Return a method's asynchronous form, else its other one; None where the object has neither of its own."""
    return _own_method(callback, f"async_{name}") or _own_method(callback, name)


def _own_method(callback: object, name: str) -> Function | None:
    method: Function | None = getattr(callback, name, None)
    if not callable(method) or getattr(method, "__module__", "") == _BASE:
        return None
    return method


def _is_function(callback: object) -> bool:
    return inspect.isroutine(callback)


def _is_coroutine_function(callback: Function) -> bool:
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(getattr(callback, "__call__", None))  # noqa: B004 - asked of objects.
