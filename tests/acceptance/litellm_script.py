"""Programs that use LiteLLM with `tallystick.LiteLLMLogger`: python litellm_script.py SCENARIO

What they need is in the environment: SDK_UPSTREAM, SDK_DATABASE, SDK_HOME, SDK_NAME, SDK_COST, and PACKAGES, where what
Tallystick needs is found behind what LiteLLM brings. A line on stdout, `done <user>`, says that an answer came.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

sys.path.append(os.environ["PACKAGES"])

import litellm

import tallystick

NAME, MODEL = os.environ["SDK_NAME"], "openai/gpt-4o"
litellm.callbacks = [
    tallystick.LiteLLMLogger(
        database_url=os.environ["SDK_DATABASE"], home=os.environ["SDK_HOME"], cost=os.environ["SDK_COST"]
    )
]
litellm.num_retries = 0
COUNTED: dict[str, Any] = {"stream_options": {"include_usage": True}}


def done(user: str) -> None:
    os.write(1, f"done {user}\n".encode())


def asked(user: str, model: str, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"Who owes whom? {user}"}],
        "user": user,
        "api_base": os.environ["SDK_UPSTREAM"],
        "api_key": "up-key",
        "max_retries": 0,
        "metadata": {"tags": ["blue"], "job": "nightly"},
        **more,
    }


def call(user: str, model: str = MODEL, **more: Any) -> None:
    answer = litellm.completion(**asked(user, model, more))
    if more.get("stream"):
        assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == "The stick has two halves."
    done(user)


async def acall(user: str, model: str = MODEL, **more: Any) -> None:
    answer = await litellm.acompletion(**asked(user, model, more))
    if more.get("stream"):
        text = [chunk.choices[0].delta.content or "" async for chunk in answer]
        assert "".join(text) == "The stick has two halves."
    done(user)


def script() -> None:
    """Calls of every kind, and the end of the file."""
    for number in range(10):
        call(f"{NAME}-plain-{number}")
        call(f"{NAME}-stream-{number}", stream=True, **COUNTED)
        try:
            call(f"{NAME}-failed-{number}", model="openai/status:400")
        except litellm.BadRequestError:
            done(f"{NAME}-failed-{number}")

    async def main() -> None:
        await asyncio.gather(*(acall(f"{NAME}-aplain-{number}") for number in range(10)))
        await asyncio.gather(*(acall(f"{NAME}-astream-{number}", stream=True, **COUNTED) for number in range(10)))
        failed = [acall(f"{NAME}-afailed-{number}", model="openai/status:429") for number in range(10)]
        for number, error in enumerate(await asyncio.gather(*failed, return_exceptions=True)):
            assert isinstance(error, litellm.RateLimitError), error
            done(f"{NAME}-afailed-{number}")

    asyncio.run(main())


def uncounted() -> None:
    """A stream that is not asked for its usage."""
    call(f"{NAME}-0", stream=True)


def plain() -> None:
    """One call."""
    call(f"{NAME}-0")


def routed() -> None:
    """LiteLLM's router, which tries a second deployment when the first fails."""
    one, other = asked("", "openai/status:500", {}), asked("", MODEL, {})
    router = litellm.Router(
        model_list=[
            {"model_name": "bad", "litellm_params": {name: one[name] for name in ("model", "api_base", "api_key")}},
            {"model_name": "good", "litellm_params": {name: other[name] for name in ("model", "api_base", "api_key")}},
        ],
        fallbacks=[{"bad": ["good"]}],
        num_retries=0,
    )
    message = [{"role": "user", "content": "Who owes whom?"}]
    asyncio.run(router.acompletion(model="bad", messages=message, user=f"{NAME}-0"))
    done(f"{NAME}-0")


def endless() -> None:
    """Threads that call until the process is killed."""

    def work(number: int) -> None:
        round_ = 0
        while True:
            round_ += 1
            call(f"{NAME}-{number}-{round_}", stream=bool(round_ % 2))

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


{"script": script, "uncounted": uncounted, "plain": plain, "routed": routed, "endless": endless}[sys.argv[1]]()
