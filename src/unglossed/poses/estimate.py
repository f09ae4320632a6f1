"""Estimate the poses of a corpus's clips: an array file for each, that `?features=` reads.

Clips are shared out among processes, each with an `Estimator` of its own. This one writes files,
whole, one a clip: what an interrupted call has left to do is what has no file. A clip that fails is
told, counted, and tried again by the next call.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from unglossed.corpora.output import locked, read_document, refuse_foreign, write_document
from unglossed.corpora.pack import require_frames, source_of
from unglossed.corpora.parallel import counting_bar, map_in_order, num_cores
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.media.array_files import write_array
from unglossed.media.array_settings import Told
from unglossed.media.frames import FRAME_RATE, open_frames
from unglossed.media.signal import check_frame_rate, frames_in_parts
from unglossed.media.skeletons import SKELETONS
from unglossed.poses.estimator import Died, Estimator, EstimatorSettings, Kind

MANIFEST = "poses.json"
"""The file in the folder that says how its poses were made."""
_MARK = "clip"  # array in a file of poses: checksum of what the clip was
_PARTS = ("body", "left_hand", "right_hand", "face")
_LONGEST_NAME = 255
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class PosesManifest(BaseModel):
    """How a folder's poses were made; written before the first.

    Attributes:
        version: Of the layout.
        source: Spec of the corpus, with whole paths.
        estimator: One of `KINDS`.
        library: Package that it runs, with its version.
        models: SHA-256 of each model.
        rate: Rows a second.
        points: Whether files have all points, or those that the skeleton's groups read.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    version: Literal[1] = 1
    source: str
    estimator: str
    library: str
    models: dict[str, str]
    rate: float
    points: Literal["all", "read"] = "all"


@dataclass
class Estimation:
    """What `estimate_poses` did; prints itself as the lines that end the work.

    Attributes:
        out: Folder of the poses.
        num_before: Clips that had poses already.
        num_new: Clips that have them now.
        num_frames: Frames of the new clips.
        num_found: Of these frames, those in which each part of a person was found.
        failed: Clips without poses: why, by id.
    """

    out: Path
    num_before: int = 0
    num_new: int = 0
    num_frames: int = 0
    num_found: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = f"{self.out}: poses of {self.num_new + self.num_before:,} clips"
        facts += f", {self.num_new:,} of them now" if self.num_new else ", all made before"
        if self.failed:
            facts += f"; {len(self.failed):,} failed"
        if self.num_frames:
            shares = (
                f"{name.replace('_', ' ')} {self.num_found[name] / self.num_frames:.1%}"
                for name in _PARTS
            )
            facts += f"\nfound in {self.num_frames:,} frames: {', '.join(shares)}"
        return facts


