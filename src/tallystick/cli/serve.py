"""`tallystick serve`: one worker in this process, or several that share the port."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop
from rich.console import Console

from tallystick import __version__
from tallystick.access.master_key import MasterKey, load_master_key
from tallystick.access.presented import presented_key
from tallystick.access.route_access import RouteKind, require_route
from tallystick.access.users import Role
from tallystick.admin.app import create_admin_app
from tallystick.bootstrap import Services, load_callbacks, open_key_ring, open_store, snapshot_builder
from tallystick.calls.callbacks.lists import CallbackLists
from tallystick.calls.pipeline import Pipeline
from tallystick.cli.admin_services import admin_services_of
from tallystick.config.connections import ConnectionBudget
from tallystick.config.database_url import database_kind
from tallystick.config.demo import with_demo_group
from tallystick.config.load import export_environment, load_settings
from tallystick.config.settings import Settings
from tallystick.errors import ConfigError, PermissionDenied
from tallystick.gateway.app import Gateway, GatewayLimits
from tallystick.gateway.head_limit import BoundedHeadProtocol
from tallystick.gateway.health import HealthPages
from tallystick.gateway.held import HeldObjects
from tallystick.runtime.clock import SystemClock
from tallystick.runtime.telemetry import Metrics, configure_logging
from tallystick.runtime.workers import WorkerSupervisor, unblock_signals

log = structlog.get_logger()

_MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SUPERVISOR_VARIABLE = "TALLYSTICK_SUPERVISOR_PID"
_PARENT_LOOK_SECONDS = 1.0
# A thread that waits for the interpreter gets it after so long; the journal's sync thread waits at each answer.
_SWITCH_SECONDS = 0.0005


def run_server(*, config_file: Path | None, overrides: Mapping[str, object], worker_socket: int | None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Raises ConfigError for settings that are wrong."""
    settings = load_settings(config_file=config_file, overrides=overrides, environ=os.environ)
    export_environment(settings, os.environ)
    if settings.demo:
        settings = with_demo_group(settings)
    configure_logging("console" if _is_console(settings) else "json", settings.log_level)
    if worker_socket is not None:
        unblock_signals()
        listener = socket.socket(fileno=worker_socket)
        # Told, not asked for: a supervisor that died while we started is nobody's parent any more.
        parent = int(os.environ.get(_SUPERVISOR_VARIABLE) or os.getppid())
        callbacks = load_callbacks(settings)
        return uvloop.run(_serve(settings, listener, callbacks, parent=parent, on_ready=lambda: None))
    for warning in settings.warnings:
        log.warning("setting_not_in_force", setting=warning)
    # What is wrong with the connections, the model list or the keys is said before anything starts.
    _check_connections(settings)
    clock = SystemClock()
    key_ring = open_key_ring(settings, now=clock.now())
    snapshot_builder(settings, key_ring=key_ring, environ=os.environ, clock=clock).check()
    callbacks = load_callbacks(settings)
    listener = _listen(settings)
    master_key = load_master_key(settings.master_key, home=settings.home)
    announce = _announcement(settings, listener, master_key)
    if settings.workers == 1:
        return uvloop.run(_serve(settings, listener, callbacks, parent=None, on_ready=announce))
    announce()
    return _supervise(settings, listener)


async def _serve(
    settings: Settings,
    listener: socket.socket,
    callbacks: CallbackLists,
    *,
    parent: int | None,
    on_ready: Callable[[], None],
) -> int:
    """Run one worker."""
    stop = _Stop()
    stop.on_signals()  # Before the journal is opened: a worker that is killed with it leaves it to others.
    sys.setswitchinterval(_SWITCH_SECONDS)
    clock = SystemClock()
    metrics = Metrics(multiprocess_directory=os.environ.get(_MULTIPROCESS_VARIABLE))
    store = open_store(
        settings, clock=clock, on_replica_read=lambda outcome: metrics.replica_reads.labels(outcome).inc()
    )
    services = Services(
        settings,
        store=store,
        key_ring=open_key_ring(settings, now=clock.now()),
        master_key_hash=load_master_key(settings.master_key, home=settings.home).key_hash,
        environ=os.environ,
        clock=clock,
        metrics=metrics,
        callbacks=callbacks,
    )
    gc.collect()
    gc.freeze()  # What is there now stays; looking through it again and again would cost every call.
    gc.set_threshold(20_000, 20, 20)
    try:
        gateway = build_gateway(services, await services.start())
        server = _Server(_server_config(settings, gateway), on_ready=on_ready)
        stop.lead_to(server, gateway)
        watch = asyncio.create_task(_watch_parent(parent, stop)) if parent is not None else None
        if not stop.is_asked:
            await server.serve(sockets=[listener])
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
    finally:
        await services.stop()
    log.info("server_stopped")
    return 0


