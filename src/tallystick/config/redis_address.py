"""Where a Redis is, and how to get in: one server, a cluster, or a master that sentinels know."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26_379
_WHAT_A_URL_IS: Final = "must be redis://, rediss:// or unix://, as in redis://:password@host:6379/0"
_READ_OPTIONS: Final = frozenset(
    {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)

Trust = Literal["required", "optional", "none"]
"""Whether a server has to show a certificate that is trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTLS:
    """How to speak TLS. What is None is as usual: the machine's authorities, and a certificate that is checked."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    trust: Trust | None = None
    checks_host: bool | None = None

    def problem(self) -> str:
        """Return what is wrong with the files; "" when TLS can be spoken with them."""
        context = ssl.create_default_context()
        try:
            if self.ca_file is not None:
                context.load_verify_locations(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            return f"there is no certificate of an authority in {self.ca_file}: {_why(error)}"
        try:
            if self.certificate_file is not None:
                # Without this password OpenSSL would ask the terminal for the one of an encrypted key.
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            files = " and ".join(name for name in (self.certificate_file, self.key_file) if name)
            return f"there is no certificate with its key, not encrypted, in {files}: {_why(error)}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where Redis is, and how to get in."""

    host: str = ""
    port: int = REDIS_PORT
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ssl: bool = False
    tls: RedisTLS = RedisTLS()
    socket_path: str | None = None
    nodes: tuple[tuple[str, int], ...] = ()
    """Of a cluster; its other nodes are found through these."""
    sentinels: tuple[tuple[str, int], ...] = ()
    service_name: str = ""
    """What the sentinels call the master."""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The place, without what is secret."""
        if self.nodes:
            return _listed(self.nodes)
        if self.sentinels:
            return f"{self.service_name} (by sentinels {_listed(self.sentinels)})"
        return self.socket_path or f"{self.host}:{self.port}/{self.db}"


def parse_redis_url(url: str) -> RedisAddress:
    """Read an address. Raises ValueError, without the address in its message."""
    scheme, separator, _ = url.partition("://")
    if scheme not in ("redis", "rediss", "unix") or not separator:
        raise ValueError(_WHAT_A_URL_IS)
    try:
        parts = urlsplit(url)
        port = parts.port or REDIS_PORT
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        db = int(options.get("db") or (parts.path.strip("/") if scheme != "unix" else "") or 0)
    except ValueError:
        raise ValueError(f"{_WHAT_A_URL_IS}; special characters of the password are percent-encoded") from None
    if scheme != "unix" and not parts.hostname:
        raise ValueError(_WHAT_A_URL_IS)
    return RedisAddress(
        host=parts.hostname or "",
        port=port,
        db=db,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        ssl=scheme == "rediss",
        tls=_tls_of(options),
        socket_path=parts.path if scheme == "unix" else None,
    )


def unread_options(url: str) -> list[str]:
    """Name the options of an address that nothing acts upon."""
    return sorted(parse_qs(urlsplit(url).query).keys() - _READ_OPTIONS)


def read_trust(value: object) -> object:
    """Read what drivers call it: `none`, `None`, `CERT_NONE`."""
    return value.lower().removeprefix("cert_") if isinstance(value, str) else value


def _tls_of(options: dict[str, str]) -> RedisTLS:
    trust, checks_host = read_trust(options.get("ssl_cert_reqs")), options.get("ssl_check_hostname")
    if trust not in (None, "required", "optional", "none"):
        raise ValueError("ssl_cert_reqs must be required, optional or none")
    return RedisTLS(
        ca_file=options.get("ssl_ca_certs"),
        certificate_file=options.get("ssl_certfile"),
        key_file=options.get("ssl_keyfile"),
        trust=trust,
        checks_host=None if checks_host is None else checks_host.lower() in ("true", "1", "yes"),
    )


def _listed(places: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{host}:{port}" for host, port in places)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
