"""Files at upstreams: made, listed, read and deleted by those whom they belong to. They cost nothing by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import structlog

from tallystick.access.kept_files import KeptFile, KeptFileStore
from tallystick.access.principal import Principal
from tallystick.calls.batches.charging import Charger
from tallystick.calls.batches.ids import HeldIds, HeldObject, decode_held, encode_held, held_by
from tallystick.calls.batches.input_file import InputFile, first_model, members_of, rewritten
from tallystick.calls.batches.places import deployment_of
from tallystick.calls.model_choice import callable_models
from tallystick.calls.route import Router
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest, StoreError, UpstreamRefused
from tallystick.providers.file_store import FileRequest, FileStore, keeps_files
from tallystick.providers.transport import RawAnswer
from tallystick.routing.choice import Wanted
from tallystick.runtime.ids import new_event_id
from tallystick.runtime.masking import mask_text
from tallystick.wire.batch_objects import id_of, with_ids, write_page
from tallystick.wire.call_options import CallOptions
from tallystick.wire.form import Form, Part, read_form, texts_of, with_file

log = structlog.get_logger(__name__)

BATCH: Final = "batch"
LIST_MAX: Final = 10_000
MODEL_HEADER: Final = b"x-litellm-model"
_MODEL_FIELDS: Final = ("target_model_names", "model")
_PROVIDER_FIELD: Final = "custom_llm_provider"
_GATEWAY_FIELDS: Final = frozenset((*_MODEL_FIELDS, _PROVIDER_FIELD, "litellm_metadata", "metadata", "tags"))


class _Upload(NamedTuple):
    """A form, read."""

    form: Form
    raw: bytes
    texts: Mapping[str, str]
    part: Part

    @property
    def content(self) -> bytes:
        return self.raw[self.part.start : self.part.end]

    @property
    def is_batch(self) -> bool:
        return self.texts["purpose"] == BATCH


class Files:
    """Keeps callers' files at upstreams. One per process."""

    def __init__(
        self,
        *,
        ids: HeldIds,
        rows: KeptFileStore,
        store: FileStore,
        router: Router,
        charger: Charger,
        snapshot: Callable[[], Snapshot],
        now: Callable[[], datetime],
    ) -> None:
        self._ids = ids
        self._rows = rows
        self._store = store
        self._router = router
        self._charger = charger
        self._snapshot = snapshot
        self._now = now

    async def create(
        self, principal: Principal, headers: Mapping[bytes, bytes], raw: bytes, content_type: str
    ) -> bytes:
        """Pass a file on to an upstream; return what it is.

        Raises BadRequest where the form is wrong or nothing tells the upstream, ModelNotAllowed, UpstreamError.
        """
        upload = _read_upload(raw, content_type)
        deployment = self._choose(principal, headers, upload)
        held = held_by(principal, deployment_id=deployment.deployment_id, model_group=deployment.model_group)
        content = upload.content
        if upload.is_batch:
            read: InputFile = await rewritten(
                content, principal=principal, snapshot=self._snapshot(), deployment=deployment
            )
            content = read.content
            held = msgspec.structs.replace(
                held, calls=read.calls, input_tokens=read.input_tokens, output_tokens=read.output_tokens
            )
        body = with_file(upload.form, raw, part=upload.part, content=content, without=_GATEWAY_FIELDS)
        asked = FileRequest(method="POST", path="files", body=body, content_type=content_type)
        answer = await self._store.ask(deployment.target, asked)
        held = msgspec.structs.replace(held, upstream_id=id_of(answer.body))
        await self._note(held, upload.texts["purpose"], answer.body)
        return with_ids(answer.body, {"id": self._ids.tell(held)})

    async def show(self, principal: Principal, file_id: str) -> bytes:
        """Return what the upstream says of a file. Raises NotFound, PermissionDenied, UpstreamError."""
        held = self._ids.find(file_id, principal)
        answer = await self._ask(held, FileRequest(method="GET", path="files", object_id=held.upstream_id))
        return with_ids(answer.body, {"id": file_id})

    async def content(self, principal: Principal, file_id: str) -> RawAnswer:
        """Return what is in a file: whole, or a stream that must be exhausted or closed. Raises as `show`."""
        held = self._ids.find(file_id, principal)
        asked = FileRequest(method="GET", path="files", object_id=held.upstream_id, below="/content", stream=True)
        return await self._ask(held, asked)

    async def delete(self, principal: Principal, file_id: str) -> bytes:
        """Delete a file. What a batch has answered is charged first: nobody could count it afterwards.

        Raises as `show`, and what keeps the batch from being charged.
        """
        held = self._ids.find(file_id, principal)
        if held.of_batch:
            await self._charger.charge_now(held.deployment_id, held.of_batch)
        try:
            answer = await self._ask(held, FileRequest(method="DELETE", path="files", object_id=held.upstream_id))
        except UpstreamRefused as error:
            if error.http_status == 404:
                await self._rows.forget(held.deployment_id, held.upstream_id)
            raise
        await self._rows.forget(held.deployment_id, held.upstream_id)
        return with_ids(answer.body, {"id": file_id})

    async def listed(self, principal: Principal, *, purpose: str | None, after: str | None, limit: int) -> bytes:
        """Return a page of the caller's own files. Raises NotFound, PermissionDenied for what `after` names."""
        behind = None
        if after is not None:
            held = self._ids.find(after, principal, param="after")
            behind = (held.deployment_id, held.upstream_id)
        owner = None if principal.is_admin else held_by(principal, deployment_id="", model_group="").owner
        found = await self._rows.listed(owner, purpose=purpose, after=behind, limit=limit + 1)
        shown = found[:limit]
        ids = [self._ids.tell(decode_held(file.held)) for file in shown]
        objects = [with_ids(file.answer.encode(), {"id": name}) for file, name in zip(shown, ids, strict=True)]
        return write_page(objects, ids=ids, has_more=len(found) > limit)

    def _choose(self, principal: Principal, headers: Mapping[bytes, bytes], upload: _Upload) -> Deployment:
        """Return the deployment whose upstream gets the file. Raises BadRequest, ModelNotAllowed."""
        model = headers.get(MODEL_HEADER, b"").decode("latin-1").strip()
        for field in _MODEL_FIELDS:
            model = model or upload.texts.get(field, "").strip()
        snapshot = self._snapshot()
        if not model and upload.is_batch:
            model = first_model(upload.content)
            members_of(principal, model, snapshot, "The file's line 1, 'body.model'")
        provider = upload.texts.get(_PROVIDER_FIELD, "").strip()
        if not model:
            return _only_one(principal, snapshot, provider)
        if "," in model:
            raise BadRequest("Give one model for a file: it is kept at one upstream.", param="target_model_names")
        route = self._router.begin(principal, model, CallOptions(), Wanted())
        for each in route.deployments:
            if keeps_files(each.target) and provider in ("", each.target.provider):
                return each
        raise BadRequest(
            f"No deployment of the model '{model[:256]}' is at an upstream that takes files here: those with OpenAI's "
            "API, Azure among them, do.",
            param="model",
        )

    async def _ask(self, held: HeldObject, asked: FileRequest) -> RawAnswer:
        deployment = deployment_of(self._snapshot(), held.deployment_id, held.model_group, held.team_id)
        return await self._store.ask(deployment.target, asked)

    async def _note(self, held: HeldObject, purpose: str, answer: bytes) -> None:
        """Note a file, so that it is listed. Without the database it is not, and is a file all the same."""
        file = KeptFile(
            file_no=new_event_id(self._now()),
            deployment_id=held.deployment_id,
            upstream_id=held.upstream_id,
            owner=held.owner,
            purpose=purpose,
            held=encode_held(held),
            answer=answer.decode("utf-8", "replace"),
        )
        try:
            await self._rows.add(file)
        except StoreError as error:
            log.warning("file_not_listed", reason=mask_text(error.message))


