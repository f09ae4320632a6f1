"""What the addresses of a server work with."""

from __future__ import annotations

from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any

from unglossed.server.engine import Engine
from unglossed.server.jobs import Jobs
from unglossed.server.metrics import Metrics
from unglossed.server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one server.

    Attributes:
        engine: Translates.
        jobs: The queue of uploads.
        metrics: What is counted.
        settings: Its bounds.
        webcams: How many more may be captioned.
    """

    engine: Engine
    jobs: Jobs
    metrics: Metrics
    settings: ServerSettings
    webcams: BoundedSemaphore


def services_of(request: Any) -> Services:
    """The services of the server that was asked by a request, or by a WebSocket."""
    found: Services = request.app.state.services
    return found
