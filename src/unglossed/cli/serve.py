"""The verb `unglossed serve`: a page, an API and live captions of a model."""

from __future__ import annotations

from typing import Annotated

import typer

from unglossed.cli.common import ModelName, PrecisionName, quick_imports, silence_loading
from unglossed.errors import InputError

_SECONDS = 60.0


def serve(
    model: ModelName,
    segmenter: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="What finds sentences; without it motion does."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="UNGLOSSED_TOKEN",
            show_envvar=False,
            help="What clients have to send. Better given as the variable UNGLOSSED_TOKEN: other"
            " users of this machine see an option.",
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that a reverse proxy passes on; needs a token."),
    ] = None,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Of an upload.")] = 500,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Of its video or audio.")] = 60.0,
    queue: Annotated[int, typer.Option(min=1, help="Uploads at one time.")] = 8,
    webcams: Annotated[int, typer.Option(min=0, help="Live captions at one time.")] = 2,
    precision: PrecisionName = "float32",
) -> None:
    """Serve a page for videos and for the webcam, and an API, until Ctrl-C.

    Uploads are deleted when they have been translated. Needs the extra `server`.
    """
    from unglossed.server.settings import ServerSettings

    settings = ServerSettings(
        host=host,
        port=port,
        token=token or None,
        allowed_hosts=tuple(allowed_host or ()),
        max_bytes=max_megabytes * 1_000_000,
        max_seconds=max_minutes * _SECONDS,
        queue=queue,
        webcams=webcams,
    )
    settings.check()
    with quick_imports():
        try:
            from unglossed.server.run import serve as serve_model
        except ModuleNotFoundError as error:
            raise InputError(
                f"serve: {error.name} is not installed: pip install 'unglossed[server]'"
            ) from error
    silence_loading()

    def told(address: str) -> None:
        print(f"unglossed serves {model} at {address} (Ctrl-C ends it)", flush=True)

    serve_model(model, settings, segmenter=segmenter, precision=precision, on_ready=told)
