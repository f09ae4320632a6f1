"""What has to be trained for some rows: stages, each once, however many rows need it.

A node is one stage's training. Its key is a checksum of all that its weights depend on: its
settings, the stages that its parts come from, seed, corpus and version. Rows whose stages have the
same key share the node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import unglossed
from unglossed.corpora.sample import Corpus
from unglossed.files import CHECKSUMS, file_checksum
from unglossed.reproduce.plan import Plan, Scale, row_recipe
from unglossed.reproduce.weights import is_whole
from unglossed.training.keys import digest
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.recipe import GeneratedText, Recipe
from unglossed.training.settings import NAMING, StageSettings
from unglossed.training.signal_settings import OF_CLIPS

STAGES_FOLDER = "stages"
RUN, SCORES, SCORED = "run", "scores", "metrics.json"
_NO_MATTER = {"num_workers", "description"}


@dataclass(frozen=True, order=True)
class RowRun:
    """A row with a seed."""

    row: str
    seed: int

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


@dataclass
class Node:
    """One stage's training, and the scores of what it gave where a row ends with it.

    Attributes:
        key: Of its content.
        folder: Where it keeps everything.
        recipe: Ends with its stage.
        taken: The earlier stages of its recipe that it depends on, by name in their order: their
            keys. The others are not trained for it.
        needs: Keys of those of them that its own parts come from.
        split: Which is scored; None: no row ends here.
        used_by: Rows that have it.
        num_clips: What an epoch reads: clips, or texts where it trains on text alone.
    """

    key: str
    folder: Path
    recipe: Recipe
    taken: Mapping[str, str]
    needs: frozenset[str]
    num_clips: int
    split: str | None = None
    used_by: list[RowRun] = field(default_factory=list)

    @property
    def stage(self) -> StageSettings:
        """What it trains."""
        return self.recipe.stages[-1]

    @property
    def stage_folder(self) -> Path:
        """Of its stage, in its run."""
        return self.folder / RUN / f"{len(self.recipe.stages)}-{self.stage.name}"

    @property
    def model(self) -> Path:
        """What it gives."""
        return self.stage_folder / "model"

    @property
    def scores(self) -> Path:
        """Predictions and scores."""
        return self.folder / SCORES / str(self.split)

    @property
    def num_steps(self) -> int:
        """Steps of its training."""
        return -(-self.num_clips // self.stage.batch_size) * self.stage.epochs

    def is_done(self) -> bool:
        """Whether it is trained and, where a row ends with it, scored."""
        scored = self.split is None or (self.scores / SCORED).is_file()
        run_model = self.folder / RUN / "model"  # which is written last
        return scored and run_model.is_dir() and is_whole(self.model)

    def __str__(self) -> str:
        rows = list(dict.fromkeys(run.row for run in self.used_by)) or ["taken over"]
        more = f" and {len(rows) - 2} more" if len(rows) > 3 else ""
        told = ", ".join(rows[: 2 if more else 3]) + more
        return f"{self.stage.name} (seed {self.recipe.seed}; {told})"


@dataclass(frozen=True)
class Graph:
    """What some rows need.

    Attributes:
        nodes: By their keys, each behind those that it takes over.
        ends: The node with which each row ends.
        chains: This node and those that it depends on.
    """

    nodes: Mapping[str, Node]
    ends: Mapping[RowRun, Node]
    chains: Mapping[RowRun, tuple[Node, ...]]


def build_graph(
    plan: Plan,
    names: Sequence[str],
    scale: Scale,
    seeds: Sequence[int] | None,
    corpus: Corpus,
    fingerprint: str,
    folder: Path,
    *,
    replaced: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Graph:
    """Work out what rows need.

    Args:
        plan: the plan.
        names: of its rows.
        scale: at which they are run.
        seeds: of each row; None: the row's own, or else the plan's.
        corpus: as read.
        fingerprint: of its content.
        folder: of everything.
        replaced: Published models, by name, in whose place others are taken.
        overrides: `key=value` changes of all recipes.

    Raises:
        InputError: a row's recipe is wrong; names the row.
    """
    kind, language = corpus_kind(corpus), corpus.language
    nodes: dict[str, Node] = {}
    ends: dict[RowRun, Node] = {}
    chains: dict[RowRun, tuple[Node, ...]] = {}
    for name in names:
        row = plan.row(name)
        for seed in seeds or row.seeds or plan.seeds:
            run = RowRun(name, seed)
            recipe = row_recipe(
                *(plan, row, scale), kind=kind, language=language, seed=seed, overrides=overrides
            )
            recipe = _replace_models(recipe, replaced or {})
            needed = [
                nodes.setdefault(node.key, node)
                for node in _with_needed(_chain(recipe, corpus, fingerprint, folder))
            ]
            for node in needed:
                node.used_by.append(run)
            needed[-1].split = plan.scale(scale).split
            ends[run], chains[run] = needed[-1], tuple(needed)
    return Graph(nodes, ends, chains)


def corpus_kind(corpus: Corpus) -> str:
    """The kind of a corpus, as its spec has it."""
    return corpus.spec.partition(":")[0]


def published_models(recipes: Iterable[Recipe]) -> set[str]:
    """Names of language models and tokenizers that recipes take from elsewhere."""
    found = set()
    for recipe in recipes:
        own = {stage.name for stage in recipe.stages}
        found.add(recipe.tokenizer.pretrained)
        for stage in recipe.stages:
            for part in (stage.language_model, stage.text_encoder, stage.alignment):
                if part is not None and part.source not in own:
                    found.add(part.source)
    return {name for name in found if name and name != "build"}


def _chain(recipe: Recipe, corpus: Corpus, fingerprint: str, folder: Path) -> list[Node]:
    """The nodes of a recipe's stages, in their order."""
    whole = recipe.model_dump(mode="json", exclude=_NO_MATTER)
    extra, num_extra = _extra_texts(recipe)
    keys: dict[str, str] = {}
    chain: list[Node] = []
    for number, stage in enumerate(recipe.stages, start=1):
        reads_clips = "encoder" in OBJECTIVES[stage.objective].parts
        shared = ("languages", *((*OF_CLIPS, "decoding") if reads_clips else ()))
        facts = {
            "version": unglossed.__version__,
            "corpus": fingerprint,
            "seed": recipe.seed,
            "number": number,  # the seed of a stage's draws counts it
            "tokenizer": _content(whole["tokenizer"]),
            "extra_texts": extra,
            "stage": _content(_by_key(whole["stages"][number - 1], keys)),
            **{name: whole[name] for name in shared},
        }
        key = digest(facts)
        num_clips = len(corpus.split("train")) + (0 if reads_clips else num_extra)
        node = Node(
            key,
            folder / STAGES_FOLDER / f"{stage.name}-{key}",
            recipe.model_copy(update={"stages": recipe.stages[:number]}),
            {},
            frozenset(keys[name] for name in _sources(stage) if name in keys),
            num_clips,
        )
        node.taken = {one.stage.name: one.key for one in _with_needed([*chain, node])[:-1]}
        chain.append(node)
        keys[stage.name] = key
    return chain


