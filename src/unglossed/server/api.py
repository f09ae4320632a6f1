"""The addresses under `/v1`: uploads to text at once, as a stream or as jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from unglossed.server import answers
from unglossed.server.answers import Form
from unglossed.server.engine import Engine, described
from unglossed.server.jobs import Job, State
from unglossed.server.problems import Problem
from unglossed.server.services import Services, services_of
from unglossed.server.uploads import check_declared, receive_upload

_LOOK_SECONDS = 0.05
_HEARTBEAT_SECONDS = 10.0
_SWITCHES = {"true": True, "1": True, "false": False, "0": False}
_OWN_FIELDS = ("model", "language", "response_format", "stream", "attention")

router = APIRouter()


def _form(stream: bool) -> dict[str, Any]:
    """How OpenAPI describes a form with an upload."""
    fields: dict[str, Any] = {
        "file": {"type": "string", "format": "binary"},
        "model": {"type": "string", "description": "Its id in /v1/models; may be left out."},
        "language": {
            "type": "string",
            "description": "To write, one of the model's; may be left out.",
        },
        "attention": {
            "type": "boolean",
            "description": "Also tell which frames each word attended to.",
        },
    }
    if stream:
        forms = [form.value for form in Form]
        fields["response_format"] = {"type": "string", "enum": forms, "default": Form.JSON.value}
        fields["stream"] = {
            "type": "boolean",
            "description": "Send each sentence when it is found.",
        }
    schema = {"type": "object", "properties": fields, "required": ["file"]}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(services_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The model, and the bounds of uploads."""
    server = services_of(request)
    settings = server.settings
    limits = {
        "max_bytes": settings.max_bytes,
        "max_seconds": settings.max_seconds,
        "max_pixels": settings.max_pixels,
    }
    return {"object": "list", "data": [described(server.engine)], "limits": limits}


@router.post("/v1/video/translations", openapi_extra=_form(stream=True))
async def translate(request: Request) -> Response:
    """Translate a video of signing; answers when it is done, or with `stream` as it goes."""
    return await _answer(request, wants_video=True)


@router.post("/v1/audio/transcriptions", openapi_extra=_form(stream=True))
async def transcribe(request: Request) -> Response:
    """Translate or transcribe audio with a speech model, as its training has it."""
    return await _answer(request, wants_video=False)


@router.get("/v1/jobs")
async def count_jobs(request: Request) -> dict[str, int]:
    """How many uploads there are; their names are known to those who sent them."""
    server = services_of(request)
    return {"waiting": server.jobs.num_waiting, "most": server.settings.queue}


@router.post("/v1/jobs", status_code=202, openapi_extra=_form(stream=False))
async def make_job(request: Request) -> Response:
    """Send an upload and be told the name of its job."""
    server = services_of(request)
    job, _ = await _receive(request, server)
    await asyncio.sleep(_LOOK_SECONDS)  # until it has been heard that the client has gone
    if await request.is_disconnected():  # nobody would know the job's name
        server.jobs.remove(job)
        raise Problem(400, "disconnected", "the client has gone")
    headers = {"location": f"/v1/jobs/{job.id}"}
    return JSONResponse(answers.job_row(job), 202, headers)


@router.get("/v1/jobs/{job_id}")
async def show_job(request: Request, job_id: str) -> dict[str, Any]:
    """How far a job is."""
    return answers.job_row(services_of(request).jobs.find(job_id))


@router.get("/v1/jobs/{job_id}/events")
async def watch_job(request: Request, job_id: str) -> Response:
    """A job's progress and sentences as server-sent events, from its begin to its end."""
    server = services_of(request)
    return _stream(server.jobs.find(job_id), server, progress=True)


@router.get("/v1/jobs/{job_id}/result")
async def show_result(request: Request, job_id: str, response_format: Form = Form.JSON) -> Response:
    """The sentences of a job that is done."""
    server = services_of(request)
    job = server.jobs.find(job_id)
    _check_done(job)
    language = server.engine.language_of(job)
    return await asyncio.to_thread(answers.result, job, response_format, language)