def estimate_poses(
    spec: str,
    out: Path,
    settings: EstimatorSettings,
    *,
    splits: Sequence[str] | None = None,
    rate: float = FRAME_RATE,
    only_read: bool = False,
    num_workers: int | None = None,
    progress: bool = True,
) -> Estimation:
    """Write the poses of a corpus's clips to `out/SPLIT/ID.npz`.

    Each file has an array `values` (time, points, channels), and tells its rate, points, channels,
    units and the picture's size, see `array_files`. After an interruption the same call goes on.
    Files do not depend on interruptions or on the number of processes.

    Args:
        spec: Corpus of video.
        out: Folder to write to; new, empty, or of an earlier call with the same settings.
        settings: The estimator.
        splits: Splits to read; None for all.
        rate: Rows a second: the frames nearest in time are read.
        only_read: Write the points alone that the skeleton's groups read, a sixth of MediaPipe's.
        num_workers: Processes, each with an estimator; None: as many as cores let run.
        progress: Show a bar on stderr.

    Raises:
        InputError: The corpus has no frames, a model or the environment is not as it must be, or
            `out` holds something else: poses of another corpus, or made in another way; or another
            process is writing into it.
    """
    models = settings.verify()
    rate = check_frame_rate(rate, "--rate")
    corpus = read_corpus(spec)
    corpus.require_media("`poses`")
    samples = list(chain(*(corpus.split(name) for name in splits or corpus.splits)))
    require_frames(spec, samples)
    with Estimator(settings) as estimator:  # what it lacks is told before anything is written
        plan = PosesManifest(
            source=source_of(spec),
            estimator=settings.name,
            library=estimator.library,
            models=models | estimator.models,
            rate=rate,
            points="read" if only_read else "all",
        )
    refuse_foreign(out, (MANIFEST,))
    done = Estimation(out)
    try:
        with locked(out, "writing poses"):
            _begin(plan, out / MANIFEST)
            output = _Output(done, plan, settings.kind, corpus.root)
            left = []
            for sample in samples:
                path, fault = _place(out, sample)
                if fault is not None:
                    output.fail(sample, fault)
                elif _mark_in(path) == _mark_of(sample, corpus.root):
                    done.num_before += 1
                else:
                    left.append(sample)
            work = _Work(settings, rate)
            most = max(1, num_cores() // settings.kind.cores)
            workers = min(num_workers or most, len(left))
            with (
                counting_bar(progress) as bar,
                closing(work),
                closing(map_in_order(work, left, workers)) as results,
            ):
                task = bar.add_task("poses", total=len(samples), completed=len(samples) - len(left))
                for sample, one in zip(left, results, strict=True):
                    output.add(sample, one)
                    bar.advance(task)
    except OSError as error:
        raise InputError(
            f"{error.filename or out}: estimating poses stopped: {error.strerror}"
        ) from error
    return done


def _begin(plan: PosesManifest, path: Path) -> None:
    """Compare the manifest that is there with what is wanted, or write it."""
    if not path.is_file():
        write_document(plan, path)
        return
    before = read_document(PosesManifest, path)
    for name in PosesManifest.model_fields:
        found, wanted = getattr(before, name), getattr(plan, name)
        if found == wanted:
            continue
        if name == "models":
            changed = sorted({*found, *wanted}, key=lambda one: found.get(one) == wanted.get(one))
            found, wanted = ({changed[0]: models.get(changed[0])} for models in (found, wanted))
        raise InputError(
            f"{path}: poses were made with {name} {found!r}, not {wanted!r}: expected the same"
            " corpus and settings as then, or another folder"
        )


@dataclass(frozen=True)
class _Done:
    """What became of a clip: its points and its pictures' width and height, or an error."""

    values: NDArray[np.float32] | None = None
    size: tuple[int, int] = (0, 0)
    error: str | None = None


class _Output:
    """Writes the poses of clips, and counts them."""

    def __init__(self, done: Estimation, plan: PosesManifest, kind: Kind, root: Path) -> None:
        self.done, self.plan, self.kind, self.root = done, plan, kind, root
        skeleton = SKELETONS[kind.skeleton]
        places = {name: place for place, name in enumerate(skeleton.points)}
        groups = {**skeleton.groups, "face": skeleton.groups["face"] + skeleton.groups["mouth"]}
        self._parts = {part: [places[name] for name in groups[part]] for part in _PARTS}
        self._names = skeleton.used if plan.points == "read" else skeleton.points
        self._kept = [places[name] for name in self._names]

    def add(self, sample: Sample, one: _Done) -> None:
        """Write a clip's poses, or tell why there are none."""
        if one.values is None:
            self.fail(sample, str(one.error))
            return
        told = Told(
            rate=self.plan.rate,
            channels=self.kind.channels,
            points=self._names,
            units=self.kind.units,
            width=one.size[0],
            height=one.size[1],
        )
        path, _ = _place(self.done.out, sample)
        mark = _mark_of(sample, self.root)
        write_array(path, one.values[:, self._kept], told, **{_MARK: mark})
        self.done.num_new += 1
        self.done.num_frames += len(one.values)
        seen = ~np.isnan(one.values[..., 0])
        for part, places in self._parts.items():
            self.done.num_found[part] += int(seen[:, places].any(axis=1).sum())

    def fail(self, sample: Sample, reason: str) -> None:
        """Count a clip without poses, and tell it."""
        self.done.failed[sample.id] = reason
        note(f"no poses of {sample.id!r}: {reason}")


class _Work:
    """Estimates the poses of one clip after another; each process has its own estimator."""

    def __init__(self, settings: EstimatorSettings, rate: float) -> None:
        self.settings, self.rate = settings, rate
        self._running: Estimator | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_running": None}

    def __call__(self, sample: Sample) -> _Done:
        try:
            return _Done(*self._estimate(sample))
        except Died as error:
            self.close()  # the next clip gets a new one
            return _Done(error=str(error))
        except (InputError, OSError) as error:
            return _Done(error=str(error))

    def _estimate(self, sample: Sample) -> tuple[NDArray[np.float32], tuple[int, int]]:
        """Points of a clip (time, points, channels), and its pictures' width and height."""
        if self._running is None:
            self._running = Estimator(self.settings)
        frames = open_frames(sample.media, sample.frame_rate)
        grid = frames.indices_at(self.rate, sample.start_seconds, sample.end_seconds)
        kept, repeated = np.unique(grid, return_inverse=True)
        self._running.begin()
        rows, sizes = [], set()
        for pictures in frames_in_parts(sample, kept):
            sizes.add((pictures.shape[2], pictures.shape[1]))
            if len(sizes) > 1:
                found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
                raise InputError(
                    f"{sample.media}: found frames of different sizes ({found}), expected one size"
                )
            rows += [self._running.points(picture) for picture in pictures]
        return np.stack(rows)[repeated], sizes.pop()

    def close(self) -> None:
        """End the estimator, if one runs."""
        if self._running is not None:
            self._running.close()
            self._running = None


def _place(out: Path, sample: Sample) -> tuple[Path, str | None]:
    """Where a clip's poses go, and why they cannot be found there by its id, if so."""
    parts = PurePosixPath(sample.split, f"{sample.id}.npz").parts
    path = out.joinpath(*parts)
    names = [sample.split, *sample.id.split("/")]
    if (
        any(not name or name.startswith(".") or "\0" in name for name in names)
        or len(f"{names[-1]}.npz.partial".encode()) >= _LONGEST_NAME
    ):
        return path, (
            f"found the id {sample.id[:60]!r} in split {sample.split!r}, expected one that can be"
            " the name of a file: not empty, without a dot at its beginning, of at most 240 bytes"
        )
    return path, None


def _mark_of(sample: Sample, root: Path) -> str:
    """A checksum of what a clip is, but for its text and the folder that its corpus lies in."""
    facts = [
        os.path.relpath(sample.media, root),
        sample.start_seconds,
        sample.end_seconds,
        sample.box,
        sample.frame_rate,
        sample.deinterlace,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _mark_in(path: Path) -> str | None:
    """The checksum in a file of poses; None: there is none, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file[_MARK])
    except _UNREADABLE:
        return None
