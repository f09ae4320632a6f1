"""`unglossed extract --ray`: the same encoding and the same store, by actors of a Ray cluster.

The driver finds out what is missing and hands out clips by their rows; an actor reads them, encodes
them and writes shards itself, so that neither pixels nor features pass through Ray. What was done
is what the store has: Ray keeps no list of its own. Training on Ray is another matter.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from unglossed.errors import InputError, note
from unglossed.models.encoder import Encoder
from unglossed.models.frozen import Engine, engine_of, fast_encoder
from unglossed.training.data import ClipDataset, EpochIndex, Unreadable
from unglossed.training.encoding import Pace, encode_clips
from unglossed.training.features import FeatureCache, Wanted
from unglossed.training.shards import Shards
from unglossed.training.storage import storage_at

AUTO, LOCAL = "auto", "local"
"""Instead of an address: the cluster that is there, or else a local one; always a local one."""
_DEFAULTS = {
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",
}
"""What Ray says of its own work goes to its log files; we say what matters. Workers of a cluster
that is started here give way to others no more than the command does: Ray (2.60) adds 15 to their
niceness, and beside a busy process a training would hardly move."""
_ANSWER_SECONDS = 10.0
_MOST_AT_ONCE = 64  # clips that an actor is handed
_TURNS = 4  # or so many that each actor gets this many handfuls
_MOST_DEATHS = 3
_ACTORS_A_GPU = 4  # each reads on a core of its own, while others encode


def import_ray() -> Any:
    """Ray with its data library.

    Raises:
        InputError: it is not installed.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"--ray: found no package {error.name}: pip install 'unglossed[cluster]'"
        ) from None
    return ray


@contextmanager
def connected(address: str, num_workers: int | None = None) -> Iterator[Cluster]:
    """A cluster that computes in the block.

    Args:
        address: As `ray.init` takes it, or `AUTO` or `LOCAL`.
        num_workers: Actors; None: as many as there are cores, or four a GPU.

    Raises:
        InputError: Ray is not installed, or there is no cluster.
    """
    ray = import_ray()
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        settings["include_dashboard"] = False
        if num_workers is not None:
            settings["num_cpus"] = num_workers
    mine = not ray.is_initialized()
    if mine:
        _check_reachable(os.environ.get("RAY_ADDRESS", "") if address == AUTO else address)
        try:
            ray.init(None if address == AUTO else address, **settings)
        except Exception as error:
            said = " ".join(str(error).split())
            raise InputError(f"--ray {address}: no cluster can be reached: {said}") from None
    try:
        found = ray.cluster_resources()
        num_gpus = int(found.get("GPU", 0))
        most = num_gpus * _ACTORS_A_GPU or max(1, int(found.get("CPU", 1)))
        yield Cluster(num_workers or most, 1 / _ACTORS_A_GPU if num_gpus else 0.0)
    finally:
        if mine:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse `host:port` where nobody answers: Ray tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isascii() and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"--ray {address}: no cluster can be reached: {error}") from None


@dataclass(frozen=True)
class Cluster:
    """Encodes on a cluster that this process is connected to.

    Attributes:
        num_workers: Actors.
        gpus: That each takes.
    """

    num_workers: int
    gpus: float

    @property
    def engine(self) -> Engine | None:
        """What computes on it; None: what would compute here."""
        return Engine.TORCH if self.gpus else None

    def compute(
        self, wanted: Wanted, todo: dict[EpochIndex, str], pace: Pace
    ) -> Iterator[tuple[EpochIndex, Unreadable | None]]:
        """See `features.Compute`.

        Raises:
            InputError: the cluster failed.
        """
        ray = import_ray()
        ray.data.DataContext.get_current().enable_progress_bars = False
        by_clip: dict[int, dict[int, str]] = defaultdict(dict)
        for (view, index), name in todo.items():
            by_clip[index][view] = name
        rows = [
            {"clip": pickle.dumps((index, wanted.clips.samples[index], views))}
            for index, views in by_clip.items()
        ]
        at_once = min(_MOST_AT_ONCE, math.ceil(len(rows) / (_TURNS * self.num_workers)))
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        tally = (
            ray.remote(Tally)
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
            .remote()
        )
        clips = copy.copy(wanted.clips)
        clips.samples = []
        work = ActorWork(
            *(wanted.cache, copy.deepcopy(wanted.encoder).cpu(), clips),
            key=wanted.key,
            bfloat16=wanted.bfloat16,
            engine=engine_of(wanted.form),
        )
        done = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / at_once))
        done = done.map_batches(
            Actor,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=self.num_workers, initial_size=self.num_workers
            ),
            fn_constructor_args=(ray.put(work), tally),
            num_cpus=1,
            num_gpus=self.gpus or None,
        )
        try:
            for row in done.iter_rows():
                index, deaths = row["index"], row["deaths"]
                sample = wanted.clips.samples[index]
                if deaths:
                    note(f"{sample.split} clip {sample.id!r}: its worker died, {deaths} times")
                pace.add(Pace(row["num_clips"], row["num_units"], row["seconds"], row["waited"]))
                for view in by_clip[index]:
                    reason = row["reason"]
                    fault = Unreadable(sample.id, sample.split, reason) if reason else None
                    yield (view, index), fault
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]  # behind the traceback on the other machine
            said = last.removeprefix(f"{InputError.__module__}.{InputError.__name__}: ")
            raise InputError(f"the cluster failed: {said}") from error
        finally:
            wanted.look()


