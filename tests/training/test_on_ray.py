"""Training on a Ray cluster of this machine; skipped where Ray is not installed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tiny
from unglossed.errors import InputError

pytest.importorskip("ray.data")

from unglossed.training.on_ray import train_on_ray

pytestmark = pytest.mark.slow

TINY = str(Path(__file__).parents[1] / "end_to_end" / "tiny.yaml")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 7, 3)


def workers() -> list[int]:
    """Processes of Ray that train."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::RayTrainWorker"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@contextmanager
def killed_after(mark: Path) -> Iterator[list[int]]:
    """Kill one of the processes that train when something is there."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            if mark.exists() and (there := workers()):
                os.kill(there[-1], signal.SIGKILL)
                killed.append(there[-1])
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_a_killed_worker_costs_its_work_in_flight_alone(corpus: str, tmp_path: Path) -> None:
    changes = ["stages.visual_initialing.batch_size=3", "stages.visual_initialing.epochs=8"]
    settings = {"resume": False, "overrides": changes, "save_every": "2"}
    train_on_ray("local", 2, TINY, corpus, tmp_path / "whole", **settings)
    began = time.monotonic()

    with killed_after(tmp_path / "run" / "2-visual_initialing" / "checkpoint-3") as killed:
        train_on_ray("local", 2, TINY, corpus, tmp_path / "run", **settings)

    assert killed, f"nobody was killed in {time.monotonic() - began:.0f} s"
    for name in ("1-pretraining", "2-visual_initialing", "3-llm_fine_tuning"):
        for file in ("metrics.jsonl", "model/model.safetensors"):
            one, other = (tmp_path / run / name / file for run in ("whole", "run"))
            assert one.read_bytes() == other.read_bytes(), f"{name}/{file}"


def test_a_mistake_is_no_reason_to_try_again(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="epochs"):
        train_on_ray(
            *("local", 2, TINY, corpus, tmp_path / "run"),
            resume=False,
            overrides=["stages.pretraining.epochs=0"],
        )
    assert not (tmp_path / ".run.ray").exists()
