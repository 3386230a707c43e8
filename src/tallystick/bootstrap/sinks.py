"""The sinks that the settings name, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tallystick.bootstrap.aws import load_aws_signer
from tallystick.config.sink_settings import (
    AWSEntry,
    DynamoDBEntry,
    FileEntry,
    S3Entry,
    SinkEntry,
    SupabaseEntry,
    WebhookEntry,
)
from tallystick.errors import ConfigError, UpstreamUnreachable
from tallystick.ledger.sinks.sink import Sink, SinkPlan, SinkTerms
from tallystick.providers.aws_identity import AWSIdentity
from tallystick.providers.transport import Transport
from tallystick.runtime.clock import Clock

if TYPE_CHECKING:
    from tallystick.providers.aws_identity import AWSSigner
    from tallystick.stores.sinks.asking import Asker

_CONNECTIONS_MAX = 64
_ANSWER_BYTES_MAX = 64 << 20


class Sinks:
    """The plans of all sinks, and the connections that they share, which are none of the calls'."""

    def __init__(self, entries: Sequence[SinkEntry], *, environ: Mapping[str, str], clock: Clock) -> None:
        """Raises ConfigError when a package is missing that a sink needs. Nothing is connected."""
        self.transport = Transport(
            connections_max=_CONNECTIONS_MAX,
            connections_per_host_max=_CONNECTIONS_MAX,
            body_bytes_max=_ANSWER_BYTES_MAX,
        )
        self._environ = environ
        self._clock = clock
        self._signer: AWSSigner | None = None
        self.plans = tuple(SinkPlan(name=entry.name, sink=self.open(entry), terms=_terms(entry)) for entry in entries)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.transport.aclose()

    def open(self, entry: SinkEntry) -> Sink:
        """Return one sink."""
        match entry:
            case WebhookEntry():
                return self._webhook(entry)
            case SupabaseEntry():
                return self._supabase(entry)
            case DynamoDBEntry():
                from tallystick.stores.sinks.dynamodb import DynamoDB

                url = entry.endpoint_url or f"https://dynamodb.{entry.region}.amazonaws.com{_china(entry.region)}"
                return DynamoDB(self._signed(entry, "dynamodb"), url=f"{url.rstrip('/')}/", table=entry.table)
            case S3Entry():
                from tallystick.stores.sinks.objects import Objects, S3Place

                place = S3Place(self._signed(entry, "s3"), url=_bucket_url(entry), path=entry.path)
                return Objects(place, kind="s3", event_format=entry.format)
            case FileEntry():
                from tallystick.stores.sinks.objects import FilePlace, Objects

                return Objects(FilePlace(entry.directory), kind="file", event_format=entry.format)
        raise AssertionError(f"a sink of no known type: {entry.name}")

    def _webhook(self, entry: WebhookEntry) -> Sink:
        from tallystick.stores.sinks.webhook import Webhook

        return Webhook(
            self._asker(entry),
            name=entry.name,
            url=entry.url,
            secret=entry.secret,
            headers=entry.headers,
            event_format=entry.format,
            now=self._clock.now,
        )

    def _supabase(self, entry: SupabaseEntry) -> Sink:
        from tallystick.stores.sinks.supabase import Supabase

        return Supabase(
            self._asker(entry),
            url=entry.url,
            rest_path=entry.rest_path,
            key=entry.key,
            table=entry.table,
            wants_starts=entry.events == "all" if entry.start_rows is None else entry.start_rows,
        )

    def _asker(self, entry: SinkEntry) -> Asker:
        from tallystick.stores.sinks.asking import Asker

        return Asker(self.transport, timeout_seconds=entry.timeout_seconds)

    def _signed(self, entry: AWSEntry, service: str) -> Asker:
        from tallystick.stores.sinks.asking import Asker

        if self._signer is None:
            try:
                self._signer = load_aws_signer()
            except UpstreamUnreachable as error:
                raise ConfigError(
                    f"needs the package botocore: install tallystick[aws] ({error.message})",
                    key_path=f"sinks.{entry.name}",
                ) from error
        return Asker(
            self.transport,
            timeout_seconds=entry.timeout_seconds,
            signer=self._signer,
            identity=_identity(entry, self._environ),
            service=service,
        )


def _terms(entry: SinkEntry) -> SinkTerms:
    return SinkTerms(
        wanted=entry.events,
        batch_events_max=entry.batch_events_max,
        batch_wait_seconds=entry.batch_wait_seconds,
        timeout_seconds=entry.timeout_seconds,
        retry_seconds_min=entry.retry_seconds_min,
        retry_seconds_max=entry.retry_seconds_max,
        at_limit=entry.at_limit,
    )


def _identity(entry: AWSEntry, environ: Mapping[str, str]) -> AWSIdentity:
    """Keys of the entry win over those of the environment; without either it is AWS' own chain."""
    access, secret, session = entry.aws_access_key_id, entry.aws_secret_access_key, entry.aws_session_token
    if bool(access) != bool(secret):
        missing = "aws_secret_access_key" if access else "aws_access_key_id"
        raise ConfigError("is missing: an access key has two parts", key_path=f"sinks.{entry.name}.{missing}")
    if not access:
        access, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
        session = environ.get("AWS_SESSION_TOKEN", "")
        if not access or not secret:
            access = secret = session = ""
    return AWSIdentity(access_key_id=access, secret_access_key=secret, session_token=session, region=entry.region)


def _bucket_url(entry: S3Entry) -> str:
    """Return a bucket's address: by path where an endpoint is given or the name has dots, else by host."""
    if entry.endpoint_url is not None:
        return f"{entry.endpoint_url.rstrip('/')}/{entry.bucket}"
    host = f"s3.{entry.region}.amazonaws.com{_china(entry.region)}"
    return f"https://{host}/{entry.bucket}" if "." in entry.bucket else f"https://{entry.bucket}.{host}"


def _china(region: str) -> str:
    return ".cn" if region.startswith("cn-") else ""


async def make_table(sink: Sink) -> bool | None:
    """Make a sink's table; False when it is there, None when this kind of sink has none. Raises SinkUnavailable."""
    from tallystick.stores.sinks.dynamodb import DynamoDB

    return await sink.create_table() if isinstance(sink, DynamoDB) else None


def shown_place(entry: SinkEntry) -> str:
    """Return where a sink is, for people: no path and no login of an address, which may be secret."""
    match entry:
        case WebhookEntry() | SupabaseEntry():
            host = urlsplit(entry.url).hostname or ""
            return f"{host}/{entry.table}" if isinstance(entry, SupabaseEntry) else host
        case DynamoDBEntry():
            return f"{entry.region}/{entry.table}"
        case S3Entry():
            return f"{entry.bucket}/{entry.path}" if entry.path else entry.bucket
        case FileEntry():
            return str(entry.directory)
    return ""
