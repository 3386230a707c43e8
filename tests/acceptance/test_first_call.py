"""The newcomer's way: `tallystick serve --demo`, the official openai client, then a look at the ledger."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from services import free_port

KEY = re.compile(r"Master key, shown only this once: (sk-\S+)")
SECONDS = 60


class Demo:
    """A running demo server, known by what it printed."""

    def __init__(self, home: Path, port: int, process: subprocess.Popen[str], key: str) -> None:
        self.home = home
        self.port = port
        self.process = process
        self.key = key

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the same installation on the same home."""
        return subprocess.run(
            [sys.executable, "-m", "tallystick", *command],
            env=environment(self.home),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


def environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return {**kept, "TALLYSTICK_HOME": str(home)}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick", "serve", "--demo", "--port", str(port)],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        while not (found := KEY.search(said)):
            line = process.stderr.readline()
            assert line, f"the server ended: {said}"
            said += line
        assert f"http://127.0.0.1:{port}" in said
        yield Demo(tmp_path, port, process, found[1])
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def test_the_first_calls_and_what_the_ledger_says_of_them(demo: Demo) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{demo.port}/v1", api_key=demo.key, max_retries=0)
    with client:
        models = client.models.list()
        answer = client.chat.completions.with_raw_response.create(
            model="demo", messages=[{"role": "user", "content": "hello"}], user="customer-7"
        )
        chat = answer.parse()
        stream = client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        completion = client.completions.create(model="demo", prompt="hello")
        embedding = client.embeddings.create(model="demo", input=["hello", "there"], dimensions=8)
        with pytest.raises(openai.BadRequestError) as unknown:
            client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hello"}])
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-wrong").models.list()

    assert [model.id for model in models.data] == ["demo"]
    assert chat.choices[0].message.content == "You said: hello"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: hello"
    assert chunks[-1].usage is not None
    assert completion.choices[0].text
    assert [len(item.embedding) for item in embedding.data] == [8, 8]
    assert unknown.value.param == "model"
    assert chat.usage is not None
    usages = [chat.usage, chunks[-1].usage, completion.usage, embedding.usage]

    demo.process.terminate()
    demo.process.wait(SECONDS)
    assert demo.process.returncode == 0
    spend = demo.run("spend", "--by", "model", "--json")
    verify = demo.run("verify", "--json")

    assert spend.returncode == 0, spend.stderr
    rows = json.loads(spend.stdout)
    expected = sum(
        2500 * usage.prompt_tokens + 10_000 * getattr(usage, "completion_tokens", 0) for usage in usages if usage
    )
    assert str(expected) in spend.stdout, rows
    assert verify.returncode == 0, verify.stderr
    facts = json.loads(verify.stdout)
    assert (facts["ok"], facts["events"], facts["dead_letters"], facts["differences"]) == (True, 4, 0, [])
    assert answer.headers["x-litellm-call-id"] == answer.headers["x-tallystick-event-id"]
    assert not list(demo.home.glob("journal/slot-*/*.journal"))


def test_the_master_key_is_shown_once_and_kept_nowhere(demo: Demo) -> None:
    kept = b"".join(path.read_bytes() for path in demo.home.rglob("*") if path.is_file())

    assert demo.key.encode() not in kept
    assert (demo.home / "master_key.sha256").stat().st_mode & 0o077 == 0
