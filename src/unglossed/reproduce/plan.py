"""A plan: the rows, tables and figures of a paper, at the paper's size and at one for two cores.

These are settings only, read from YAML. `graph.py` works out what has to be trained for them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from unglossed.config import AS_LIST, WHOLE, Settings, read_settings, suggest
from unglossed.corpora.languages import check_language
from unglossed.corpora.registry import known_kinds
from unglossed.errors import InputError
from unglossed.files import find_shipped
from unglossed.training.recipe import Recipe, Seed, load_recipe

Scale = Literal["paper", "small"]
Metric = Literal["bleu1", "bleu2", "bleu3", "bleu4", "chrf", "rouge_l"]
METRICS: dict[str, str] = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
}
"""Metrics by their key, and their names in tables."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _without_seed(changes: tuple[str, ...]) -> tuple[str, ...]:
    if found := seed_change(changes):
        raise ValueError(f"found {found!r}, expected no seed here: seeds are those of the row")
    return changes


def _of_known_corpus(name: str) -> str:
    kind, slash, language = name.partition("/")
    if kind not in (known := known_kinds()):
        raise ValueError(f"found no kind of corpus {kind!r}{suggest(kind, known)}")
    if slash:
        check_language(language)
    return name


CorpusKind = Annotated[str, AfterValidator(_of_known_corpus)]
"""A kind of corpora, perhaps with the texts' language: must_c/de."""
Changes = Annotated[tuple[str, ...], AS_LIST, AfterValidator(_without_seed)]
Names = Annotated[tuple[Name, ...], AS_LIST]
Number = Annotated[float, Field(ge=0, le=1e6)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Variant(Settings):
    """What a row is at one scale."""

    recipe: str | None = None
    """File or shipped name; None: that of the scale."""
    changes: Changes = ()
    """`key=value` changes of the recipe, as on the command line."""
    analogue: str = ""
    """What stands here for what the paper has; shown beside the row."""


class RowSettings(Settings):
    """A system: a recipe with changes, trained with each seed and scored."""

    name: Name
    """By which tables, figures and `--only` name it."""
    changes: Changes = ()
    """Of the recipe, at both scales."""
    paper: Variant = Variant()
    """More for the paper's size."""
    small: Variant = Variant()
    """More for the small size."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AS_LIST] | None = None
    """Instead of the plan's; those of the command line come first."""

    def variant(self, scale: Scale) -> Variant:
        """What it is at a scale."""
        return self.paper if scale == "paper" else self.small


class Entry(Settings):
    """A line of a table."""

    label: str
    """Its name there."""
    row: Name | None = None
    """The row; None: the paper quotes another paper's system, which is not trained here."""
    paper: dict[Metric, Percent] = {}
    """The paper's scores, in 0..100."""
    paper_hours: Number | None = None
    """The paper's hours of its first stage."""


class Shown(Settings):
    """What tables and figures have."""

    name: Name
    """By which `--only` names all of its rows; also of a figure's file."""
    title: str
    """Over it."""
    corpora: Annotated[tuple[CorpusKind, ...], AS_LIST] = ()
    """Kinds of corpora that the paper has it for; empty: any. With others it is left out unless
    `--only` names it."""

    @property
    @abstractmethod
    def own_rows(self) -> list[str]:
        """Names of the rows that it shows, each once."""


class TableSettings(Shown):
    """A table of the paper."""

    metrics: Annotated[tuple[Metric, ...], Field(min_length=1), AS_LIST] = ("bleu4",)
    """What is shown; all metrics are in results.csv and results.json."""
    reference: Name | None = None
    """The row that the others are compared with."""
    rows: Annotated[tuple[Entry, ...], Field(min_length=1), AS_LIST]
    """Its lines."""

    @property
    def own_rows(self) -> list[str]:
        """Names of the rows that it shows, each once."""
        return list(dict.fromkeys(entry.row for entry in self.rows if entry.row is not None))


class CurvePoint(Settings):
    """A point of a curve."""

    x: Number
    """Its place, as the paper has it."""
    row: Name
    """Whose score it shows."""


class CurveLine(Settings):
    """A line of a figure."""

    label: str
    """In the legend."""
    points: Annotated[tuple[CurvePoint, ...], Field(min_length=1), AS_LIST]
    """From left to right."""


class FigureSettings(Shown):
    """A figure of the paper: norms while rows are trained, or scores over a quantity."""

    norms: Names = ()
    """Rows whose norms are drawn; their stages have `norms_every`."""
    x_label: str = ""
    """Of the axis under curves."""
    metric: Metric = "bleu4"
    """That the curves show."""
    lines: Annotated[tuple[CurveLine, ...], AS_LIST] = ()
    """The curves."""

    @model_validator(mode="after")
    def _one_kind(self) -> FigureSettings:
        if bool(self.norms) == bool(self.lines):
            raise ValueError("expected either norms or lines")
        return self

    @property
    def own_rows(self) -> list[str]:
        """Names of the rows that it shows, each once."""
        on_curves = (point.row for line in self.lines for point in line.points)
        return list(dict.fromkeys([*self.norms, *on_curves]))


class GeneratedCorpus(Settings):
    """A corpus of `unglossed synth` that a scale is run on where none is given."""

    layout: str = "phoenix14t"
    """Whose files it has."""
    num_sentences: Annotated[int, Field(ge=4, le=10**6), WHOLE]
    """Clips of all splits."""
    level: Annotated[int, Field(ge=1, le=3), WHOLE] = 1
    """Of the grammar."""
    language: str | None = None
    """Of the texts; None: the layout's own."""
    width: Annotated[int, Field(ge=16, le=4096), WHOLE] = 84
    """Of a frame, in pixels."""
    height: Annotated[int, Field(ge=16, le=4096), WHOLE] = 104
    """Of a frame, in pixels."""
    seed: Seed = 0
    """Of the draws."""
    extra_texts: Annotated[int, Field(ge=0, le=10**6), WHOLE] = 0
    """Further sentences that no clip says, for the recipe's `extra_texts`."""


class ScaleSettings(Settings):
    """A size at which the plan can be run."""

    recipe: str
    """File or shipped name, of all rows that name no other."""
    changes: Changes = ()
    """Of it, in all rows."""
    corpora: dict[CorpusKind, Changes] = {}
    """Further changes by the corpus's kind."""
    trim: Annotated[tuple[str, ...], AS_LIST] = ()
    """Published language models that are trimmed to the train texts before they are taken."""
    split: str = "test"
    """That is scored."""
    corpus: GeneratedCorpus | None = None
    """Where `--corpus` is not given; None: it must be."""
    note: str = ""
    """What a reader of the tables has to know."""


class Plan(Settings):
    """A paper's experiments."""

    title: str
    """Over all tables."""
    paper: ScaleSettings
    """The paper's size."""
    small: ScaleSettings
    """A size for two cores."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AS_LIST] = (0, 1, 2)
    """Of each row, unless the command line or the row has others."""
    rows: Annotated[tuple[RowSettings, ...], Field(min_length=1), AS_LIST]
    """What is trained."""
    tables: Annotated[tuple[TableSettings, ...], AS_LIST] = ()
    """In which their scores are shown."""
    figures: Annotated[tuple[FigureSettings, ...], AS_LIST] = ()
    """And drawn."""
    _origin: str = PrivateAttr("the plan")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan's file, which faults in its rows' recipes will name."""
        plan = read_settings(cls, path)
        plan._origin = str(path)
        return plan

    @property
    def origin(self) -> str:
        """Its file."""
        return self._origin

    @model_validator(mode="after")
    def _names_known(self) -> Plan:
        for where, names in (
            ("rows", [row.name for row in self.rows]),
            ("tables and figures", [one.name for one in self.shown]),
        ):
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"{where}: two have the name {twice[0]!r}")
        known = {row.name for row in self.rows}
        if both := [one.name for one in self.shown if one.name in known]:
            raise ValueError(
                f"tables and figures: found {both[0]!r}, which is a row's name, too: expected"
                " another one, by which --only tells them apart"
            )
        for table in self.tables:
            own = table.own_rows
            _refuse_unknown(f"tables.{table.name}.rows", own, known)
            if table.reference is not None:
                _refuse_unknown(f"tables.{table.name}.reference", [table.reference], set(own))
        for figure in self.figures:
            _refuse_unknown(f"figures.{figure.name}", figure.own_rows, known)
        return self

    @property
    def shown(self) -> list[Shown]:
        """Tables and figures."""
        return [*self.tables, *self.figures]

    def scale(self, name: Scale) -> ScaleSettings:
        """The settings of a scale."""
        return self.paper if name == "paper" else self.small

    def row(self, name: str) -> RowSettings:
        """The row of a name that there is."""
        return next(row for row in self.rows if row.name == name)


