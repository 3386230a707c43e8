"""Requests per second of one worker and the time that it adds, beside a bare pass-through in the same run.

    python bench/gateway.py [--seconds 5] [--rounds 3] [--connections 64] [--beside CHECKOUT]

Three gateways stand in front of the same static upstream at the same time: the bare pass-through (uvicorn + aiohttp),
and Tallystick with its ledger on PostgreSQL, `journal_sync` write and fsync. They are loaded in turn; the medians of
the rounds are printed, and the ratio to the bare pass-through. Once more with callers that speak Anthropic's dialect,
so that everything is translated; and, with `--beside`, Tallystick as it is in another checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "tests")]

import asyncpg
from load import CHAT, MESSAGES, ROOT, bare_gateway, create_key, load, median, static_upstream, tallystick

from services import PostgresServer


class Target(NamedTuple):
    """What is loaded, and how."""

    url: str
    key: str = "none"
    path: str = CHAT


async def new_database(postgres: PostgresServer, name: str) -> str:
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return postgres.url(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--beside", type=Path, help="the directory of another checkout, to be measured too")
    parser.add_argument("--only", choices=["write", "fsync", "commit"], action="append")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallystick-bench-")))
        postgres = stack.enter_context(PostgresServer(fsync=True))
        upstream = stack.enter_context(static_upstream())
        targets = {"upstream itself": Target(upstream.removesuffix("/v1"))}
        targets["bare pass-through"] = Target(stack.enter_context(bare_gateway(upstream)))

        def add(name: str, sync: str, source: Path = ROOT) -> Target:
            database_url = asyncio.run(new_database(postgres, f"bench_{len(targets)}"))
            gateway = tallystick(upstream, home / name, database_url=database_url, sync=sync, source=source)
            url, _ = stack.enter_context(gateway)
            targets[name] = Target(url, create_key(url))
            return targets[name]

        for sync in arguments.only or ["write", "fsync"]:
            added = add(f"tallystick, {sync}", sync)
            if sync == "write":
                targets["  translated"] = added._replace(path=MESSAGES)
                if arguments.beside is not None:
                    add("  other checkout", sync, arguments.beside.resolve())
        for url, key, path in targets.values():
            load(url, connections=arguments.connections, seconds=1.0, key=key, path=path)
        throughput: dict[str, list[float]] = {name: [] for name in targets}
        p50: dict[str, list[float]] = {name: [] for name in targets}
        p99: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(arguments.rounds):
            for name, (url, key, path) in targets.items():
                many = load(url, connections=arguments.connections, seconds=arguments.seconds, key=key, path=path)
                throughput[name].append(many["per_second"])
                one = load(url, connections=1, seconds=arguments.seconds / 2, key=key, path=path)
                p50[name].append(one["p50_ms"])
                p99[name].append(one["p99_ms"])
    bare, direct = median(throughput["bare pass-through"]), "upstream itself"
    print(f"{'':22} {'req/s':>8} {'of bare':>8} {'p50 ms':>8} {'added':>7} {'p99 ms':>8} {'added':>7}")
    for name in targets:
        rate, middle, tail = median(throughput[name]), median(p50[name]), median(p99[name])
        print(
            f"{name:22} {rate:8.0f} {rate / bare:8.2f} {middle:8.3f} {middle - median(p50[direct]):7.3f} "
            f"{tail:8.3f} {tail - median(p99[direct]):7.3f}"
        )


if __name__ == "__main__":
    main()