def _only_one(principal: Principal, snapshot: Snapshot, provider: str) -> Deployment:
    """Return the only upstream that takes files. Raises BadRequest where there is none, or a choice."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Deployment] = {}
    for name in callable_models(principal, snapshot):
        for each in snapshot.find(name, team_id=principal.team_id):
            if keeps_files(each.target) and provider in ("", each.target.provider):
                account = (each.target.api_base, tuple(sorted(each.target.headers.items())))
                found.setdefault(account, each)
    if len(found) == 1:
        return next(iter(found.values()))
    reason = f"{len(found)} upstreams take files here" if found else "no upstream that you may use takes files here"
    raise BadRequest(
        f"Nothing says which upstream is to have the file, and {reason}. Name a model in the form field "
        "'target_model_names' or 'model', or in the header 'x-litellm-model'; of a file with purpose 'batch' its lines "
        "tell it.",
        param="target_model_names",
    )


def _read_upload(raw: bytes, content_type: str) -> _Upload:
    form = read_form(raw, content_type)
    texts = texts_of(form, raw)
    files = [part for part in form.parts if part.is_file and part.name == "file"]
    if len(files) != 1:
        raise BadRequest("The form needs one part 'file' with a file name.", param="file")
    if not texts.get("purpose"):
        raise BadRequest("The form needs a 'purpose', such as batch, assistants or user_data.", param="purpose")
    return _Upload(form, raw, texts, files[0])
