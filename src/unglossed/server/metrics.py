"""What the server counts, for Prometheus. No name, no address and no text is among it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of one server.

    Args:
        num_waiting: Asked for the length of the queue.
    """

    def __init__(self, num_waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "unglossed_requests",
            "Answers by address and status.",
            ["route", "status"],
            registry=registry,
        )
        self.jobs = Counter(
            "unglossed_jobs", "Uploads by how they ended.", ["state"], registry=registry
        )
        self.job_seconds = Histogram(
            "unglossed_job_seconds",
            "Seconds from the begin of an upload's translation to its end.",
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800),
            registry=registry,
        )
        self.media_seconds = Counter(
            "unglossed_media_seconds", "Seconds of uploads that were translated.", registry=registry
        )
        self.webcams = Gauge("unglossed_webcams", "Webcams at this moment.", registry=registry)
        self.dropped = Counter(
            "unglossed_live_frames_dropped",
            "Frames of webcams that came too fast.",
            registry=registry,
        )
        waiting = Gauge("unglossed_queue_length", "Uploads that wait.", registry=registry)
        waiting.set_function(num_waiting)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
