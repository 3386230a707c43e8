"""`Client` and `AsyncClient`: two shells around one engine. They differ in how they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack

from tallystick.bootstrap import Services, open_embedded
from tallystick.bootstrap.callbacks import CALLBACK_LISTS
from tallystick.client.asking import Method, question
from tallystick.client.open_stream import OpenStream
from tallystick.client.record import Answer
from tallystick.client.runtime import EXIT_SECONDS, Runtime
from tallystick.client.streams import AsyncStream, Stream
from tallystick.errors import ConfigError, NotCommittedInTime, TallystickError

ResultT = TypeVar("ResultT")
FLUSH_SECONDS: Final = 30.0
_MARGIN_SECONDS: Final = 5.0
_ANY_MODEL: Final = "*"


class ClientOptions(TypedDict, total=False):
    """What both kinds of client take."""

    database_url: str
    """`sqlite:///<path>` or `postgresql://…`. Default: TALLYSTICK_DATABASE_URL, else `tallystick.db` in the home."""
    model_list: Sequence[Mapping[str, Any]]  # Any: as in the configuration file.
    """Model groups in the shape of the configuration file. Default: any
    `<provider>/<model>`, and `demo`, which needs no account."""
    api_key: str
    """Without a model list: the key for every call. Default: the provider's own variable in the environment."""
    api_base: str
    """Without a model list: where every call goes. Default: the provider's own address."""
    config_file: Path | str
    """A configuration file as the gateway reads it; then the environment is read as the gateway does, too."""
    home: Path | str
    """Where database, journal and keys are unless told otherwise. Default: TALLYSTICK_HOME, else `~/.tallystick`."""
    journal_directory: Path | str
    """Default: beside the database file, else in the home directory."""
    journal_sync: str
    """What an answer waits for: `fsync` (default), `write` or `commit`."""
    callbacks: Sequence[object]
    """Functions, objects with LiteLLM's CustomLogger methods, or import paths, that are told of every call."""
    input_callback: Sequence[object]
    """The same, for calls that begin."""
    success_callback: Sequence[object]
    """The same, for calls that succeeded."""
    failure_callback: Sequence[object]
    """The same, for calls that failed or were interrupted."""


class _Shell:
    """What both kinds of client are made of."""

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        self._options = _checked(options)
        self.runtime = Runtime(self._open)
        """What the calls run in; for `instrument`."""

    def metrics(self) -> str:
        """Return this client's metrics in Prometheus' text format; '' before its first call."""
        engine = self.runtime.running
        return "" if engine is None else engine.dispatcher.render_metrics()

    def _open(self) -> Services:
        options = self._options
        file = options.get("config_file")
        overrides = {
            name: str(value)
            for name, value in options.items()
            if value is not None and name in ("database_url", "home", "journal_directory", "journal_sync")
        }
        return open_embedded(
            overrides={"drain_seconds": EXIT_SECONDS / 2, **overrides},
            model_list=_model_list(options),
            config_file=Path(file) if file else None,
            demo=_takes_any_model(options),
            callbacks={name: _listed(options.get(name)) for name in CALLBACK_LISTS},
        )

    async def _await(self, method: Method, arguments: Mapping[str, Any]) -> Answer | AsyncStream:  # Any: as above.
        """Answer in whichever event loop runs, which goes on meanwhile; cancelling it cancels the call."""
        asked = question(method, arguments)  # First: what is wrong with it is said before anything is started.
        if self.runtime.running is None:
            await asyncio.to_thread(self.runtime.engine)
        engine = self.runtime.engine()
        try:
            answer = await asyncio.wrap_future(engine.submit(engine.dispatcher.call(asked)))
        except TallystickError as error:
            raise error.with_traceback(None) from None
        return AsyncStream(engine, answer) if isinstance(answer, OpenStream) else answer


