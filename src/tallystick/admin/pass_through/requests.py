"""Bodies of requests about pass-through endpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tallystick.admin.fields import JSONObject, RequestBody, Text

_Target = Annotated[str, Field(min_length=1, max_length=2048)]
_Methods = Annotated[list[Text], Field(max_length=16)]


class _Endpoint(RequestBody):
    """What both have in common."""

    headers: JSONObject | None = Field(
        default=None,
        description="Sent with each request. Sealed at rest, never shown; a value may hold a reference.",
        examples=[{"authorization": "Bearer os.environ/SERVICE_TOKEN"}],
    )
    default_query_params: JSONObject | None = Field(
        default=None, description="Put into each request's query. Sealed at rest, never shown."
    )
    auth: bool | None = Field(default=None, description="Whether callers need a virtual key.")
    cost_per_request: float | None = Field(default=None, ge=0, description="USD. Without one the price is unknown.")
    methods: _Methods | None = Field(default=None, description="GET, POST, PUT, PATCH, DELETE; null: all of them.")
    include_subpath: bool | None = Field(default=None, description="Whether paths below this one are passed too.")
    forward_headers: bool | None = Field(default=None, description="Whether the caller's own headers are sent on.")
    timeout: float | None = Field(default=None, gt=0, description="Seconds.")


class NewEndpoint(_Endpoint):
    """An endpoint to add."""

    id: Annotated[Text, Field(min_length=1)] | None = Field(default=None, description="Made when it is left out.")
    path: Text = Field(description="Where callers reach it.", examples=["/my-service"])
    target: _Target = Field(description="Where calls go.", examples=["https://service.example/v1"])


class PatchedEndpoint(_Endpoint):
    """What to change: what is omitted stays, a null goes back to the default."""

    path: Text | None = Field(default=None, description="Where callers reach it.")
    target: _Target | None = Field(default=None, description="Where calls go.")
