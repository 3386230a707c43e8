"""Every error that Tallystick raises on purpose.

    TallystickError
    ├── ConfigError                a setting is wrong: names file, key path and reason
    ├── RequestError               the caller can mend it (4xx)
    │   ├── BadRequest             400, names the field and what would be right
    │   │   └── Untranslatable     the deployment's dialect can't say a field; another deployment's may
    │   ├── AuthenticationFailed   401
    │   ├── RouteDenied            401, the caller's role may not use the route
    │   ├── TeamPermissionMissing  401, the team does not let its plain members do this with its keys
    │   ├── PermissionDenied       403
    │   ├── ModelNotAllowed        403
    │   ├── NotFound               404
    │   ├── Conflict               409
    │   │   ├── AlreadyExists      the id or the unique name is taken
    │   │   └── ChangedMeanwhile   somebody else was faster; reading again and trying again is right
    │   ├── BodyTooLarge           413
    │   ├── BudgetExceeded         422 unless a setting says otherwise; names scope, spend, limit and reset
    │   └── RateLimited            429, names scope and limit, with `retry-after`
    ├── UpstreamError              a deployment did not give a usable answer
    │   ├── UpstreamRefused        it answered with an error status; the body is kept
    │   ├── UpstreamTimeout        it did not answer in time
    │   ├── UpstreamUnreachable    no connection, or the connection broke before the first byte
    │   └── UpstreamGarbled        it answered something that is not its dialect
    ├── ClientClosed               the SDK's client is closed, or belongs to the process that this one was forked from
    ├── LedgerError
    │   ├── NotCommittedInTime     what was recorded is in the journal; the database does not have all of it yet
    │   ├── LedgerUnavailable      503: the journal can't take a new call
    │   ├── JournalDamaged         a frame in the middle of a segment can't be read
    │   └── SlotTaken              another process holds the journal slot
    ├── StoreError
    │   ├── StoreUnavailable       503: the database is away; trying again later is right
    │   ├── RowRefused             the database refuses the data itself; trying again is wrong
    │   │   └── EventRepeated      the ledger has an event of this id
    │   └── MigrationFailed        the schema can't be brought up to date
    ├── BudgetUnknown              503: the database is away and what is left of a budget can't be told
    ├── SecretUnreadable           a sealed value can't be opened; names where it is, never what it holds
    ├── ReadOnlyMode             503: nothing is changed at this instance
    └── ServerNotReady             503: starting or draining

Only the classes that reach a client carry an HTTP status; ``gateway`` and ``admin`` render them, both through
``wire.error_envelope``.
"""

from __future__ import annotations

from collections.abc import Sequence


class TallystickError(Exception):
    """Base of all; the default message is the class's docstring."""

    http_status = 500
    error_type = "internal_server_error"
    param: str | None = None
    event_id = ""
    """In the SDK: the id of the call, under which its event is where it was dispatched."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self)


class ConfigError(TallystickError):
    """A setting is wrong."""

    def __init__(self, reason: str, *, file: str | None = None, key_path: str | None = None) -> None:
        self.reason = reason
        self.file = file
        self.key_path = key_path
        place = ": ".join(part for part in (file, key_path) if part)
        super().__init__(f"{place}: {reason}" if place else reason)


class RequestError(TallystickError):
    """The request can't be served as it is."""

    http_status = 400
    error_type = "invalid_request_error"

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class BadRequest(RequestError):
    """The request is malformed."""


class Untranslatable(BadRequest):
    """The deployment's dialect can't say this."""


class AuthenticationFailed(RequestError):
    """No valid key was presented."""

    http_status = 401
    error_type = "auth_error"


class RouteDenied(RequestError):
    """The caller's role may not use this route."""

    http_status = 401
    error_type = "auth_error"


class TeamPermissionMissing(RequestError):
    """The team does not let its members do this."""

    http_status = 401
    error_type = "team_member_permission_error"


class PermissionDenied(RequestError):
    """The key may not do this."""

    http_status = 403
    error_type = "auth_error"


