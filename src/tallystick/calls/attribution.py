"""Attribution: whom a call belongs to, from its key, its headers and its body.

The order in which an end user is looked for, and the names of the headers, are LiteLLM's, so that clients need not
change: headers `x-litellm-customer-id` and `x-litellm-end-user-id`, the configured header mappings, then the body's
`user`, `litellm_metadata.user`, `metadata.user_id`, `safety_identifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.access.principal import Principal
from tallystick.calls.text import clean_id, clean_metadata, clean_tags, clean_text
from tallystick.config.settings import AttributionSettings
from tallystick.errors import BadRequest
from tallystick.runtime.telemetry import Metrics
from tallystick.wire.call_request import CallRequest

Headers = Mapping[bytes, bytes]

_END_USER_HEADERS = (b"x-litellm-customer-id", b"x-litellm-end-user-id")
_SESSION_HEADERS = (b"x-litellm-session-id", b"x-litellm-trace-id")
_TAGS_HEADER = b"x-litellm-tags"
_USER_AGENT_CHARACTERS_MAX = 256
_REQUESTER_IP_CHARACTERS_MAX = 64  # An address with its zone; behind a proxy it comes from a header.


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The attributed part of an event, cleaned."""

    user_id: str
    end_user_id: str
    tags: tuple[str, ...]
    session_id: str
    requester_ip: str
    user_agent: str
    metadata: dict[str, Any]  # Any: the caller's own JSON.


class Attributor:
    """Reads attributions as the settings say."""

    def __init__(self, settings: AttributionSettings, *, metrics: Metrics) -> None:
        self._settings = settings
        self._sanitized = metrics.sanitized_values
        mapped = [
            (mapping.litellm_user_role, mapping.header_name.lower().encode())
            for mapping in settings.user_header_mappings
        ]
        older = [settings.user_header_name.lower().encode()] if settings.user_header_name else []
        self._end_user_headers = (*_END_USER_HEADERS, *(name for role, name in mapped if role == "customer"), *older)
        self._user_headers = tuple(name for role, name in mapped if role == "internal_user")

    def attribute(
        self, request: CallRequest, *, principal: Principal, headers: Headers, requester_ip: str
    ) -> Attribution:
        """Return whom this call belongs to; what can't be kept is cut or replaced.

        Raises BadRequest for a caller's own tags where the settings refuse them.
        """
        return Attribution(
            user_id=principal.user_id or self._first_header(headers, self._user_headers),
            end_user_id=self._end_user(request, headers),
            tags=self._tags(request, principal, headers),
            session_id=self._first_header(headers, _SESSION_HEADERS) or self._clean_id(request.session_id),
            requester_ip=clean_text(requester_ip, _REQUESTER_IP_CHARACTERS_MAX),
            user_agent=clean_text(headers.get(b"user-agent", b"").decode("latin-1"), _USER_AGENT_CHARACTERS_MAX),
            metadata=self._metadata(request),
        )

    def _end_user(self, request: CallRequest, headers: Headers) -> str:
        if self._settings.disable_end_user_cost_tracking:
            return ""
        found = self._first_header(headers, self._end_user_headers)
        if found:
            return found
        candidates = (
            request.user,
            request.litellm_metadata.get("user") if request.litellm_metadata else None,
            request.metadata.get("user_id") if request.metadata else None,
            request.safety_identifier,
        )
        for candidate in candidates:
            if candidate and isinstance(candidate, str | int):
                return self._clean_id(str(candidate))
        return ""

    def _tags(self, request: CallRequest, principal: Principal, headers: Headers) -> tuple[str, ...]:
        header = headers.get(_TAGS_HEADER)
        if not request.tags and not header:
            return principal.tags
        if self._settings.reject_clientside_metadata_tags:
            raise BadRequest("Tags are given by the key here: send the request without tags.", param="metadata.tags")
        from_header = [tag.strip() for tag in header.decode("latin-1").split(",")] if header else []
        given = [*principal.tags, *request.tags, *from_header]
        cleaned = clean_tags(given)
        if len(cleaned) < len(set(given)) or not set(cleaned).issubset(given):
            self._sanitized.inc()
        return cleaned

    def _metadata(self, request: CallRequest) -> dict[str, Any]:  # Any: the caller's own JSON.
        if not request.metadata and not request.litellm_metadata:
            return {}
        merged = {**request.metadata, **request.litellm_metadata}
        merged.pop("tags", None)
        cleaned = clean_metadata(merged, self._settings.metadata_bytes_max)
        if cleaned != merged:
            self._sanitized.inc()
        return cleaned

    def _first_header(self, headers: Headers, names: tuple[bytes, ...]) -> str:
        for name in names:
            value = headers.get(name)
            if value:
                return self._clean_id(value.decode("latin-1").strip())
        return ""

    def _clean_id(self, text: str) -> str:
        cleaned = clean_id(text)
        if cleaned != text:
            self._sanitized.inc()
        return cleaned
