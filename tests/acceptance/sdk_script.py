"""Programs that use the SDK, each as somebody would write it: python sdk_script.py SCENARIO

What they need is in the environment: SDK_UPSTREAM, SDK_DATABASE, SDK_HOME, SDK_NAME. Each call says who it is in
`user`. A line on stdout, `done <user>`, says that its answer came.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import tallystick

NAME = os.environ["SDK_NAME"]


def new_client(kind: Any = tallystick.Client) -> Any:
    upstream = os.environ["SDK_UPSTREAM"]
    model_list = [
        {
            "model_name": model,
            "litellm_params": {"model": f"openai/{model}", "api_base": upstream, "api_key": "up-key"},
            "model_info": {"id": model, "base_model": "gpt-4o"},
        }
        for model in ("plain", "slow:50", "slow:3000", "pause:30", "hang")
    ]
    return kind(model_list=model_list, database_url=os.environ["SDK_DATABASE"], home=os.environ["SDK_HOME"])


def done(user: str) -> None:
    os.write(1, f"done {user}\n".encode())


def call(client: Any, user: str, model: str = "plain", **more: Any) -> Any:
    answer = client.completion(model, [{"role": "user", "content": "Who owes whom?"}], user=user, **more)
    if not more.get("stream"):
        assert answer.tallystick.cost_nano_usd > 0, answer.tallystick
        done(user)
    return answer


async def acall(client: Any, user: str, model: str = "plain", **more: Any) -> Any:
    answer = await client.acompletion(model, [{"role": "user", "content": "Who owes whom?"}], user=user, **more)
    if not more.get("stream"):
        done(user)
    return answer


def script() -> None:
    """Calls, one after the other, and the end of the file: nothing is closed or flushed."""
    client = new_client()
    for number in range(20):
        call(client, f"{NAME}-{number}")
    text = "".join(chunk.choices[0].delta.content or "" for chunk in call(client, f"{NAME}-stream", stream=True))
    assert text == "The stick has two halves.", text


def running_loop() -> None:
    """As in a notebook: a loop runs already, and both kinds of call are made inside of it."""
    client = new_client()

    async def cell() -> None:
        for number in range(5):
            call(client, f"{NAME}-sync-{number}")
            await acall(client, f"{NAME}-async-{number}")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(cell())
    loop.run_until_complete(cell_again(client))
    loop.close()


async def cell_again(client: Any) -> None:
    async for _ in await acall(client, f"{NAME}-stream", stream=True):
        pass


def asyncio_loops() -> None:
    """One client, two loops one after the other, many calls at once; one is cancelled, one stream is left."""
    client = new_client(tallystick.AsyncClient)

    async def many(which: int) -> None:
        await asyncio.gather(*(acall(client, f"{NAME}-{which}-{number}", "slow:50") for number in range(20)))
        try:
            async with asyncio.timeout(0.5):
                await acall(client, f"{NAME}-{which}-cancelled", "hang")
        except TimeoutError:
            pass
        async for _ in await acall(client, f"{NAME}-{which}-left", "pause:30", stream=True):
            break

    asyncio.run(many(1))
    asyncio.run(many(2))


def threads() -> None:
    """Threads that are not waited for, and that go on when the main thread has ended."""
    client = new_client()

    def work(which: int) -> None:
        for number in range(10):
            call(client, f"{NAME}-{which}-{number}", "slow:50")

    for which in range(8):
        threading.Thread(target=work, args=(which,)).start()


def fork() -> None:
    """Fork in the middle, while another thread calls; parent and children go on."""
    client = new_client()
    call(client, f"{NAME}-before")
    busy = threading.Thread(target=lambda: [call(client, f"{NAME}-busy-{number}") for number in range(40)])
    busy.start()
    children = []
    for which in range(3):
        child = os.fork()
        if not child:
            assert not open_files(), open_files()
            end_child(lambda which=which: [call(client, f"{NAME}-child-{which}-{number}") for number in range(5)])
        children.append(child)
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=call, args=(client, f"{NAME}-worker"))
    worker.start()
    for number in range(5):
        call(client, f"{NAME}-parent-{number}")
    busy.join()
    worker.join()
    assert worker.exitcode == 0, worker.exitcode
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    client.flush()


def open_files() -> list[str]:
    """Of database and journal: a child must have none of its parent's."""
    paths = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return [path for path in paths if path.startswith(os.environ["SDK_HOME"])]


def end_child(work: Callable[[], Any]) -> None:
    """As `sys.exit` in a child: what is registered for the end of a process runs."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001
        os.write(2, repr(error).encode())
        os._exit(1)
    sys.exit(0)


def orphan() -> None:
    """The parent ends, and the child that it forked in the middle of its calls goes on for long."""
    client = new_client()
    call(client, f"{NAME}-before")
    if os.fork():
        os.write(1, b"ready\n")
        os._exit(0)
    os.read(0, 1)
    call(client, f"{NAME}-child")
    client.flush()


def exits() -> None:
    """`sys.exit` while a stream is open and another thread is in a call."""
    client = new_client()
    for number in range(5):
        call(client, f"{NAME}-{number}")
    stream = call(client, f"{NAME}-stream", "pause:30", stream=True)
    next(stream)
    threading.Thread(target=call, args=(client, f"{NAME}-hanging", "hang"), daemon=True).start()
    os.write(1, b"ready\n")
    sys.stdin.read()
    sys.exit(3)


def for_ever() -> None:
    """Calls from several threads until somebody kills the process."""
    client = new_client()

    def work(which: int) -> None:
        number = 0
        while True:
            number += 1
            if number % 5 == 4:
                for _ in call(client, f"{NAME}-{which}-{number}", "pause:30", stream=True):
                    pass
            else:
                call(client, f"{NAME}-{which}-{number}", "slow:50" if number % 3 else "plain")

    for which in range(4):
        threading.Thread(target=work, args=(which,)).start()


def once() -> None:
    """The next start of a program: one call."""
    with new_client() as client:
        call(client, f"{NAME}-once")
        client.flush()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
