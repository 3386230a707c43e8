"""The database's address: put together, checked, and shown without its password."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

POSTGRES_SCHEMES = ("postgres", "postgresql")
DATABASE_PARTS = tuple(
    f"DATABASE_{part}" for part in ("HOST", "PORT", "USERNAME", "USER", "PASSWORD", "NAME", "SCHEMA")
)
REPLICA_SUFFIX = "_READ_REPLICA"
_TLS_MODES = ("require", "verify-ca", "verify-full")
_LITELLM_PARAMETERS = frozenset(
    # Options of another database client, which Postgres would refuse as unknown settings.
    {"connection_limit", "pool_timeout", "connect_timeout", "socket_timeout", "pgbouncer", "statement_cache_size",
     "max_idle_connection_lifetime", "max_connection_lifetime", "sslaccept", "sslidentity"}
)  # fmt: skip
_LIBPQ_PARAMETERS = frozenset(
    # Options of the C library, as hosted databases put them into their addresses, that our driver does not have.
    {"channel_binding", "require_auth", "gssencmode", "keepalives", "keepalives_idle", "keepalives_interval",
     "keepalives_count", "tcp_user_timeout", "load_balance_hosts", "fallback_application_name", "client_encoding"}
)  # fmt: skip


def sqlite_url(path: Path) -> str:
    """Name an SQLite file by its URL."""
    return f"sqlite:///{path}"


def url_from_parts(environ: Mapping[str, str]) -> str | None:
    """Put DATABASE_HOST, DATABASE_USERNAME … together; None when host, user or name is missing."""
    host, name = environ.get("DATABASE_HOST"), environ.get("DATABASE_NAME")
    user = environ.get("DATABASE_USERNAME") or environ.get("DATABASE_USER")
    if not (host and name and user):
        return None
    password = environ.get("DATABASE_PASSWORD")
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    port = f":{environ['DATABASE_PORT']}" if environ.get("DATABASE_PORT") else ""
    schema = environ.get("DATABASE_SCHEMA")
    query = f"?{urlencode({'schema': schema})}" if schema else ""
    return f"postgresql://{login}@{host}{port}/{quote(name, safe='')}{query}"


def replica_url_from_parts(environ: Mapping[str, str]) -> str | None:
    """Do the same with DATABASE_HOST_READ_REPLICA …; what is not given but the host is as for the database."""
    parts = {name: environ.get(f"{name}{REPLICA_SUFFIX}") or environ.get(name, "") for name in DATABASE_PARTS}
    return url_from_parts(parts) if environ.get(f"DATABASE_HOST{REPLICA_SUFFIX}") else None


def normalize_url(url: str) -> tuple[str, list[str]]:
    """Check an address and rewrite what only LiteLLM's client knows; return it and warnings.

    Raises ValueError, without the address in its message, for what is neither SQLite nor Postgres.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator:
        if not rest.startswith("/") or len(rest) == 1:
            raise ValueError("an SQLite address is sqlite:///<path>, with four slashes for an absolute path")
        return url, []
    if scheme not in POSTGRES_SCHEMES or not separator:
        raise ValueError("must begin with sqlite:///, postgresql:// or postgres://")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError("is not a valid address; are special characters of the password percent-encoded?") from error
    kept, warnings = [], []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _LITELLM_PARAMETERS | _LIBPQ_PARAMETERS:
            warnings.append(f"the parameter {name} is not used; see the database_… settings")
        else:
            kept.append(("search_path" if name == "schema" else name, value))
    return _join(parts, query=urlencode(kept)), warnings


def sealed_url(url: str, environ: Mapping[str, str]) -> str:
    """Return the address such that what is sent there is encrypted, because it is a token that opens the database.

    Only what does not leave this machine may be plain: a loopback address, a socket. Raises ValueError when the address
    or PGSSLMODE asks for less than `require`.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))  # Of several the last, as for the driver.
    if _stays_on_this_machine(parts, query, environ):
        return url
    name = "sslmode" if query.get("sslmode") else "PGSSLMODE"
    mode = query.get("sslmode") or environ.get("PGSSLMODE") or _TLS_MODES[0]
    if mode.replace("_", "-") not in _TLS_MODES:
        raise ValueError(
            f"{name} must be {', '.join(_TLS_MODES[:-1])} or {_TLS_MODES[-1]} with iam_token_db_auth and "
            "azure_postgresql_auth: otherwise the token could be sent in clear text. Only a loopback address and a "
            "socket may go without"
        )
    return _join(parts, query=urlencode(query | {"sslmode": mode}))


def _stays_on_this_machine(parts: SplitResult, query: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    hosts = unquote(parts.hostname or "") or query.get("host") or ""
    if not hosts:  # The driver looks on: a service's entry may name any host; without one it is a socket.
        if query.get("service") or environ.get("PGSERVICE"):
            return False
        hosts = environ.get("PGHOST", "")
    return all(_is_of_this_machine(host) for host in hosts.split(","))


def _is_of_this_machine(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def database_kind(url: str) -> str:
    """Tell the engine from the address: `sqlite` or `postgresql`."""
    return "sqlite" if url.startswith("sqlite:") else "postgresql"


def masked_url(url: str) -> str:
    """Show an address without its password."""
    if database_kind(url) == "sqlite":
        return url
    parts = urlsplit(url)
    login, at, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    query = urlencode([(name, "***" if "password" in name else value) for name, value in parse_qsl(parts.query)])
    return _join(parts._replace(netloc=f"{user}{colon}{'***' if colon else ''}{at}{place}"), query=query)


def _join(parts: SplitResult, *, query: str) -> str:
    """Put an address together. The library's own function loses the slashes of one without a host."""
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