def _sources(stage: StageSettings) -> list[str]:
    """Where the parts of a stage come from."""
    parts = [getattr(stage, name) for name in NAMING]
    return [part.source for part in parts if part is not None and part.source is not None]


def _with_needed(chain: Sequence[Node]) -> list[Node]:
    """The last node of a chain and what it depends on, in their order."""
    needed = [chain[-1]]
    for node in reversed(chain[:-1]):
        if any(node.key in later.needs for later in needed):
            needed.append(node)
    return needed[::-1]


def _by_key(stage: dict[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    """A stage whose parts name earlier ones by their keys."""
    named = {}
    for name, value in stage.items():
        if name in NAMING and value is not None and value["source"] in keys:
            value = {**value, "source": {"stage": keys[value["source"]]}}
        named[name] = value
    return named


def _content(value: Any) -> Any:
    """Settings in which what a local folder or file holds stands for its name."""
    if isinstance(value, dict):
        return {
            key: held(one) if key in ("source", "pretrained", "backbone") else _content(one)
            for key, one in value.items()
        }
    return [_content(one) for one in value] if isinstance(value, list) else value


def held(name: Any) -> Any:
    """What a local folder or file holds, as checksums; the name itself where there is none."""
    if not isinstance(name, str):
        return _content(name)
    path = Path(name)
    if name == "build":  # no folder of this name, see `PartSettings`
        return name
    if path.is_file():
        return {"file": _checksum(path)}
    if not path.is_dir():
        return name
    if (path / CHECKSUMS).is_file():
        return {"folder": file_checksum(path / CHECKSUMS)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {"folder": [[file.relative_to(path).as_posix(), _checksum(file)] for file in files]}


def _checksum(path: Path) -> str:
    """Of a file that many rows name, and that is large: read once while it stays as it is."""
    status = path.stat()
    return _read_checksum(path, status.st_size, status.st_mtime_ns)


@cache
def _read_checksum(path: Path, size: int, modified: int) -> str:
    del size, modified
    return file_checksum(path)


def _extra_texts(recipe: Recipe) -> tuple[Any, int]:
    """What stands for a recipe's further texts, and how many there are."""
    wanted = recipe.extra_texts
    if wanted is None:
        return None, 0
    if isinstance(wanted, GeneratedText):
        return wanted.model_dump(), wanted.num_sentences
    try:
        text = Path(wanted).read_bytes()
    except OSError:  # the training says what is wrong with it
        return wanted, 0
    return hashlib.sha256(text).hexdigest(), sum(1 for line in text.splitlines() if line.strip())


def _replace_models(recipe: Recipe, replaced: Mapping[str, str]) -> Recipe:
    """A recipe with other language models instead of some published ones."""

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: replaced.get(one, one)
                if key in ("source", "pretrained") and isinstance(one, str)
                else replace(one)
                for key, one in value.items()
            }
        return [replace(one) for one in value] if isinstance(value, list) else value

    if not replaced:
        return recipe
    return Recipe.model_validate(replace(json.loads(recipe.model_dump_json())))