def build_gateway(services: Services, pipeline: Pipeline) -> Gateway:
    """Put the data plane in front of the admin API."""
    settings = services.settings
    header_name = settings.attribution.litellm_key_header_name
    key_header = header_name.lower().encode() if header_name else None

    async def authorize_admin(headers: Mapping[bytes, bytes], *, to_spend: bool) -> None:
        principal = await services.authenticator.authenticate(presented_key(headers, first=key_header))
        require_route(principal, RouteKind.WRITE if to_spend else RouteKind.READ, "/health")
        if to_spend and not principal.is_admin:
            raise PermissionDenied("Only a proxy admin's key may have deployments checked: checks are calls.")
        if principal.role not in {Role.PROXY_ADMIN, Role.PROXY_ADMIN_VIEWER}:
            raise PermissionDenied("Only an admin's key may see this; /health/readiness needs none.")

    return Gateway(
        pipeline=pipeline,
        passed_calls=services.passed_calls,
        authenticator=services.authenticator,
        snapshot=services.snapshot,
        kept_responses=services.responses.kept,
        held=HeldObjects(services.upstream_objects.files, services.upstream_objects.batches),
        health=HealthPages(services, authorize_admin=authorize_admin),
        fallback=create_admin_app(admin_services_of(services)),
        clock=services.clock,
        metrics=services.metrics,
        limits=GatewayLimits(
            body_bytes_max=settings.server.body_bytes_max,
            key_header=key_header,
        ),
    )


class _Server(uvicorn.Server):
    """uvicorn, with signals left to us: what is running is committed before the process ends."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _server_config(settings: Settings, app: Any) -> uvicorn.Config:  # Any: uvicorn takes any ASGI callable.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return uvicorn.Config(
        app,
        loop="none",
        http=BoundedHeadProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.server.drain_seconds),
        backlog=settings.server.backlog,
    )


class _Stop:
    """The request to stop. It is heard during the whole start, and granted as soon as there is something to stop."""

    def __init__(self) -> None:
        self.is_asked = False
        self._server: _Server | None = None
        self._gateway: Gateway | None = None

    def on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._signal, signum)

    def lead_to(self, server: _Server, gateway: Gateway) -> None:
        """Say what there is to stop."""
        self._server, self._gateway = server, gateway

    def ask(self, *, force: bool = False) -> None:
        """Admit no more calls and end when those that run have ended; with `force`, don't wait for them."""
        self.is_asked = True
        if self._server is None or self._gateway is None:
            return
        self._gateway.stop_admitting()
        self._server.force_exit = self._server.force_exit or force
        self._server.should_exit = True

    def _signal(self, signum: int) -> None:
        log.info("server_stopping", signal=signal.Signals(signum).name)
        self.ask(force=self.is_asked and signum == signal.SIGINT)


async def _watch_parent(parent: int, stop: _Stop) -> None:
    """Stop when the supervisor is gone: nobody would start or stop this worker any more."""
    while os.getppid() == parent:  # noqa: ASYNC110 (no event tells of it on every system)
        await asyncio.sleep(_PARENT_LOOK_SECONDS)
    log.warning("supervisor_gone")
    stop.ask()


def _listen(settings: Settings) -> socket.socket:
    """Bind the port. Raises ConfigError when it is taken or the address is none of this machine."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"can't listen on {settings.host}:{settings.port}: {error.strerror}", key_path="port"
        ) from error
    listener.listen(settings.server.backlog)
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def _supervise(settings: Settings, listener: socket.socket) -> int:
    """Run the workers; they read the same settings again and take the socket by its number."""
    command = [sys.executable, "-m", "tallystick", *sys.argv[1:], "--worker-socket", str(listener.fileno())]
    with tempfile.TemporaryDirectory(prefix="tallystick-metrics-") as directory:
        metrics = Metrics(multiprocess_directory=directory)
        return WorkerSupervisor(
            command,
            count=settings.workers,
            environment={
                **os.environ,
                _MULTIPROCESS_VARIABLE: directory,
                _SUPERVISOR_VARIABLE: str(os.getpid()),
            },
            inherited_fds=[listener.fileno()],
            stop_seconds=2 * settings.server.drain_seconds + 5,
            on_exit=metrics.forget_process,
            clock=SystemClock(),
        ).run()


def _announcement(settings: Settings, listener: socket.socket, master_key: MasterKey) -> Callable[[], None]:
    """Return what prints where the server is and, once, the key that was made."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    port = listener.getsockname()[1]
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 (shown, not bound)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def announce() -> None:
        console.print(f"[bold]Tallystick {__version__}[/bold] serves on {url}  (API pages: {url}/docs)")
        if master_key.made is not None:
            console.print(f"Master key, shown only this once: [bold]{master_key.made}[/bold]")
        elif master_key.file is not None:
            console.print(f"The master key was shown at the first start; remove {master_key.file} to make a new one.")
        if database_kind(settings.database_url) != "sqlite":
            console.print(_connections_line(settings.connections))
        if settings.demo:
            console.print("Model [bold]demo[/bold] answers without any account.")

    return announce


def _check_connections(settings: Settings) -> None:
    """Raise ConfigError when this host's limit of connections is impossible. Only here: a command needs but its own."""
    if database_kind(settings.database_url) == "sqlite":
        return
    try:
        settings.connections.check()
    except ValueError as error:
        place = settings.owned.get("general_settings.database_connections_per_host", "")
        file, _, key_path = place.rpartition(": ")
        raise ConfigError(str(error), file=file or None, key_path=key_path or None) from error


def _connections_line(budget: ConnectionBudget) -> str:
    each = f"{budget.pool_each} in its pool" + (" and 1 that listens" if budget.listening_each else "")
    workers = "1 worker with" if budget.workers == 1 else f"{budget.workers} workers, each with"
    return f"PostgreSQL: at most {budget.host_max} connections from this host, {workers} {each}"


def _is_console(settings: Settings) -> bool:
    return settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