@router.delete("/v1/jobs/{job_id}", status_code=204)
async def remove_job(request: Request, job_id: str) -> Response:
    """End a job, and forget all of it."""
    jobs = services_of(request).jobs
    jobs.remove(jobs.find(job_id))
    return Response(status_code=204)


async def _receive(request: Request, server: Services) -> tuple[Job, Mapping[str, Any]]:
    """Take a place in the queue, receive the upload and put it there."""
    check_declared(request, server.settings)
    with server.jobs.reserve() as place:
        upload = await receive_upload(request, server.settings)
        try:
            fields = _read_fields(upload.fields, server.engine)
        except BaseException:
            upload.close()
            raise
        return place.fill(upload, fields["attention"], fields["language"]), fields


async def _answer(request: Request, *, wants_video: bool) -> Response:
    server = services_of(request)
    if server.engine.reads_video is not wants_video:
        right = (
            "/v1/video/translations" if server.engine.reads_video else "/v1/audio/transcriptions"
        )
        raise Problem(400, "other_input", f"this server's model is asked at {right}")
    job, fields = await _receive(request, server)
    language = server.engine.language_of(job)
    if fields["stream"]:
        return _stream(job, server, progress=False)
    try:
        while not job.has_ended:
            if await request.is_disconnected():
                raise Problem(400, "disconnected", "the client has gone")
            await asyncio.sleep(_LOOK_SECONDS)
        _check_done(job)
        return await asyncio.to_thread(answers.result, job, fields["response_format"], language)
    finally:
        server.jobs.remove(job)


def _stream(job: Job, server: Services, *, progress: bool) -> StreamingResponse:
    """Server-sent events of a job; without `progress` the job ends with them."""
    language = server.engine.language_of(job)

    async def events() -> AsyncIterator[bytes]:
        told, quiet = 0, 0.0
        last: dict[str, Any] = {}
        try:
            while True:
                ended = job.has_ended
                sentences = job.sentences[told:]
                row = answers.job_row(job)
                for sentence in sentences:
                    yield answers.event(answers.sentence_event(sentence, language))
                told += len(sentences)
                if progress and row != last:
                    yield answers.event({"type": "progress"} | row)
                    last, quiet = row, 0.0
                if ended:
                    yield answers.event(answers.end_event(job, language))
                    return
                if quiet >= _HEARTBEAT_SECONDS:  # whoever is between the two keeps it open
                    yield b": still at work\n\n"
                    quiet = 0.0
                await asyncio.sleep(_LOOK_SECONDS)
                quiet += _LOOK_SECONDS
        finally:
            if not progress:
                server.jobs.remove(job)

    return StreamingResponse(events(), media_type="text/event-stream")


def _check_done(job: Job) -> None:
    if job.problem is not None:
        raise job.problem
    if job.state is not State.DONE:
        code = "cancelled" if job.state is State.CANCELLED else "not_done"
        raise Problem(409, code, f"the job is {job.state.value}")


def _read_fields(fields: Mapping[str, str], engine: Engine) -> Mapping[str, Any]:
    """The fields beside a file, checked.

    Raises:
        Problem: One is unknown, or says what it cannot.
    """
    for name in fields:
        if name not in _OWN_FIELDS:
            raise Problem(
                400, "unknown_field", f"expected the fields file, {', '.join(_OWN_FIELDS)}"
            )
    if fields.get("model") not in (None, engine.name):
        raise Problem(404, "no_model", "there is no such model, /v1/models says which")
    language = fields.get("language")
    if language not in (None, *engine.languages):
        known = " or ".join(f"language={code}" for code in engine.languages)
        text = f"this model writes {', '.join(engine.languages)}, expected {known}"
        raise Problem(400, "other_language", text)
    try:
        form = Form(fields.get("response_format", Form.JSON.value))
    except ValueError:
        forms = ", ".join(form.value for form in Form)
        raise Problem(400, "unknown_format", f"response_format: expected one of {forms}") from None
    read: dict[str, Any] = {"response_format": form, "language": language}
    for name in ("stream", "attention"):
        value = fields.get(name, "false").lower()
        if value not in _SWITCHES:
            raise Problem(400, "no_switch", f"{name}: expected true or false")
        read[name] = _SWITCHES[value]
    return read