class Tally:
    """Counts how often a clip was begun and not ended; Ray itself tries again without end."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}

    def begin(self, name: str) -> int:
        """Begin something; returns how often it was begun before and not ended."""
        self.begun[name] = self.begun.get(name, 0) + 1
        return self.begun[name] - 1

    def end(self, name: str) -> None:
        """End what was begun."""
        self.begun.pop(name, None)


@dataclass(frozen=True)
class ActorWork:
    """What an actor has to know.

    Attributes:
        cache: Where features are stored.
        encoder: On the CPU.
        clips: A dataset without clips.
        key: Of the features' settings.
        bfloat16: Compute in bfloat16.
        engine: What is to compute them.
    """

    cache: FeatureCache
    encoder: Encoder
    clips: ClipDataset
    key: str
    bfloat16: bool
    engine: Engine


class Actor:
    """Reads, encodes and stores clips, one after the other: what kills it is known by its name.

    Raises:
        InputError: this node computes with another engine than the driver.
    """

    def __init__(self, work: Any, tally: Any) -> None:
        import ray

        self.ray, self.tally = ray, tally
        self.work: ActorWork = ray.get(work) if isinstance(work, ray.ObjectRef) else work
        torch.set_num_threads(1)
        encoder = self.work.encoder.eval()
        if self.work.engine is Engine.TORCH:
            self.form = encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        else:
            self.form = fast_encoder(encoder, bfloat16=self.work.bfloat16)
        if (found := engine_of(self.form)) is not self.work.engine:
            raise InputError(
                f"{socket.gethostname()}: computes features by {found}, expected"
                f" {self.work.engine}, as where the work was begun"
            )
        storage = storage_at(self.work.cache.folder) / self.work.key
        self.shards = Shards(storage, self.work.key, ())
        self.shards.look(check=False)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Encode and store clips; gives for each what became of it."""
        clips: list[tuple[int, Any, dict[int, str]]] = [pickle.loads(row) for row in batch["clip"]]
        handful = f"handful {clips[0][0]}"
        if self._begin(handful):  # an actor died over it, and may have stored some
            self.shards.look(check=False)
        done: list[dict[str, Any]] = []
        for _ in self.work.cache.store(self.shards, self._encoded(clips, done)):
            pass
        self.tally.end.remote(handful)
        return {name: [row[name] for row in done] for name in done[0]}

    def _begin(self, name: str) -> int:
        found: int = self.ray.get(self.tally.begin.remote(name))
        return found

    def _encoded(
        self, clips: list[tuple[int, Any, dict[int, str]]], done: list[dict[str, Any]]
    ) -> Iterator[tuple[str, Any]]:
        """Features by name; `done` gets a row for each clip."""
        for index, sample, views in clips:
            deaths = self._begin(str(index))
            pace, reason = Pace(), ""
            if deaths >= _MOST_DEATHS:
                reason = f"{sample.media}: {deaths} workers died over it"
                views = {}
            dataset = copy.copy(self.work.clips)
            dataset.samples = [sample]
            todo = {view: name for view, name in views.items() if name not in self.shards.names}
            rows = encode_clips(
                *(self.form, dataset, [(view, 0) for view in todo]),
                bfloat16=self.work.bfloat16,
                go_on=True,
                pace=pace,
            )
            for name, row in zip(todo.values(), rows, strict=True):
                reason = row.reason if isinstance(row, Unreadable) else reason
                yield name, row
            self.tally.end.remote(str(index))
            done.append({"index": index, "deaths": deaths, "reason": reason, **vars(pace)})
