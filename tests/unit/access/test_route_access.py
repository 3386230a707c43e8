"""What a key's own list of routes and its type leave."""

from __future__ import annotations

import pytest

from tallystick.access.principal import Principal
from tallystick.access.route_access import RouteKind, require_route
from tallystick.errors import PermissionDenied

CHAT = (RouteKind.CALL, "/v1/chat/completions", "/chat/completions")
MODELS = (RouteKind.MODEL_LIST, "/v1/models", "/models")
KEY_INFO = (RouteKind.READ, "/key/info")
KEY_NEW = (RouteKind.WRITE, "/key/generate")
REGENERATE = (RouteKind.WRITE, "/key/sk-1/regenerate", "/key/{key}/regenerate")
ALL = {"chat": CHAT, "models": MODELS, "info": KEY_INFO, "new": KEY_NEW, "regenerate": REGENERATE}


@pytest.mark.parametrize(
    ("key_type", "routes", "allowed"),
    [
        ("", (), set(ALL)),
        ("default", (), set(ALL)),
        ("llm_api", (), {"chat", "models"}),
        ("management", (), {"models", "info", "new", "regenerate"}),
        ("read_only", (), {"models", "info"}),
        ("of the future", (), set()),
        ("", ("llm_api_routes",), {"chat", "models"}),
        ("", ("info_routes",), {"models", "info"}),
        ("", ("management_routes",), {"models", "info", "new", "regenerate"}),
        ("", ("info_routes", "openai_routes"), {"chat", "models", "info"}),
        ("", ("/chat/completions",), {"chat"}),
        ("", ("/v1/chat/completions", "/key/info"), {"chat", "info"}),
        ("", ("/key/*",), {"info", "new", "regenerate"}),
        ("", ("/key/{key}/regenerate",), {"regenerate"}),
        ("", ("/key/sk-2/regenerate",), set()),
        ("", ("/ke*",), set()),
        ("", ("/key",), set()),
        ("", ("*",), set(ALL)),
        ("read_only", ("/key/*",), {"info"}),
    ],
)
def test_what_a_key_may_use(key_type, routes, allowed):
    principal = Principal(key_hash="h", key_type=key_type, allowed_routes=routes)
    refusals = {name: refusal_of(principal, *route) for name, route in ALL.items()}
    assert {name for name, refusal in refusals.items() if refusal is None} == allowed
    for name, refusal in refusals.items():
        if refusal is not None:
            assert refusal.http_status == 403
            assert "not allowed to call this route" in str(refusal)
            assert ALL[name][1] in str(refusal)


def refusal_of(principal, kind, *paths):
    try:
        require_route(principal, kind, *paths)
    except PermissionDenied as error:
        return error
    return None