class Client(_Shell):
    """Calls models, and records each call in a database of your own. May be used by any number of threads.

    Its methods take what the provider's dialect takes, and besides: `user` (the end user), `team`, `session`, `tags`
    and `metadata`, which are recorded; with `stream=True` they return a stream. What begins with `a` is for an event
    loop. Errors are TallystickErrors with `http_status` and `message`.
    """

    def completion(self, model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: the dialect's JSON.
        """Ask for a chat completion (OpenAI's `chat.completions`), of a model of any provider."""
        return self._wait("completion", {"model": model, "messages": messages, **arguments})

    def text_completion(self, model: str, prompt: Any, **arguments: Any) -> Any:  # Any: as above.
        """Ask for a completion of a text (OpenAI's `completions`)."""
        return self._wait("text_completion", {"model": model, "prompt": prompt, **arguments})

    def embedding(self, model: str, input: Any, **arguments: Any) -> Any:  # noqa: A002 - LiteLLM's. Any: as above.
        """Ask for embeddings (OpenAI's `embeddings`)."""
        return self._wait("embedding", {"model": model, "input": input, **arguments})

    def responses(self, model: str, input: Any = None, **arguments: Any) -> Any:  # noqa: A002 - as above. Any: as above.
        """Ask for a response (OpenAI's `responses`), of a model of any provider."""
        return self._wait("responses", {"model": model, "input": input, **arguments})

    def messages(self, model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: as above.
        """Ask for a message (Anthropic's `messages`), of a model of any provider."""
        return self._wait("messages", {"model": model, "messages": messages, **arguments})

    async def acompletion(self, model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: as above.
        """As `completion`, in an event loop."""
        return await self._await("completion", {"model": model, "messages": messages, **arguments})

    async def atext_completion(self, model: str, prompt: Any, **arguments: Any) -> Any:  # Any: as above.
        """As `text_completion`, in an event loop."""
        return await self._await("text_completion", {"model": model, "prompt": prompt, **arguments})

    async def aembedding(self, model: str, input: Any, **arguments: Any) -> Any:  # noqa: A002 - as above. Any: as above.
        """As `embedding`, in an event loop."""
        return await self._await("embedding", {"model": model, "input": input, **arguments})

    async def aresponses(self, model: str, input: Any = None, **arguments: Any) -> Any:  # noqa: A002 - as above. Any: as above.
        """As `responses`, in an event loop."""
        return await self._await("responses", {"model": model, "input": input, **arguments})

    async def amessages(self, model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: as above.
        """As `messages`, in an event loop."""
        return await self._await("messages", {"model": model, "messages": messages, **arguments})

    def flush(self, *, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Return when all calls so far are in the database. Raises NotCommittedInTime; the journal keeps them then."""
        engine = self.runtime.running
        if engine is not None:
            try:
                engine.wait(engine.dispatcher.flush(timeout_seconds), timeout_seconds=timeout_seconds + _MARGIN_SECONDS)
            except FutureTimeout:
                raise NotCommittedInTime from None

    def close(self, *, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Commit what can be committed, and end. What the database does not take stays in the journal."""
        self.runtime.close(timeout_seconds=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, method: Method, arguments: Mapping[str, Any]) -> Answer | Stream:  # Any: as above.
        asked = question(method, arguments)
        engine = self.runtime.engine()
        answer = engine.wait(engine.dispatcher.call(asked))
        return Stream(engine, answer) if isinstance(answer, OpenStream) else answer


class AsyncClient(_Shell):
    """As `Client`, for event loops; any of them, also several at once."""

    async def completion(
        self, model: str, messages: Sequence[Any], **arguments: Any
    ) -> Any:  # Any: the dialect's JSON.
        """Ask for a chat completion (OpenAI's `chat.completions`), of a model of any provider."""
        return await self._await("completion", {"model": model, "messages": messages, **arguments})

    async def text_completion(self, model: str, prompt: Any, **arguments: Any) -> Any:  # Any: as above.
        """Ask for a completion of a text (OpenAI's `completions`)."""
        return await self._await("text_completion", {"model": model, "prompt": prompt, **arguments})

    async def embedding(self, model: str, input: Any, **arguments: Any) -> Any:  # noqa: A002 - LiteLLM's. Any: as above.
        """Ask for embeddings (OpenAI's `embeddings`)."""
        return await self._await("embedding", {"model": model, "input": input, **arguments})

    async def responses(self, model: str, input: Any = None, **arguments: Any) -> Any:  # noqa: A002 - as above. Any: as above.
        """Ask for a response (OpenAI's `responses`), of a model of any provider."""
        return await self._await("responses", {"model": model, "input": input, **arguments})

    async def messages(self, model: str, messages: Sequence[Any], **arguments: Any) -> Any:  # Any: as above.
        """Ask for a message (Anthropic's `messages`), of a model of any provider."""
        return await self._await("messages", {"model": model, "messages": messages, **arguments})

    acompletion, atext_completion, aembedding, aresponses, amessages = (
        completion,
        text_completion,
        embedding,
        responses,
        messages,
    )

    async def flush(self, *, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Return when all calls so far are in the database. Raises NotCommittedInTime; the journal keeps them then."""
        engine = self.runtime.running
        if engine is not None:
            await asyncio.wrap_future(engine.submit(engine.dispatcher.flush(timeout_seconds)))

    async def close(self, *, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Commit what can be committed, and end. What the database does not take stays in the journal."""
        await asyncio.to_thread(self.runtime.close, timeout_seconds=timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.close()


def _checked(options: ClientOptions) -> ClientOptions:
    unknown = options.keys() - ClientOptions.__annotations__.keys()
    if unknown:
        raise ConfigError(f"there is no such option: {', '.join(sorted(unknown))}", key_path="Client")
    for name in ("api_key", "api_base"):
        if options.get("model_list") is not None and options.get(name) is not None:
            raise ConfigError("give it in the litellm_params of each model of model_list", key_path=name)
        if options.get("config_file") is not None and options.get(name) is not None:
            raise ConfigError("give it in the configuration file", key_path=name)
    return options


def _takes_any_model(options: ClientOptions) -> bool:
    return options.get("model_list") is None and options.get("config_file") is None


def _listed(given: object) -> Sequence[object]:
    """Return a list of callbacks; a single one may stand for it."""
    if given is None:
        return ()
    return given if isinstance(given, list | tuple) else (given,)


def _model_list(options: ClientOptions) -> Sequence[Mapping[str, Any]] | None:  # Any: as above.
    """Return the models; None: those of the configuration file."""
    if not _takes_any_model(options):
        return options.get("model_list")
    params = {"model": _ANY_MODEL, "api_key": options.get("api_key"), "api_base": options.get("api_base")}
    return [{"model_name": _ANY_MODEL, "litellm_params": params}]
