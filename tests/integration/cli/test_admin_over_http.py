"""The same commands at a running gateway, here a server that plays the admin API's part, or something else."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

KEY = "sk-key-of-the-gateway"


class Gateway:
    """Answers each request with what it was told; remembers what it was asked."""

    def __init__(self):
        self.status, self.body, self.headers = 200, b"{}", {}
        self.asked = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self):
                length = int(self.headers.get("content-length") or 0)
                gateway.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                self.send_response(gateway.status)
                for name, value in gateway.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(gateway.body)))
                self.end_headers()
                self.wfile.write(gateway.body)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  # The names that the server looks for.

            def log_message(self, *_):
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answers(self, content, status=200):
        self.status, self.body = status, json.dumps(content).encode()


@pytest.fixture
def gateway():
    gateway = Gateway()
    thread = threading.Thread(target=gateway.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield gateway
    gateway.server.shutdown()
    gateway.server.server_close()
    thread.join()


def test_requests_carry_the_key_and_who_asks(sqlite, gateway, tmp_path):
    gateway.answers({"key": "sk-new", "token": "t", "key_alias": "search", "expires": None})
    outcome = sqlite("keys", "create", "--alias", "search", "--url", f"{gateway.url}/prefix/", "--api-key", KEY)
    assert (outcome.code, outcome.stdout) == (0, "sk-new\n")
    ((method, path, headers, body),) = gateway.asked
    assert (method, path, json.loads(body)) == ("POST", "/prefix/key/generate", {"key_alias": "search"})
    headers = {name.lower(): value for name, value in headers.items()}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["litellm-changed-by"] == "command line"
    assert not (tmp_path / "ledger.db").exists()


def test_place_and_key_come_from_the_environment(sqlite, gateway):
    gateway.answers([{"organization_id": "acme", "organization_alias": "Acme", "spend": 1.5, "models": ["a", "b"]}])
    outcome = sqlite("orgs", "list", "--limit", "7", TALLYSTICK_URL=gateway.url, LITELLM_MASTER_KEY=KEY)
    assert outcome.code == 0
    assert "Acme" in outcome.stdout
    assert "$1.5" in outcome.stdout
    assert "1 organization." in outcome.stdout
    assert gateway.asked[0][1] == "/organization/list?page=1&size=7"


def test_a_named_database_goes_before_the_environments_gateway(sqlite, gateway):
    outcome = sqlite("keys", "list", "--database-url", sqlite.database_url, TALLYSTICK_URL=gateway.url)
    assert (outcome.code, "There is no database" in outcome.stderr) == (1, True)
    assert gateway.asked == []


def test_updates_and_deletes_use_their_methods(sqlite, gateway):
    place = ("--url", gateway.url, "--api-key", KEY)
    assert sqlite("orgs", "update", "acme", "--alias", "A", *place).code == 0
    assert sqlite("orgs", "delete", "acme", "beta", *place).code == 0
    assert sqlite("models", "update", "m/1", "--set", "blocked=true", *place).code == 0
    assert sqlite("models", "delete", "m1", "m2", *place).code == 0
    assert sqlite("users", "create", "--id", "ada", "--no-key", *place).code == 0
    assert [(method, path, json.loads(body)) for method, path, _, body in gateway.asked] == [
        ("PATCH", "/organization/update", {"organization_id": "acme", "organization_alias": "A"}),
        ("DELETE", "/organization/delete", {"organization_ids": ["acme", "beta"]}),
        ("PATCH", "/model/m%2F1/update", {"blocked": True}),
        ("POST", "/model/delete", {"id": "m1"}),
        ("POST", "/model/delete", {"id": "m2"}),
        ("POST", "/user/new", {"user_id": "ada", "auto_create_key": False}),
    ]


def test_a_refusal_is_the_apis_message(sqlite, gateway):
    gateway.answers({"error": {"message": "Only proxy admin may.", "type": "auth_error", "code": "401"}}, status=401)
    outcome = sqlite("keys", "list", "--url", gateway.url, "--api-key", KEY)
    assert (outcome.code, outcome.stderr) == (1, "tallystick: Only proxy admin may.\n")


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xfe", b"[1]", b'{"error": {}}'])
def test_what_is_no_admin_api_is_said(sqlite, gateway, body):
    gateway.status, gateway.body = 502, body
    outcome = sqlite("keys", "list", "--url", gateway.url, "--api-key", KEY)
    assert (outcome.code, "not that of an admin API" in outcome.stderr) == (1, True)
    assert KEY not in outcome.stderr


def test_a_redirect_is_not_followed(sqlite, gateway):
    gateway.status, gateway.body, gateway.headers = 302, b"{}", {"location": f"{gateway.url}/elsewhere"}
    outcome = sqlite("keys", "list", "--url", gateway.url, "--api-key", KEY)
    assert outcome.code == 1
    assert len(gateway.asked) == 1


def test_one_that_is_away_is_named_without_the_password(sqlite):
    outcome = sqlite("keys", "list", "--url", "http://me:hush@127.0.0.1:9/x", "--api-key", KEY)
    assert (outcome.code, "http://127.0.0.1:9 can't be reached" in outcome.stderr) == (1, True)
    assert "hush" not in outcome.stderr


def window(scope, **fields):
    absent = dict.fromkeys(("id", "member_id", "model", "name", "limit", "left", "starts_at", "reset_at"))
    return {"scope": scope, **absent, "spent": 0.0, "reserved": 0.0, "share": 0.0, **fields}


def test_budgets_show_what_is_left(sqlite, gateway):
    gateway.answers(
        {
            "windows": [
                window(
                    "team_member", id="t", member_id="ann", limit=10.0, spent=8.5, reserved=0.25, left=1.5, share=0.85,
                    reset_at="2026-12-01T00:00:00+00:00",
                ),
                window("key", id="ab" * 32, model="gpt-4o", limit=5.0, spent=1.0, left=4.0, share=0.2),
                window("key", id="cd" * 32, name="ci", spent=1.0),
            ],
            "total_count": 12,
            "current_page": 2,
            "total_pages": 4,
            "is_cut": True,
        }
    )  # fmt: skip
    words = ("--type", "key", "--over", "12.5%", "--limit", "3", "--page", "2")
    outcome = sqlite("budgets", *words, "--url", gateway.url, "--api-key", KEY)
    assert outcome.code == 0, outcome.stderr
    assert gateway.asked[0][1] == "/budget/windows?type=key&over=0.125&page=2&size=3"
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert ["team_member", "ann", "in", "t", "$10.000000", "$8.500000", "$0.250000", "$1.500000", "85%", "2026-12-01",
            "00:00:00"] in lines  # fmt: skip
    assert [
        "key",
        "abababababab…",
        "gpt-4o",
        "$5.000000",
        "$1.000000",
        "$0.000000",
        "$4.000000",
        "20%",
        "never",
    ] in lines
    assert ["key", "ci", "$1.000000", "$0.000000", "never"] in lines
    assert "Windows 4 to 6 of 12." in outcome.stdout
    assert "There are more windows" in outcome.stdout


def test_no_budgets_are_said_to_be_none(sqlite, gateway):
    answer = {"windows": [], "total_count": 0, "current_page": 1, "total_pages": 0, "is_cut": False}
    gateway.answers(answer)
    place = ("--url", gateway.url, "--api-key", KEY)
    assert "0 windows" in sqlite("budgets", *place).stdout
    assert sqlite("budgets", "--json", *place).json() == answer
    assert gateway.asked[0][1] == "/budget/windows?over=0.0&page=1&size=50"


@pytest.mark.parametrize("share", ["eighty", "-1", "80%%", ""])
def test_a_share_that_is_none_is_wrong_use(sqlite, gateway, share):
    outcome = sqlite("budgets", f"--over={share}", "--url", gateway.url, "--api-key", KEY)
    assert (outcome.code, "--over" in outcome.stderr) == (2, True)
    assert gateway.asked == []
