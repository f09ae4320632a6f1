"""An upload as it comes in: bounded in size and time, known by its content, in a nameless file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, cast

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from unglossed.server.contents import HEAD, kind_of
from unglossed.server.nameless import NamelessFile
from unglossed.server.problems import Problem
from unglossed.server.settings import ServerSettings

_MOST_FIELDS = 16
_MOST_FIELD_BYTES = 4096
_MOST_NAME = 100
_UNWANTED = re.compile(r"[^\w .,()+&@=-]+")
# Around the file itself: boundaries, headers and the other fields.
_AROUND = 200_000


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file with the fields beside it.

    Attributes:
        content: Closed with the upload's end, and then gone.
        name: As the client calls it, for people alone.
        kind: Its kind of media, by its content.
        fields: The other fields of the form.
    """

    content: NamelessFile
    name: str
    kind: str
    fields: Mapping[str, str]

    def close(self) -> None:
        """Let go of the content."""
        self.content.close()


async def receive_upload(request: Request, settings: ServerSettings) -> Upload:
    """Receive a multipart form with one file in the field `file`, see `check_declared` for before.

    Raises:
        Problem: It is too large, too slow, no such form, or its file is no media that is read.
    """
    try:
        async with asyncio.timeout(settings.upload_seconds):
            form = await MultiPartParser(
                request.headers,
                cast(Any, _bounded(request, settings)),
                max_files=1,
                max_fields=_MOST_FIELDS,
                max_part_size=_MOST_FIELD_BYTES,
            ).parse()
    except TimeoutError:
        raise Problem(408, "upload_too_slow", "the upload took longer than allowed") from None
    except MultiPartException as error:
        told = error.message if error.message.isascii() else "it is malformed"
        raise Problem(400, "malformed_form", f"the form cannot be read: {told}") from None
    except (UnicodeError, LookupError):
        raise Problem(400, "malformed_form", "the form cannot be read in its charset") from None
    except ClientDisconnect:
        raise Problem(400, "disconnected", "the client has gone") from None
    except OSError:
        raise _no_space() from None
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if len(files) != 1 or files[0][0] != "file":
        for _, other in files:
            other.file.close()
        raise Problem(400, "no_file", "found no file in the field 'file', expected one")
    upload = files[0][1]
    try:
        upload.file.seek(0)
        kind = kind_of(upload.file.read(HEAD))
        if kind is None:
            raise Problem(
                415,
                "not_media",
                "the content is no video or audio file that is read, expected MP4, WebM, Matroska,"
                " AVI, MPEG, FLV, ASF, Ogg, WAV, FLAC or MP3",
            )
        file = upload.file
        file.fileno()  # has a small one written to a file, too
        upload.file.flush()
    except OSError:
        upload.file.close()
        raise _no_space() from None
    except BaseException:
        upload.file.close()
        raise
    return Upload(NamelessFile(file), shown_name(upload.filename or ""), kind, fields)


def _no_space() -> Problem:
    return Problem(507, "no_space", "the server has no room for the upload now")


def check_declared(request: Request, settings: ServerSettings) -> None:
    """Refuse by the headers what cannot be received, before its body is read.

    Raises:
        Problem: Its declared length is too large, or it is no multipart form.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or len(declared) > 18:
        raise Problem(400, "wrong_length", "Content-Length is not a number of bytes")
    if int(declared) > settings.max_bytes + _AROUND:
        raise _too_large(settings)
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise Problem(415, "no_form", "expected a form: Content-Type multipart/form-data")


async def _bounded(request: Request, settings: ServerSettings) -> AsyncIterator[bytes]:
    """The body in pieces, as long as they come in time and are not too many."""
    count = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(settings.idle_seconds):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        count += len(piece)
        if count > settings.max_bytes + _AROUND:
            raise _too_large(settings)
        yield piece


def _too_large(settings: ServerSettings) -> Problem:
    most = f"{settings.max_bytes / 1e6:.0f} MB"
    return Problem(413, "too_large", f"the upload is too large, expected at most {most}")


def shown_name(name: str) -> str:
    """A client's name for a file, for people to read: no folder, no odd sign, not long."""
    last = PureWindowsPath(PurePosixPath(name).name).name
    return _UNWANTED.sub("_", last).strip()[-_MOST_NAME:] or "upload"
