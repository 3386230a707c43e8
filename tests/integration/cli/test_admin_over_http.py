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
