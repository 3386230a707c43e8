"""TLS to PostgreSQL, as the address asks for it."""

from __future__ import annotations

import os
import shutil
from urllib.parse import quote

import pytest
import trustme

from services import PostgresServer, server_owner
from tallystick.config.database_url import normalize_url
from tallystick.errors import StoreUnavailable
from tallystick.runtime.clock import SystemClock
from tallystick.stores.postgres.database import PostgresDatabase


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    stranger.cert_pem.write_to_path(str(directory / "stranger.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    settings = {"ssl": "on", "ssl_cert_file": "cert.pem", "ssl_key_file": "key.pem"}
    server = PostgresServer(settings=settings)
    for name in ("cert.pem", "key.pem"):
        target = server.data / name
        shutil.copy(directory / name, target)
        target.chmod(0o600)
        owner = server_owner()
        if owner is not None:
            os.chown(target, owner.pw_uid, owner.pw_gid)
    with server:
        yield server.url(), directory


async def is_encrypted(url: str) -> bool:
    address, _ = normalize_url(url)
    database = PostgresDatabase(address, clock=SystemClock(), auto_migrate=True)
    try:
        async with database.connection() as connection:
            return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await database.close()


async def test_modes(encrypted) -> None:
    url, directory = encrypted
    ca, stranger = (f"sslrootcert={quote(str(directory / name))}" for name in ("ca.pem", "stranger.pem"))
    assert await is_encrypted(url)
    assert await is_encrypted(f"{url}?sslmode=require")
    assert await is_encrypted(f"{url}?sslmode=verify-full&{ca}")
    assert not await is_encrypted(f"{url}?sslmode=disable")
    with pytest.raises(StoreUnavailable):
        await is_encrypted(f"{url}?sslmode=verify-full&{stranger}")
    with pytest.raises(StoreUnavailable):
        await is_encrypted(f"{url.replace('127.0.0.1', 'localhost')}?sslmode=verify-full&{ca}")


async def test_a_server_without_tls_is_refused_where_it_is_required(postgres_url) -> None:
    assert not await is_encrypted(postgres_url)
    with pytest.raises(StoreUnavailable):
        await is_encrypted(f"{postgres_url}?sslmode=require")
