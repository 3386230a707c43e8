"""Resident memory of one worker, idle and while it serves: it must be flat.

    python bench/memory.py [--calls 100000]

SQLite ledger, journal_sync write, 64 connections. Prints the resident memory before, along the way and after, and how
much of the growth came in the second half: that is what a leak would show.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from load import create_key, load, static_upstream, tallystick


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmRSS: this bench needs Linux")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallystick-bench-")))
        upstream = stack.enter_context(static_upstream())
        url, process = stack.enter_context(tallystick(upstream, home, database_url=None, sync="write"))
        key = create_key(url)
        print(f"idle: {resident_mib(process.pid):.1f} MiB")
        calls, samples = 0, []
        while calls < arguments.calls:
            calls += int(load(url, connections=64, seconds=3, key=key)["requests"])
            samples.append((calls, resident_mib(process.pid)))
            print(f"after {calls:7} calls: {samples[-1][1]:.1f} MiB")
        time.sleep(5)  # The committer catches up.
        print(f"5 s later: {resident_mib(process.pid):.1f} MiB")
        middle = next(sample for sample in samples if sample[0] >= calls / 2)
        print(f"growth in the second half: {samples[-1][1] - middle[1]:+.1f} MiB")


if __name__ == "__main__":
    main()
