"""A run's folder: who may write into it, what it was begun with, and what a resume may change.

DIR/recipe.yaml   the resolved recipe, of which `begun` stages are fixed
DIR/run.json      corpus, lengths of its clips, versions, changes of the corpus that were accepted
DIR/corpus.json   by what the corpus is known again, see `fingerprint.py`
DIR/lock          held by the process that trains
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import transformers

import unglossed
from unglossed.config import write_settings
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError, note
from unglossed.files import RUN_FILE, exclusive, write_text
from unglossed.model_folders import verify_folder
from unglossed.training.checkpoint import LAST, checkpoints_of, reopen
from unglossed.training.fingerprint import FILE, Fingerprint, read_fingerprint
from unglossed.training.recipe import Recipe, read_resolved
from unglossed.training.settings import StageSettings

RECIPE_FILE = "recipe.yaml"
LOCK = "lock"
_LENGTHS = "trained_seconds"


def check_folder(output: Path, *, resume: bool) -> bool:
    """Check that a folder is a run's, or may become one; nothing is written.

    Returns:
        Whether the run is new. One that was killed before it wrote its recipe has trained nothing
        and begins anew.

    Raises:
        InputError: there is something else.
    """
    if resume and (output / RECIPE_FILE).is_file():
        return False
    begun = {LOCK}
    if resume:
        begun |= {RUN_FILE, f".{RUN_FILE}.partial", f".{RECIPE_FILE}.partial"}
    if output.exists() and (
        not output.is_dir() or any(file.name not in begun for file in output.iterdir())
    ):
        hint = f"no {RECIPE_FILE} in it to resume" if resume else "add --resume to go on with it"
        raise InputError(f"{output}: is not an empty folder ({hint})")
    return True


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Be the only process that trains in a run's folder, which is made; who reads is not hindered.

    A process that is killed lets go.

    Raises:
        InputError: another one trains there.
    """

    def refuse() -> NoReturn:
        raise InputError(
            f"{output / LOCK}: is held by another process that trains this run: wait until it ends,"
            " or end it"
        )

    with exclusive(output / LOCK, refuse):
        yield


