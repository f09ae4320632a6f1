"""A run's folder: who may write into it, what it was begun with, and what a resume may change.

DIR/recipe.yaml   the resolved recipe, of which `begun` stages are fixed
DIR/run.json      corpus, lengths of its clips, versions, changes of the corpus that were accepted
DIR/corpus.json   checksums of the rows and media of train and dev, see `fingerprint.py`
DIR/lock          held by the process that trains
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
import transformers

import unglossed
from unglossed.config import write_settings
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError, note
from unglossed.files import RUN_FILE, exclusive, verify_folder, write_text
from unglossed.training.checkpoint import LAST, checkpoints_of, read_json, reading, reopen
from unglossed.training.fingerprint import FINGERPRINT_FILE, Fingerprint
from unglossed.training.recipe import Recipe, read_resolved
from unglossed.training.settings import StageSettings
from unglossed.training.storage import Place, absolute, as_place

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
    """Be the only process that trains in a run's folder, which is made; others may read it.

    A process that is killed releases the lock.

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


def begin(output: Path, recipe: Recipe, corpus: Corpus, features: Place | None) -> None:
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
        "features": absolute(features) if features else None,
        "unglossed": unglossed.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    _write_facts(output, facts)
    write_settings(recipe, output / RECIPE_FILE)


def stage_folder(output: Path, number: int, stage: StageSettings) -> Path:
    """Where a stage keeps what it writes; stages are numbered from 1."""
    return output / f"{number}-{stage.name}"


def is_trained(folder: Path) -> bool:
    """Whether a stage has its model."""
    return (folder / "model").is_dir()


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


def keep_lengths(output: Path, lengths: dict[str, Any] | None) -> None:
    """Note how long the clips of train are (see `TrainedLengths`), for a resume without a check."""
    facts = _read_facts(output)
    if facts.get(_LENGTHS) != lengths:
        _write_facts(output, {**facts, _LENGTHS: lengths})


def _read_facts(output: Path) -> dict[str, Any]:
    path = output / RUN_FILE
    expected = "what the run was begun with: --accept-changes goes on with the corpus that is given"
    facts = read_json(path, expected)
    with reading(path, expected):
        features = facts.get("features")
        if not (isinstance(facts["corpus"], str) and isinstance(features, str | None)):
            raise TypeError
    return facts


def _write_facts(output: Path, facts: dict[str, Any]) -> None:
    write_text(output / RUN_FILE, json.dumps(facts, indent=2) + "\n")


