"""What a worker process does: train one stage and score what it gave, and note what it took.

NODE/recipe.yaml   the recipe that ends with the stage
NODE/taken.json    folders of the earlier stages' models, which are taken over
NODE/run/          the run, see `training/train.py`
NODE/scores/       predictions and scores by split
NODE/usage.json    seconds and memory, calls that were ended included
NODE/log.txt       what the training printed
NODE/lock          held by the process that works here
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
import yaml

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from unglossed.errors import InputError, one_line
from unglossed.evaluation.evaluate import evaluate
from unglossed.files import exclusive, write_text
from unglossed.memory import save_memory
from unglossed.reproduce.graph import RUN, SCORED, Graph, Node
from unglossed.reproduce.weights import is_whole
from unglossed.signals import STOPS, stopped_by, take_interrupts_once
from unglossed.training.checkpoint import forget, read_json
from unglossed.training.recipe import read_resolved
from unglossed.training.train import train_recipe

RECIPE, TAKEN, USAGE = "recipe.yaml", "taken.json", "usage.json"
LOG, LOCK = "log.txt", "lock"
BUSY, WRONG, SIGNALLED = 75, 2, 128
"""Exit codes: another process works on the node; the input is wrong; ended by a signal."""
_BEAT_SECONDS = 10.0
_KIB = 1024


@dataclass(frozen=True)
class Work:
    """A node's work, as its process needs it."""

    folder: Path
    run: Path
    stage_folder: Path
    scores: Path | None
    split: str | None
    corpus: str
    features: Path | None
    num_threads: int


def claim(node: Node, graph: Graph) -> bool:
    """Write down what a node's run is begun with, where nobody did; the stages before it are done.

    Returns:
        Whether nobody else works on the node.
    """
    try:
        with exclusive(node.folder / LOCK, _refuse):
            if not (node.folder / TAKEN).is_file():
                _prepare(node, graph)
    except _Busy:
        return False
    return True


def _prepare(node: Node, graph: Graph) -> None:
    told = node.recipe.model_dump(mode="json", exclude_unset=True)  # the rest may have no effect
    write_text(node.folder / RECIPE, yaml.safe_dump(told, sort_keys=False, allow_unicode=True))
    folders = {
        name: os.path.relpath(graph.nodes[key].model, node.folder)
        for name, key in node.taken.items()
    }
    write_text(node.folder / TAKEN, json.dumps(folders, indent=2) + "\n")


def read_usage(folder: Path) -> dict[str, float]:
    """What a node took so far.

    `seconds` and `scoring_seconds` of time, `cpu_seconds` and `scoring_cpu_seconds` of processors,
    `memory` and `gpu_memory` in bytes.
    """
    try:
        found = json.loads((folder / USAGE).read_text(encoding="utf-8"))
        numbers = {str(key): float(value) for key, value in found.items()}
        return {key: value for key, value in numbers.items() if math.isfinite(value)}
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
    ):  # not yet written, or damaged
        return {}


def perform(work: Work) -> NoReturn:
    """Do a node's work in this process, which then ends with a code."""
    take_interrupts_once()
    save_memory()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # what started us may have blocked them
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(work.num_threads)
    try:
        with exclusive(work.folder / LOCK, _refuse):
            code = _logged(work)
    except _Busy:
        code = BUSY
    sys.exit(code)


class _Busy(Exception):
    """Another process works on the node."""


def _refuse() -> NoReturn:
    raise _Busy


def _logged(work: Work) -> int:
    with (work.folder / LOG).open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    try:
        _train_and_score(work)
    except KeyboardInterrupt as error:
        print("; ".join(["stopped", *map(str, error.args)]), file=sys.stderr)
        return SIGNALLED + (stopped_by() or 2)
    except (InputError, OSError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return WRONG
    return 0


def _train_and_score(work: Work) -> None:
    taken = read_json(work.folder / TAKEN)
    _drop_damaged(work.run)
    trained = (work.run / "model").is_dir() and (work.stage_folder / "model").is_dir()
    if not trained:
        earlier = [stage.name for stage in read_resolved(work.folder / RECIPE).stages[:-1]]
        with _measured(work.folder):
            train_recipe(
                work.folder / RECIPE,
                work.corpus,
                work.run,
                resume=True,
                features=work.features,
                trained={name: work.folder / path for name, path in taken.items()},
                unneeded=set(earlier) - taken.keys(),
            )
    forget(work.stage_folder)  # no more epochs are trained, and checkpoints are large
    if work.scores is None or work.split is None:
        return
    if not (work.scores / SCORED).is_file():
        with _measured(work.folder, "scoring_"):
            evaluate(work.run, work.corpus, work.split, work.scores)


def _drop_damaged(run: Path) -> None:
    """Delete a run's models that somebody cut or of which files are gone: they are made again."""
    for model in (*run.glob("*-*/model"), run / "model"):
        if model.is_dir() and not is_whole(model):
            print(f"{model}: files are missing or cut: it is made again", file=sys.stderr)
            shutil.rmtree(model)


@contextmanager
def _measured(folder: Path, prefix: str = "") -> Iterator[None]:
    """Add what the block takes to what earlier calls took, and note the most memory of all.

    It is written every few seconds: what a killed process took is not lost.
    """
    before = read_usage(folder)
    start, done = _clocks(), threading.Event()

    def write() -> None:
        now: dict[str, float] = dict(before)
        for name, seconds in _clocks().items():
            key = prefix + name
            now[key] = round(before.get(key, 0.0) + seconds - start[name], 1)
        for name, found in _peaks().items():
            now[name] = max(before.get(name, 0), found)
        write_text(folder / USAGE, json.dumps(now) + "\n")

    def beat() -> None:
        while not done.wait(_BEAT_SECONDS):
            write()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        write()


def _clocks() -> dict[str, float]:
    """Seconds that passed, and seconds of processors that this process and its own took."""
    took = os.times()
    busy = took.user + took.system + took.children_user + took.children_system
    return {"seconds": time.monotonic(), "cpu_seconds": busy}


def _peaks() -> dict[str, int]:
    """The most memory of this process so far, in bytes."""
    found = {}
    if resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["memory"] = peak if sys.platform == "darwin" else peak * _KIB
    if torch.cuda.is_available():
        found["gpu_memory"] = torch.cuda.max_memory_allocated()
    return found


def work_of(node: Node, corpus: str, features: Path, num_threads: int) -> Work:
    """A node's work."""
    return Work(
        node.folder,
        node.folder / RUN,
        node.stage_folder,
        None if node.split is None else node.scores,
        node.split,
        corpus,
        features if any(stage.feature_views for stage in node.recipe.stages) else None,
        num_threads,
    )
