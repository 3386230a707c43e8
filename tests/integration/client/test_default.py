"""The module's own functions, in a process of its own: they share one client, which the environment places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, tallystick
ASKED = [{"role": "user", "content": "Hello"}]

def text(answer): return answer.choices[0].message.content

async def main():
    assert text(await tallystick.acompletion("demo", ASKED)) == "You said: Hello"
    assert (await tallystick.amessages("demo", ASKED, max_tokens=9)).content[0].text == "You said: Hello"
    assert (await tallystick.aresponses("demo", "Hello")).output_text == "You said: Hello"
    assert (await tallystick.atext_completion("demo", "Hello")).choices[0].text
    assert (await tallystick.aembedding("demo", "Hello")).data[0].embedding

assert text(tallystick.completion("demo", ASKED)) == "You said: Hello"
assert tallystick.messages("demo", ASKED, max_tokens=9).content[0].text == "You said: Hello"
assert tallystick.responses("demo", "Hello").output_text == "You said: Hello"
assert tallystick.text_completion("demo", "Hello").choices[0].text
assert tallystick.embedding("demo", "Hello").data[0].embedding
client = tallystick.default_client()
asyncio.run(main())
assert tallystick.default_client() is client
tallystick.flush()
assert "tallystick_committed_events_total 10.0" in client.metrics()
tallystick.close()
assert text(tallystick.completion("demo", ASKED)) == "You said: Hello"
assert tallystick.default_client() is not client
"""


def test_the_modules_functions_make_every_kind_of_call(tmp_path: Path) -> None:
    environment = {"TALLYSTICK_DATABASE_URL": f"sqlite:///{tmp_path}/own.db", "TALLYSTICK_HOME": str(tmp_path)}
    # What is the program's own is none of ours.
    environment |= {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing", "PORT": "none", "REDIS_URL": "redis://x"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert {"own.db", "own.db.tallystick-journal"} <= {path.name for path in tmp_path.iterdir()}
