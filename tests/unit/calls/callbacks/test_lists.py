"""Which callbacks are called for what."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from tallystick.calls.callbacks.lists import CallbackLists, Named, actions_of, hooks_not_called, require_callback


def named(*callbacks: object) -> tuple[Named, ...]:
    return tuple(Named(f"module.{number}", each) for number, each in enumerate(callbacks))


def called(lists: CallbackLists) -> dict[str, list[tuple[str, str, bool]]]:
    return {
        moment: [(action.method, action.form, action.is_async) for action in actions]
        for moment, actions in actions_of(lists).items()
    }


class Both:
    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None: ...

    def log_success_event(self, *arguments: Any) -> None: ...

    async def async_log_success_event(self, *arguments: Any) -> None: ...

    def log_failure_event(self, *arguments: Any) -> None: ...


def function(*_arguments: Any) -> None: ...


async def coroutine(*_arguments: Any) -> None: ...


def test_an_object_is_called_for_all_that_it_has_by_its_asynchronous_form() -> None:
    assert called(CallbackLists(both=named(Both()))) == {
        "begin": [("log_pre_api_call", "before", False)],
        "success": [("async_log_success_event", "after", True)],
        "failure": [("log_failure_event", "after", False)],
    }


def test_a_list_limits_what_an_object_hears() -> None:
    assert called(CallbackLists(failure=named(Both()))) == {
        "begin": [],
        "success": [],
        "failure": [("log_failure_event", "after", False)],
    }


def test_functions_hear_the_end_and_as_input_callbacks_the_beginning() -> None:
    assert called(CallbackLists(both=named(function), begin=named(coroutine))) == {
        "begin": [("", "input_function", True)],
        "success": [("", "after", False)],
        "failure": [("", "after", False)],
    }


def test_what_stands_in_two_lists_is_called_once() -> None:
    callback = Both()
    lists = CallbackLists(both=named(callback), success=(Named("again", callback),))

    assert len(actions_of(lists)["success"]) == 1
    assert len(lists.all()) == 1


def test_an_object_that_can_be_called_is_called() -> None:
    class Callable:
        async def __call__(self, *arguments: Any) -> None: ...

    assert called(CallbackLists(success=named(Callable())))["success"] == [("", "after", True)]


def test_methods_that_are_only_inherited_from_litellm_are_not_called() -> None:
    module = types.ModuleType("litellm.integrations.custom_logger")
    exec(
        "class CustomLogger:\n"
        "    def log_success_event(self, *a): ...\n"
        "    async def async_log_success_event(self, *a): ...\n"
        "    async def async_pre_call_hook(self, *a): ...\n",
        module.__dict__,
    )

    class Own(module.CustomLogger):  # type: ignore[name-defined,misc]
        def log_success_event(self, *arguments: Any) -> None: ...

    assert called(CallbackLists(both=named(Own())))["success"] == [("log_success_event", "after", False)]
    assert hooks_not_called(Own()) == ()
    assert module.__name__ not in sys.modules


def test_hooks_of_its_own_are_named() -> None:
    class Hooked(Both):
        async def async_pre_call_hook(self, *arguments: Any) -> None: ...

        def log_stream_event(self, *arguments: Any) -> None: ...

    assert hooks_not_called(Hooked()) == ("log_stream_event", "async_pre_call_hook")


def test_what_is_no_callback_is_refused() -> None:
    require_callback(Both())
    require_callback(function)
    with pytest.raises(ValueError, match="is a int"):
        require_callback(7)
    with pytest.raises(ValueError, match="is a object"):
        require_callback(object())
