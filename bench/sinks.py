"""What sinks cost the calls: gateways without a sink, with one that takes everything, and with one that never answers.

    python bench/sinks.py [--rounds 5] [--seconds 4] [--connections 16]

All run at the same time and are loaded in turn, so that they meet the same machine. SQLite ledger, journal_sync write.
Prints medians over the rounds, each beside the gateway without a sink.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from load import create_key, load, median, static_upstream, tallystick

NAMES = ("no sink", "a sink that takes", "a sink that hangs")


@contextmanager
def hanging_server() -> Iterator[str]:
    """Take connections, and never answer."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        server.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallystick-bench-")))
        upstream = stack.enter_context(static_upstream())
        taker, hanger = stack.enter_context(static_upstream()), stack.enter_context(hanging_server())
        urls = (None, f"{taker}/hook", hanger)
        gateways = []
        for number, hook in enumerate(urls):
            sections = {"sinks": {"webhook": {"url": hook}}} if hook else {}
            gateway = tallystick(upstream, home / str(number), database_url=None, sync="write", sections=sections)
            url, _ = stack.enter_context(gateway)
            gateways.append((url, create_key(url)))
        found: list[list[dict[str, float]]] = [[] for _ in gateways]
        for _ in range(arguments.rounds):
            for results, (url, key) in zip(found, gateways, strict=True):
                results.append(load(url, connections=arguments.connections, seconds=arguments.seconds, key=key))
        base = {name: median([each[name] for each in found[0]]) for name in ("per_second", "p50_ms", "p99_ms")}
        for name, results in zip(NAMES, found, strict=True):
            shown = {figure: median([each[figure] for each in results]) for figure in base}
            ratios = ", ".join(f"{figure} {value:8.2f} ({value / base[figure]:.2f})" for figure, value in shown.items())
            print(f"{name:18} {ratios}")


if __name__ == "__main__":
    main()