@dataclass
class Before:
    """What a run that is resumed was begun with.

    Attributes:
        output: Its folder.
        recipe: As its file has it.
        facts: Of `run.json`.
        fingerprint: Of its corpus; None: not noted.
        accept: Whether to go on with a corpus that changed.
        changes: What changed in the corpus, as far as it was checked.
    """

    output: Path
    recipe: Recipe
    facts: dict[str, Any]
    fingerprint: Fingerprint | None
    accept: bool
    changes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, output: Path, *, accept: bool) -> Before:
        """Read it from a run's folder.

        Raises:
            InputError: a file is damaged or missing, and the corpus as it is was not accepted.
        """
        recipe = read_resolved(output / RECIPE_FILE)
        facts, fingerprint = {}, None
        try:
            facts = _read_facts(output)
            fingerprint = Fingerprint.read(output / FINGERPRINT_FILE)
        except InputError as error:
            if not accept:
                raise
            note(f"{error}; it is written anew")
        return cls(output, recipe, facts, fingerprint, accept)

    @property
    def features(self) -> Place | None:
        """Where the run has its features, if it was given a folder for them."""
        folder = self.facts.get("features")
        return as_place(folder, "features") if folder else None

    @property
    def trained_seconds(self) -> dict[str, Any] | None:
        """Lengths of the clips of train, see `keep_lengths`; None: not known."""
        found = self.facts.get(_LENGTHS)
        return found if isinstance(found, dict) else None

    @property
    def num_begun(self) -> int:
        """How many stages, the first ones, have trained anything that is kept."""
        numbers = range(1, 1 + len(self.recipe.stages))
        folders = {number: self._folder(number) for number in numbers}
        begun = [n for n, path in folders.items() if is_trained(path) or checkpoints_of(path)]
        return max(begun, default=0)

    def _folder(self, number: int) -> Path:
        return stage_folder(self.output, number, self.recipe.stages[number - 1])

    def more_epochs(self, recipe: Recipe) -> bool:
        """Whether the last stage that has begun gets more epochs than before."""
        begun = self.num_begun
        return begun > 0 and recipe.stages[begun - 1].epochs > self.recipe.stages[begun - 1].epochs

    def check_recipe(self, recipe: Recipe) -> None:
        """Check that a recipe changes nothing that is trained already.

        Stages that have not begun may change, and the last one that has may have more epochs. So
        may the number of processes that read, which changes only the time.

        Raises:
            InputError: it does; names the first difference.
        """
        begun = self.num_begun
        one, other = (_fixed(each, begun) for each in (self.recipe, recipe))
        if begun and len(recipe.stages) >= begun:
            before, now = one["stages"][-1], other["stages"][-1]
            before["epochs"] = max(before["epochs"], now["epochs"])
        if one != other:
            raise InputError(
                f"{self.output / RECIPE_FILE}: differs from the recipe given,"
                f" {_difference(one, other)}; resume with the same recipe and the same key=value"
                " changes: only stages that have not begun may change, and the last one that has"
                " may have more epochs"
            )
        if self.more_epochs(recipe):
            folder = self._folder(begun)
            if is_trained(folder) and not (folder / LAST).is_dir():
                reopen(folder)  # raises, and says why it cannot

    def check_corpus(self, corpus: Corpus, now: Fingerprint) -> None:
        """Check that a corpus, wherever it is, is the one that the run was begun with.

        Raises:
            InputError: it is not, and was not accepted; says which clips differ in what.
        """
        spec = self.facts.get("corpus", corpus.spec)
        moved = f"was trained on {spec}, not on {corpus.spec}" if spec != corpus.spec else ""
        if self.fingerprint is None:
            if moved and not self.accept:
                raise InputError(f"{self.output}: {moved}")
            if self.num_begun:
                told = f"has no {FINGERPRINT_FILE}: whether its corpus changed cannot be told"
                note(f"{self.output}: {told}")
            return
        before, kind = (one.partition(":")[0] for one in (spec, corpus.spec))
        self.changes = [f"its kind was {before}, is {kind}"] if before != kind else []
        extra_texts = self.recipe.extra_texts is not None
        self.changes += self.fingerprint.changes(now, extra_texts=extra_texts)
        if self.changes and not self.accept:
            found = moved or "its corpus changed since it was begun"
            raise InputError(
                f"{self.output}: {found}: {'; '.join(self.changes)}; restore it, or go on with the"
                " corpus as it is: --accept-changes"
            )
        if moved and not self.changes:
            note(f"{self.output}: its corpus was {spec}, is {corpus.spec}, with the same rows")

    def write(self, recipe: Recipe, corpus: Corpus, now: Fingerprint) -> None:
        """Note what is resumed with, and let a stage that gets more epochs go on.

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
            now.write(self.output / FINGERPRINT_FILE)
        self.fingerprint = None  # of a million rows it is large, and nothing else needs it
        if facts != self.facts:
            _write_facts(self.output, facts)
        if recipe == self.recipe:
            return
        if self.more_epochs(recipe):
            number = self.num_begun
            stage, before = recipe.stages[number - 1], self.recipe.stages[number - 1].epochs
            note(
                f"stages.{stage.name}: trains {stage.epochs} epochs instead of {before}; the"
                " learning rates of those to come are as if it had been so from the start"
            )
            if is_trained(folder := self._folder(number)):
                reopen(folder)
        write_settings(recipe, self.output / RECIPE_FILE)


def _fixed(recipe: Recipe, num_begun: int) -> dict[str, Any]:
    """What a resume must not change of a recipe."""
    fixed = recipe.model_dump(mode="json", exclude={"num_workers", "description"})
    return {**fixed, "stages": fixed["stages"][:num_begun]}


def _difference(one: Any, other: Any, place: str = "") -> str:
    """Where two recipes differ first, and in what."""
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
