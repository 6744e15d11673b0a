"""Data sets that come over the API, in parts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query

from api.routes.dependencies import DetachedCallerDep, ServicesDep
from api.routes.problems import PROBLEMS
from api.runs import uploads
from api.runs.upload_files import MAX_PATH

router = APIRouter(prefix="/data/uploads", tags=["data"], responses=PROBLEMS)


@router.put("/{name}", summary="Begin or resume the upload of a data set")
def begin_upload(name: str, services: ServicesDep, caller: DetachedCallerDep) -> uploads.Upload:
    """By whom BASIN_DATA_UPLOADS allows it. Refused where a data set of this name is there."""
    return uploads.begin(services.settings, caller, name)


@router.post("/{name}/have", summary="How much of some files is there")
def have_files(
    name: str, body: uploads.WantedFiles, services: ServicesDep, caller: DetachedCallerDep
) -> uploads.HaveFiles:
    """So that an upload that was cut off sends only what is missing or has changed since."""
    return uploads.have(services.settings, caller, name, body.paths, sha256=body.sha256)


@router.get("/{name}/files", summary="List what has been sent")
def list_sent(
    name: str,
    services: ServicesDep,
    caller: DetachedCallerDep,
    after: Annotated[str | None, Query(max_length=MAX_PATH)] = None,
) -> uploads.SentFiles:
    """So that whoever sends can tell what is too much: files that an earlier try has sent, and that are gone since."""
    return uploads.sent(services.settings, caller, name, after)


@router.post("/{name}/parts", summary="Send pieces of files")
def take_part(
    name: str,
    body: Annotated[bytes, Body(media_type="application/octet-stream")],
    services: ServicesDep,
    caller: DetachedCallerDep,
) -> uploads.HaveFiles:
    """A line of JSON that lists the pieces (path, offset, length, total, sha256), then their bytes; 8 MiB at most. A
    piece that is sent twice counts once."""
    return uploads.take_part(services.settings, caller, name, body)


@router.post("/{name}/finish", summary="Give an uploaded data set its name")
def finish_upload(
    name: str, body: uploads.WholeSet, services: ServicesDep, caller: DetachedCallerDep
) -> uploads.Uploaded:
    """Refused while files are missing, not whole or too many; until then no run sees any of it."""
    return uploads.finish(services.settings, caller, name, body)


@router.delete("/{name}", status_code=204, summary="Remove what an upload has sent so far")
def abandon_upload(name: str, services: ServicesDep, caller: DetachedCallerDep) -> None:
    """One's own; admins also somebody else's. A data set that is whole is not removed here."""
    uploads.abandon(services.settings, caller, name)