def begin(output: Path, recipe: Recipe, corpus: Corpus, features: Path | None) -> None:
    """Note what a new run is begun with.

    Raises:
        InputError: one that was killed at once was to be trained on another corpus.
    """
    spec = corpus.spec
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        spec = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))["corpus"]
    if spec != corpus.spec:
        raise InputError(f"{output}: was trained on {spec}, not on {corpus.spec}")
    facts = {
        "corpus": corpus.spec,
        "notes": list(corpus.notes),
        "features": str(features.absolute()) if features else None,
        "unglossed": unglossed.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    _write_facts(output, facts)
    write_settings(recipe, output / RECIPE_FILE)


@dataclass
class Before:
    """What a run that is resumed was begun with.

    Attributes:
        output: Its folder.
        recipe: As its file has it.
        facts: Of `run.json`.
        fingerprint: Of its corpus; None: not noted.
        accept: Whether another corpus is gone on with.
        changes: In what the corpus differs, as far as it was looked at.
    """

    output: Path
    recipe: Recipe
    facts: dict[str, Any]
    fingerprint: Fingerprint | None
    accept: bool
    changes: list[str]

    @classmethod
    def read(cls, output: Path, *, accept: bool) -> Before:
        """Read it from a run's folder.

        Raises:
            InputError: a file is damaged or missing, and the corpus as it is was not accepted.
        """
        recipe = read_resolved(output / RECIPE_FILE)
        facts, fingerprint = {}, None
        try:
            facts = read_facts(output)
            fingerprint = read_fingerprint(output / FILE)
        except InputError as error:
            if not accept:
                raise
            note(f"{error}; it is written anew")
        return cls(output, recipe, facts, fingerprint, accept, [])

    @property
    def trained_seconds(self) -> dict[str, Any] | None:
        """Lengths of the clips of train, see `keep_lengths`; None: not known."""
        found = self.facts.get(_LENGTHS)
        return found if isinstance(found, dict) else None

    @property
    def num_begun(self) -> int:
        """How many stages, the first ones, have trained anything that is kept."""
        begun = [
            number
            for number, stage in enumerate(self.recipe.stages, start=1)
            if is_begun(stage_folder(self.output, number, stage))
        ]
        return max(begun, default=0)

    def check_recipe(self, recipe: Recipe) -> None:
        """Check that a recipe differs in nothing that was trained already.

        Stages that have not begun may differ, and of the last one that has its epochs may be more.
        So may the number of processes that read, which changes nothing but the time.

        Raises:
            InputError: it does; names the first difference.
        """
        begun = self.num_begun
        one, other = (_fixed(each, begun) for each in (self.recipe, recipe))
        if begun and len(recipe.stages) >= begun:
            before, now = one["stages"][-1], other["stages"][-1]
            if now["epochs"] > before["epochs"]:
                before["epochs"] = now["epochs"]
        if one != other:
            raise InputError(
                f"{self.output / RECIPE_FILE}: differs from the recipe given,"
                f" {_difference(one, other)}; resume with the same recipe and the same key=value"
                " changes: only stages that have not begun may change, and the last one that has"
                " may have more epochs"
            )
        if self.more_epochs(recipe):
            folder = stage_folder(self.output, begun, recipe.stages[begun - 1])
            if is_trained(folder) and not (folder / LAST).is_dir():
                reopen(folder)  # which says why it cannot

    def more_epochs(self, recipe: Recipe) -> bool:
        """Whether the last stage that has begun is to have more epochs than before."""
        begun = self.num_begun
        return begun > 0 and recipe.stages[begun - 1].epochs > self.recipe.stages[begun - 1].epochs

    def check_rows(self, corpus: Corpus, now: Fingerprint) -> None:
        """Check that a corpus has the rows that the run was begun with, wherever it lies.

        Raises:
            InputError: it has not; says which differ.
        """
        spec = self.facts.get("corpus", corpus.spec)
        moved = spec != corpus.spec
        if self.fingerprint is None:
            if moved and not self.accept:
                raise InputError(f"{self.output}: was trained on {spec}, not on {corpus.spec}")
            if self.num_begun:
                note(f"{self.output}: has no {FILE}: whether its corpus changed cannot be told")
            return
        kinds = [one.partition(":")[0] for one in (spec, corpus.spec)]
        changes = [f"its kind was {kinds[0]}, is {kinds[1]}"] if kinds[0] != kinds[1] else []
        changes += self.fingerprint.changes(now, generates=self.recipe.extra_texts is not None)
        self._refuse(changes, f"was trained on {spec}, not on {corpus.spec}" if moved else "")
        if moved and not changes:
            note(f"{self.output}: its corpus was {spec}, is {corpus.spec}, with the same rows")

    def check_media(self, now: Fingerprint) -> None:
        """Check that clips have the media that the run was begun with.

        Raises:
            InputError: they have not; says which differ.
        """
        if self.fingerprint is not None:
            self._refuse(self.fingerprint.media_changes(now), "")

    def _refuse(self, changes: list[str], moved: str) -> None:
        if not changes:
            return
        if not self.accept:
            found = moved or "its corpus changed since it was begun"
            raise InputError(
                f"{self.output}: {found}: {'; '.join(changes)}; restore it, or go on with the"
                " corpus as it is: --accept-changes"
            )
        self.changes += changes

    def write(self, recipe: Recipe, corpus: Corpus, now: Fingerprint) -> None:
        """Note what is resumed with, and have a stage that is to have more epochs go on.

        Raises:
            InputError: its last checkpoint is damaged.
        """
        facts = {**self.facts, "corpus": corpus.spec}
        if self.changes:
            told = "; ".join(self.changes)
            note(
                f"{self.output}: its corpus changed: {told}: stages that are trained, and the"
                " tokenizer, stay as they are"
            )
            facts["accepted"] = [*facts.get("accepted", []), told]
        if self.changes or self.fingerprint is None:
            now.write(self.output / FILE)
        if facts != self.facts:
            _write_facts(self.output, facts)
        if recipe == self.recipe:
            return
        if self.more_epochs(recipe):
            stage = recipe.stages[self.num_begun - 1]
            folder = stage_folder(self.output, self.num_begun, stage)
            before = self.recipe.stages[self.num_begun - 1].epochs
            note(
                f"stages.{stage.name}: trains {stage.epochs} epochs instead of {before}; the"
                " learning rates of those to come are as if it had been so from the start"
            )
            if is_trained(folder):
                reopen(folder)
        write_settings(recipe, self.output / RECIPE_FILE)


def keep_lengths(output: Path, lengths: dict[str, Any] | None) -> None:
    """Note how long the clips of train are, for a resume that does not look at them.

    Args:
        output: the run's folder.
        lengths: see `TrainedLengths`; None: not known.
    """
    facts = read_facts(output)
    if facts.get(_LENGTHS) != lengths:
        _write_facts(output, {**facts, _LENGTHS: lengths})


def stage_folder(output: Path, number: int, stage: StageSettings) -> Path:
    """Where a stage keeps what it writes; stages are numbered from 1."""
    return output / f"{number}-{stage.name}"


def is_trained(folder: Path) -> bool:
    """Whether a stage has its model."""
    return (folder / "model").is_dir()


def is_begun(folder: Path) -> bool:
    """Whether a stage has trained anything that is kept."""
    return is_trained(folder) or bool(checkpoints_of(folder))


def check_trained(folder: Path) -> None:
    """Check that the model of a stage is as it was written, before later stages build on it.

    Raises:
        InputError: see `verify_folder`.
    """
    try:
        verify_folder(folder / "model")
    except InputError as error:
        again = f"to train the stage again, delete {folder} and the folders of the stages after it"
        raise InputError(f"{error}; {again}") from None


def read_facts(output: Path) -> dict[str, Any]:
    """What `run.json` says.

    Raises:
        InputError: it is damaged or missing.
    """
    path = output / RUN_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(facts["corpus"], str) and isinstance(facts.get("features"), str | None):
            return dict(facts)
        reason = "is damaged"
    except FileNotFoundError:
        reason = "is missing"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = "is damaged"
    raise InputError(
        f"{path}: {reason}, expected what the run was begun with: --accept-changes goes on with the"
        " corpus that is given"
    )


def _write_facts(output: Path, facts: dict[str, Any]) -> None:
    write_text(output / RUN_FILE, json.dumps(facts, indent=2) + "\n")


def _fixed(recipe: Recipe, num_begun: int) -> dict[str, Any]:
    """What a resume must not change of a recipe."""
    fixed = recipe.model_dump(mode="json", exclude={"num_workers", "description"})
    return {**fixed, "stages": fixed["stages"][:num_begun]}


def _difference(one: Any, other: Any, place: str = "") -> str:
    """Says where two recipes differ first, and in what."""
    if isinstance(one, list) and isinstance(other, list):
        names, others = ([_name(item, i) for i, item in enumerate(each)] for each in (one, other))
        if names == others:
            one, other = dict(zip(names, one, strict=True)), dict(zip(names, other, strict=True))
        elif place == "stages":
            return f"{place} were {', '.join(names)}, are {', '.join(others)}"
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        key = next(key for key in one if one[key] != other[key])
        return _difference(one[key], other[key], f"{place}.{key}" if place else key)
    return f"{place} was {one}, is {other}"


def _name(item: Any, number: int) -> str:
    return str(item["name"]) if isinstance(item, dict) and "name" in item else str(number)
