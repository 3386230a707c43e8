"""The SDK beside the bare openai client, in the same run: import, memory, and what a call costs.

    python bench/sdk.py [--calls 2000] [--rounds 3]

The upstream is a process of its own on loopback that answers at once. Each measurement is a process of its own, too;
they take turns, and the medians of the rounds are printed. CPU is that of the whole process: with the SDK its engine's
thread, journal and commits included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from load import median, static_upstream

COMMON = """
import json, resource, sys, time
def memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def cpu(): return time.process_time()
ASKED = [{"role": "user", "content": "Who owes whom?"}]
url, home, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
begun = time.perf_counter()
"""
MEASURE = """
imported = time.perf_counter() - begun
begun = time.perf_counter()
call()
first = time.perf_counter() - begun
for _ in range(100): call()
wall, used = time.perf_counter(), cpu()
for _ in range(calls): call()
end()
wall, used = time.perf_counter() - wall, cpu() - used
print(json.dumps({"import": imported * 1e3, "first": first * 1e3, "wall": wall / calls * 1e6,
                  "cpu": used / calls * 1e6, "memory": memory()}))
"""
OPENAI = """
import openai
official = openai.OpenAI(api_key="k", base_url=url, max_retries=0)
def call(): official.chat.completions.create(model="gpt-4o", messages=ASKED)
def end(): pass
"""
SDK = """
import tallystick
def make(sync): return tallystick.Client(api_base=url, api_key="k", home=home, journal_sync=sync)
"""
CALLS = """
def call(): client.completion("openai/gpt-4o", ASKED)
def end(): client.flush()
"""
INSTRUMENTED = """
import openai, tallystick
client = tallystick.Client(home=home, journal_sync="write")
official = tallystick.instrument(openai.OpenAI(api_key="k", base_url=url, max_retries=0), into=client)
def call(): official.chat.completions.create(model="gpt-4o", messages=ASKED)
def end(): client.flush()
"""
PROGRAMS = {
    "openai, bare": OPENAI,
    "tallystick.Client, journal_sync write": SDK + "client = make('write')" + CALLS,
    "tallystick.Client, journal_sync fsync": SDK + "client = make('fsync')" + CALLS,
    "openai, instrumented, journal_sync write": INSTRUMENTED,
}


def run(program: str, upstream: str, calls: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as home:
        code = COMMON + program + MEASURE
        done = subprocess.run(
            [sys.executable, "-c", code, upstream, str(Path(home)), str(calls)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": home},
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def import_milliseconds(module: str) -> float:
    code = f"import time; b = time.perf_counter(); import {module}; print((time.perf_counter() - b) * 1e3)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    imports: dict[str, list[float]] = {"openai": [], "tallystick": []}
    with static_upstream() as upstream:
        base = upstream if upstream.endswith("/v1") else f"{upstream}/v1"
        for number in range(arguments.rounds + 1):
            for name, program in PROGRAMS.items():
                measured = run(program, base, arguments.calls if number else 10)
                if number:  # The first round compiles what has not been compiled yet.
                    rounds[name].append(measured)
            for module, seconds in imports.items():
                seconds.append(import_milliseconds(module))
    for module, milliseconds in imports.items():
        print(f"import {module}: {median(milliseconds):.0f} ms")
    bare = rounds["openai, bare"]
    for name, runs in rounds.items():
        figures = {key: median([each[key] for each in runs]) for key in runs[0]}
        ratio = figures["wall"] / median([each["wall"] for each in bare])
        print(
            f"{name:42} {figures['wall']:6.0f} µs a call ({ratio:.2f} of bare), {figures['cpu']:6.0f} µs CPU, "
            f"first call {figures['first']:5.0f} ms, {figures['memory']:4.0f} MiB"
        )


if __name__ == "__main__":
    main()
