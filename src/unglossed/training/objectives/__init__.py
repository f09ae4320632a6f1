"""Objectives: what a stage is trained for, one module each.

An objective says which parts a stage needs, how its batches are made, its loss, and its scores on
dev. Another package adds one with an entry point in the group `unglossed.objectives` that names a
subclass of `Objective`; recipes then use the entry point's name.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from unglossed.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from unglossed.training.job import Job
    from unglossed.training.settings import StageSettings

    Count = Tensor | float | None
    """What a sum is divided by: the tokens of the whole effective batch; None: those at hand."""

GROUP = "unglossed.objectives"
OURS = {
    "translation": "unglossed.training.objectives.translation:Translation",
    "denoising": "unglossed.training.objectives.translation:Denoising",
    "gloss_ctc": "unglossed.training.objectives.recognition:GlossCtc",
    "transcript_ctc": "unglossed.training.objectives.recognition:TranscriptCtc",
    "segmentation": "unglossed.training.objectives.segmentation:Segmentation",
    "reward": "unglossed.training.objectives.reward:Reward",
    "text_contrast": "unglossed.training.objectives.text_contrast:TextContrast",
    "vlp": "unglossed.training.objectives.alignment:VisualLanguagePretraining",
}
"""Where the objectives of this package are; each is imported when it is asked for."""


@dataclass(frozen=True)
class Task:
    """A stage's model, and what it is trained and scored on.

    Attributes:
        model: The model.
        dataset: Gives an item for (epoch, index); a `Collator` stacks items.
        scores: Scores the model on dev; None: the stage is not scored.
        num_workers: Processes that read the items.
    """

    model: Any
    dataset: Any
    scores: Callable[[], Mapping[str, float | None]] | None = None
    num_workers: int = 0


class Objective(ABC):
    """What a stage is trained for. Subclass it, or one of ours to change a part of it.

    Attributes:
        parts: Parts that the stage must have.
        adds: Further parts of the model, with learning rates of their own.
        settings: Settings of a stage that only some objectives read, such as `dev_beams`.
        signals: Kinds of clips that it is for.
        learns: What the clips of a corpus must be labelled with.
        masks_text: Whether sentences are masked, to be restored.
        smooths: Whether it reads `label_smoothing`.
        sums: Whether the loss is a sum over the rows of a batch, so that a batch can be split.
        languages: Whether it learns to write several languages, each where it is asked for.
        shards: Whether processes may share out its language model: each forward pass calls that
            once, as a whole, and nothing else reads its weights.
        frozen: Parts that have to be frozen.
        best: Score on dev by which the best checkpoint is chosen; None: the last one is kept.
        lowest: Whether the lowest score is the best.
        then: Loss on dev that decides where that score ties or is not defined; the lowest is best.
    """

    parts: ClassVar[tuple[str, ...]]
    adds: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[tuple[str, ...]] = ()
    signals: ClassVar[tuple[str, ...]] = ("video", "audio", "array", "streams")
    learns: ClassVar[Literal["text", "gloss", "transcript"]] = "text"
    masks_text: ClassVar[bool] = False
    smooths: ClassVar[bool] = True
    sums: ClassVar[bool] = True
    languages: ClassVar[bool] = False
    shards: ClassVar[bool] = False
    frozen: ClassVar[tuple[str, ...]] = ()
    best: ClassVar[str | None] = None
    lowest: ClassVar[bool] = False
    then: ClassVar[str] = "loss"

    @abstractmethod
    def build(self, job: Job) -> Task:
        """Build the stage's model, its dataset and its scores.

        The model comes from a builder in `build.py`, clips from `job.clips` and `job.items`, scores
        from `job.dev(model).scored(...)`.

        Raises:
            InputError: a part's source is neither a stage nor a loadable model, or does not fit.
        """

    def finish(self, model: Any) -> Any:
        """What is saved of a trained model: without what belongs to the training alone."""
        return model

    def beside(self, model: Any) -> Callable[[Path], None] | None:
        """What writes, beside a trained model, more of it than `finish` leaves; None: nothing."""
        return None

    @abstractmethod
    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            outputs: What the model's `forward` gave.
            batch: What it was given.
            stage: The stage's settings.
            count: What a sum over tokens is divided by.
        """


class Objectives(Mapping[str, Objective]):
    """All objectives by name: ours, and those of installed packages.

    Packages are searched when a name is not one of ours, or when all names are listed.

    Raises:
        InputError: an installed objective cannot be used.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Objective] = {}

    def __getitem__(self, name: str) -> Objective:
        if name not in self._loaded:
            if name in OURS:
                self._loaded[name] = pkgutil.resolve_name(OURS[name])()
            else:
                self._loaded[name] = _load(_installed()[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*OURS, *_installed()])

    def __len__(self) -> int:
        return len(OURS) + len(_installed())


def _installed() -> dict[str, EntryPoint]:
    """The objectives of installed packages."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.get(point.name)
        if point.name in OURS or (other is not None and other.value != point.value):
            by = f"by {other.value}" if other else "by unglossed"
            raise InputError(
                f"{point.value}: the objective {point.name!r} is defined {by} already: give the"
                f" entry point in {GROUP} another name"
            )
        found[point.name] = point
    return found


def _load(point: EntryPoint) -> Objective:
    where = f"objective {point.name!r} ({point.value})"
    try:
        kind = point.load()
    except Exception as error:  # of code that is not ours, any
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{where}: cannot be imported: {reason}") from error
    if not (isinstance(kind, type) and issubclass(kind, Objective)):
        raise InputError(
            f"{where}: found {kind!r:.80}, expected a subclass of"
            " unglossed.training.objectives.Objective"
        )
    try:
        return kind()
    except TypeError as error:  # an abstract method is missing
        raise InputError(f"{where}: {error}") from None


OBJECTIVES: Mapping[str, Objective] = Objectives()


def check_objective(name: str) -> str:
    """Check that there is an objective of this name, and give it back.

    Raises:
        InputError: there is none, or it cannot be used.
    """
    if name not in OBJECTIVES:
        raise InputError(
            f"found {name!r}, expected one of {', '.join(OBJECTIVES)}, or the name of an entry"
            f" point in {GROUP} of an installed package"
        )
    return name


def build_task(job: Job) -> Task:
    """Build a stage's model, dataset and scores; see `Objective.build`."""
    return OBJECTIVES[job.stage.objective].build(job)
