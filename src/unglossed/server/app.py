"""The app of a server: its addresses behind the guard, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import BoundedSemaphore

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from unglossed import __version__
from unglossed.inference import web
from unglossed.server import api, live
from unglossed.server.engine import Engine
from unglossed.server.guard import Guard
from unglossed.server.jobs import Job, Jobs
from unglossed.server.metrics import Metrics
from unglossed.server.problems import Problem, of_fault, of_status
from unglossed.server.services import Services
from unglossed.server.settings import ServerSettings

PAGE = Path(__file__).parent / "page"
# How frames are resized is one file of both pages.
_PIXELS = Path(web.__file__).parent / "page" / "pixels.js"


def create_app(engine: Engine, settings: ServerSettings) -> ASGIApp:
    """Make the app that serves a model.

    Raises:
        InputError: The settings are not safe, see `ServerSettings.check`.
    """
    settings.check()

    def count_end(job: Job, seconds: float) -> None:
        metrics.jobs.labels(job.state.value).inc()
        metrics.job_seconds.observe(seconds)
        metrics.media_seconds.inc(job.seconds_done)

    jobs = Jobs(engine.work, settings, count_end)
    metrics = Metrics(lambda: jobs.num_waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        jobs.close()

    app = FastAPI(
        title="unglossed", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    webcams = BoundedSemaphore(settings.webcams)
    app.state.services = Services(engine, jobs, metrics, settings, webcams)
    app.include_router(api.router)
    app.include_router(live.router)

    @app.get("/page/pixels.js", include_in_schema=False)
    async def pixels() -> Response:
        return FileResponse(_PIXELS)

    app.mount("/page", StaticFiles(directory=PAGE))

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    @app.exception_handler(Problem)
    async def told(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return of_status(error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> Response:
        return of_status(422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return of_fault().response()  # the framework raises the error on, and the guard prints it

    def count(route: str, status: int) -> None:
        metrics.requests.labels(route, str(status)).inc()

    return Guard(app, settings, count)
