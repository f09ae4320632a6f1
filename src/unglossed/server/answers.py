"""Jobs and their sentences in the shapes that clients are given."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from starlette.responses import Response

from unglossed.corpora.languages import has_spaces
from unglossed.inference.sentences import Sentence
from unglossed.inference.subtitles import SUFFIXES, as_row, render
from unglossed.server.jobs import Job, State


class Form(StrEnum):
    """What the field `response_format` may say."""

    JSON = "json"
    """The text alone."""
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    """Each sentence with its times, its confidence and, if asked for, its attention."""
    VTT = "vtt"
    EAF = "eaf"
    TSV = "tsv"


_TYPES = {
    Form.TEXT: "text/plain",
    Form.SRT: "application/x-subrip",
    Form.VTT: "text/vtt",
    Form.EAF: "application/xml",
    Form.TSV: "text/tab-separated-values",
}


def text_of(job: Job, language: str) -> str:
    """All sentences in one text."""
    texts = [sentence.text for sentence in job.sentences if sentence.text]
    return (" " if has_spaces(language) else "").join(texts)


def job_row(job: Job) -> dict[str, Any]:
    """A job without its sentences."""
    row: dict[str, Any] = {
        "id": job.id,
        "object": "job",
        "status": job.state.value,
        "progress": round(job.progress, 4),
        "duration": round(job.seconds, 3),
        "num_sentences": len(job.sentences),
    }
    return row | job.problem.to_dict() if job.problem is not None else row


def result(job: Job, form: Form, language: str) -> Response:
    """What was found, in one of the forms; a file's name stands in the headers."""
    sentences, name = job.sentences, PurePath(job.name)
    if form is Form.JSON:
        return _json({"text": text_of(job, language)})
    if form is Form.VERBOSE_JSON:
        content = json.loads(render(sentences, "json", language=language, media=""))
        return _json(content | {"duration": round(job.seconds, 3)})
    # A path of its own: an ELAN file names its media by the absolute path, which is the client's.
    text = render(sentences, form.value, language=language, media=f"/{name}")
    stem = name.stem.encode("ascii", "replace").decode().replace("?", "_")
    headers = {"content-disposition": f'attachment; filename="{stem}{SUFFIXES[form.value]}"'}
    return Response(text, 200, headers, f"{_TYPES[form]}; charset=utf-8")


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), media_type="application/json")


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def sentence_event(sentence: Sentence, language: str) -> dict[str, Any]:
    """The event of a new sentence; `delta` is what it adds to the text."""
    space = " " if sentence.number > 1 and has_spaces(language) else ""
    return {"type": "transcript.text.delta", "delta": space + sentence.text} | as_row(sentence)


def end_event(job: Job, language: str) -> dict[str, Any]:
    """The last event of a job."""
    if job.state is State.DONE:
        return {"type": "transcript.text.done", "text": text_of(job, language)}
    return {"type": "error"} | job_row(job)