def _refuse_unknown(where: str, names: Sequence[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: found no row {name!r}{suggest(name, known)}")


def find_plan(name: str | Path) -> Path:
    """A plan's file: a path, or the name of a shipped plan without `.yaml`.

    Raises:
        InputError: neither is there; the shipped names are listed.
    """
    return find_shipped(name, "plan")


def load_plan(name: str | Path) -> Plan:
    """Read a plan from its file or shipped name.

    Raises:
        InputError: names the file and the field that is wrong.
    """
    return Plan.read(find_plan(name))


def seed_change(changes: Sequence[str]) -> str | None:
    """The first of `key=value` changes that is of the seed, which each training has of its own."""
    return next((one for one in changes if one.partition("=")[0] == "seed"), None)


def row_recipe(
    plan: Plan,
    row: RowSettings,
    scale: Scale,
    *,
    kind: str,
    language: str,
    seed: int,
    overrides: Sequence[str] = (),
) -> Recipe:
    """The resolved recipe of a row.

    Args:
        plan: the plan.
        row: one of its rows.
        scale: at which it is run.
        kind: of the corpus.
        language: of its texts.
        seed: of the training.
        overrides: further `key=value` changes, which come last.

    Raises:
        InputError: names the row and what is wrong with its recipe; and the plan's file, or the
            command line if it is right without `overrides`.
    """
    size = plan.scale(scale)
    own = row.variant(scale)
    name = own.recipe or size.recipe
    where = f"rows.{row.name}, scale {scale}"
    changes = [
        *size.changes,
        *size.corpora.get(kind, ()),
        *size.corpora.get(f"{kind}/{language}", ()),
        *row.changes,
        *own.changes,
    ]
    try:
        return load_recipe(name, [*changes, *overrides, f"seed={seed}"])
    except InputError as error:
        _load_own(plan, where, name, changes)
        raise InputError(f"{where}: {error}") from None


def _load_own(plan: Plan, where: str, name: str, changes: Sequence[str]) -> None:
    """Refuse what is wrong with a row's recipe without changes of the command line."""
    try:
        load_recipe(name, changes, origin="changes")
    except InputError as error:
        raise InputError(f"{plan.origin}: {where}: {error}") from None


def shown_with(plan: Plan, kind: str, language: str) -> Iterator[Shown]:
    """The tables and figures that the paper has for a corpus."""
    for one in plan.shown:
        if not one.corpora or not {kind, f"{kind}/{language}"}.isdisjoint(one.corpora):
            yield one


def told_of(plan: Plan, kind: str, language: str, done: Collection[str]) -> list[Shown]:
    """The tables and figures to write: the paper's for a corpus, and others that say more.

    What the paper has for other corpora alone is told where a row of it is done that none for this
    one shows: then somebody asked for it. So no corpus's scores stand under another one's title.
    """
    own = list(shown_with(plan, kind, language))
    shown = {name for one in own for name in one.own_rows}
    return [one for one in plan.shown if one in own or {*one.own_rows} & {*done} - shown]


def choose_rows(plan: Plan, kind: str, language: str, only: Sequence[str] = ()) -> list[str]:
    """Names of the rows to run, in the plan's order.

    Args:
        plan: the plan.
        kind: of the corpus.
        language: of its texts.
        only: names of rows, tables and figures; empty: all that the paper has for the corpus.

    Raises:
        InputError: `only` has an unknown name, or the paper has nothing for such a corpus.
    """
    groups: dict[str, list[str]] = {row.name: [row.name] for row in plan.rows}
    groups |= {one.name: one.own_rows for one in plan.shown}
    for name in only:
        if name not in groups:
            raise InputError(
                f"--only: found {name!r}, expected rows, tables or figures of the plan:"
                f" {', '.join(groups)}"
            )
    chosen = [groups[name] for name in only]
    if not only:
        chosen = [one.own_rows for one in shown_with(plan, kind, language)]
        if not chosen:
            raise InputError(
                f"--corpus: the plan has no table for {kind}/{language}; --only names rows to run"
                " on it all the same"
            )
    wanted = {name for names in chosen for name in names}
    return [row.name for row in plan.rows if row.name in wanted]