class ModelNotAllowed(PermissionDenied):
    """The key may not call this model."""

    error_type = "key_model_access_denied"

    def __init__(
        self, message: str | None = None, *, error_type: str = "key_model_access_denied", param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.error_type = error_type


class NotFound(RequestError):
    """There is no such thing."""

    http_status = 404
    error_type = "not_found_error"


class Conflict(RequestError):
    """It exists already."""

    http_status = 409


class AlreadyExists(Conflict):
    """The id or the unique name is taken."""


class ChangedMeanwhile(Conflict):
    """Somebody else changed it at the same time. Try again."""


class BodyTooLarge(RequestError):
    """The request body is larger than the limit."""

    http_status = 413


class BudgetExceeded(RequestError):
    """A budget does not allow this call."""

    http_status = 422
    error_type = "budget_exceeded"

    def __init__(self, message: str | None = None, *, scope_type: str = "", status: int = 422) -> None:
        super().__init__(message)
        self.scope_type = scope_type
        self.http_status = status


class RateLimited(RequestError):
    """A rate limit does not allow this call now."""

    http_status = 429
    error_type = "rate_limit_error"

    def __init__(self, message: str | None = None, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.scope_type = ""
        """Whose limit it is: `key`, `team`, `deployment` …"""


class UpstreamError(TallystickError):
    """The upstream did not give a usable answer."""

    http_status = 502
    error_type = "upstream_error"
    headers: Sequence[tuple[bytes, bytes]] = ()
    """What the answer tells besides: which deployment was tried last, and how many before it."""


class UpstreamRefused(UpstreamError):
    """The upstream answered with an error status; its status and body are kept."""

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int,
        body: bytes,
        content_type: str,
        retry_after: str | None = None,
        dialect: str = "openai",
        reported_type: str = "",
    ) -> None:
        """`message` is the upstream's own where it could be read; `dialect` is what the body is written in."""
        super().__init__(message or f"The upstream answered with status {status}.")
        self.http_status = status
        self.dialect = dialect
        self.reported_type = reported_type
        self.body = body
        self.content_type = content_type
        self.retry_after = retry_after


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer in time."""

    http_status = 504
    error_type = "timeout_error"


class UpstreamUnreachable(UpstreamError):
    """The upstream could not be reached."""


class UpstreamGarbled(UpstreamError):
    """The upstream answered something that is not its dialect."""


class ClientClosed(TallystickError):
    """The client is closed. Make another one."""


class LedgerError(TallystickError):
    """The ledger can't do this."""


class LedgerUnavailable(LedgerError):
    """The journal can't take a new call."""

    http_status = 503
    error_type = "ledger_unavailable"


class NotCommittedInTime(LedgerError):
    """The database does not have everything yet; the journal keeps it."""


class JournalDamaged(LedgerError):
    """A frame in the middle of a segment can't be read."""


class SlotTaken(LedgerError):
    """Another process holds this journal slot."""


class StoreError(TallystickError):
    """The database did not do this."""


class StoreUnavailable(StoreError):
    """The database is away; trying again later is right."""

    http_status = 503
    error_type = "database_unavailable"


class RowRefused(StoreError):
    """The database refuses the data itself; trying the same again is wrong."""


class EventRepeated(RowRefused):
    """The ledger has an event of this id already: it is counted, and this one is not."""


class MigrationFailed(StoreError):
    """The schema can't be brought up to date."""


class BudgetUnknown(TallystickError):
    """What is left of a budget can't be told now."""

    http_status = 503
    error_type = "budget_unknown"


class SecretUnreadable(TallystickError):
    """A sealed value can't be opened."""

    def __init__(self, reason: str, *, place: str, key_id: str) -> None:
        self.reason = reason
        self.place = place
        self.key_id = key_id
        super().__init__(f"The secret at {place} can't be opened: {reason}.")


class ReadOnlyMode(TallystickError):
    """Nothing is changed here: general_settings.read_only is on. Send changes to an instance where it is not."""

    http_status = 503
    error_type = "read_only"


class ServerNotReady(TallystickError):
    """The server is starting or draining."""

    http_status = 503
    error_type = "server_not_ready"
