"""Time from `tallystick serve` to the first answer of a call.

    python bench/startup.py [--runs 5]

A new home each time, the demo group, SQLite. Each run is a whole process: start, first chat answer, stop. Beside it,
in the same run, a Python that only imports FastAPI and uvicorn, which is where most of the time goes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from load import MASTER_KEY, free_port, median


def first_answer_seconds(home: Path) -> float:
    port = free_port()
    environment = {**os.environ, "TALLYSTICK_HOME": str(home), "TALLYSTICK_MASTER_KEY": MASTER_KEY}
    command = [sys.executable, "-m", "tallystick", "serve", "--demo", "--host", "127.0.0.1", "--port", str(port)]
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "hello"}]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", data=body, headers={"authorization": f"Bearer {MASTER_KEY}"}
    )
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(request, timeout=5).read()
                return time.perf_counter() - begun
            except urllib.error.HTTPError:
                raise
            except OSError:
                if process.poll() is not None or time.perf_counter() - begun > 60:
                    raise SystemExit("the server does not start") from None
                time.sleep(0.005)
    finally:
        process.terminate()
        process.wait(60)


def import_seconds() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import fastapi, uvicorn, aiohttp"], check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    answers, imports = [], []
    for run in range(arguments.runs + 1):
        with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as home:
            answer = first_answer_seconds(Path(home))
        if run:  # The first run compiles what has not been compiled yet.
            answers.append(answer)
            imports.append(import_seconds())
    print(f"serve to first answer:            {median(answers):.2f} s")
    print(f"a bare import of the web stack:   {median(imports):.2f} s")


if __name__ == "__main__":
    main()
