"""Microseconds of CPU that the gateway itself spends on a plain call: no sockets, no upstream, journal_sync write.

    python bench/call_cost.py [--calls 20000] [--profile]

The ASGI application is called in this process with an upstream that answers at once; the committer does not run.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import uvloop
from load import ANSWER, BODY, MASTER_KEY

from tallystick.access.keys import hash_key
from tallystick.bootstrap import Services, open_key_ring, open_store
from tallystick.cli.serve import build_gateway
from tallystick.config.load import load_settings
from tallystick.providers.base import Answer
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics
from tallystick.wire.openai.reading import USAGE_HIDDEN
from tallystick.wire.openai.request import upstream_body


class Immediate:
    """An upstream that has answered already."""

    async def send(self, request: Any, target: Any) -> Answer:
        upstream_body(request, model=target.model, ask_usage=True)
        return Answer(status=200, content_type="application/json", headers={}, reading=USAGE_HIDDEN, body=ANSWER)


async def measure(calls: int, profile: bool, home: Path) -> None:
    config = home / "config.yaml"
    config.write_text(
        "model_list: [{model_name: bench, litellm_params: {model: openai/gpt-4o, api_key: k}}]\n"
        f"general_settings: {{master_key: {MASTER_KEY}, journal_sync: write}}\n"
    )
    settings = load_settings(config_file=config, overrides={}, environ={"TALLYSTICK_HOME": str(home)})
    clock = SystemClock()
    services = Services(
        settings,
        store=open_store(settings, clock=clock),
        key_ring=open_key_ring(settings, now=clock.now()),
        master_key_hash=hash_key(MASTER_KEY),
        environ={},
        clock=clock,
        metrics=Metrics(),
    )
    services.upstreams.providers = {"openai": Immediate()}
    gateway = build_gateway(services, await services.start())
    await services.ledger._committing.stop()
    headers = [(b"host", b"x"), (b"authorization", b"Bearer " + MASTER_KEY.encode()), (b"user-agent", b"bench")]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": headers,
        "client": ("::1", 1),
    }
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run(count: int) -> None:
        for _ in range(count):
            sent.clear()
            await gateway(scope, receive, send)
            assert sent[0]["status"] == 200

    await run(500)
    rounds = []
    for _ in range(5):
        begun = time.process_time()
        await run(calls // 5)
        rounds.append((time.process_time() - begun) / (calls // 5) * 1e6)
    print(f"CPU per call: {sorted(rounds)[2]:.1f} us (min {min(rounds):.1f}, max {max(rounds):.1f})")
    if profile:
        profiler = cProfile.Profile()
        profiler.enable()
        await run(calls // 4)
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    await services.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        uvloop.run(measure(arguments.calls, arguments.profile, Path(home)))


if __name__ == "__main__":
    main()
