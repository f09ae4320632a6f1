"""Runs a plan: what it needs and does not have is trained, and everything is set as tables.

DIR/plan.json      the plan and the scale that the folder is for
DIR/corpus/        the generated corpus, where none is given; corpus.json says which it is
DIR/trimmed/       language models with the vocabulary of the train texts, where the plan trims;
                   a folder for each model and texts
DIR/stages/        a folder for each stage's training, see `task.py`
DIR/features/      what frozen encoders gave, shared by all stages
DIR/results.md, .tex, .csv, .json, and the figures as SVG
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import unglossed
from unglossed.config import check_count, field
from unglossed.corpora.check_media import TRAINING_SPLITS
from unglossed.corpora.parallel import num_cores
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError, InputErrors
from unglossed.files import as_path, exclusive, file_checksum, write_text
from unglossed.reproduce.corpus import EXTRA_TEXTS, generate
from unglossed.reproduce.costs import estimate, tell_work
from unglossed.reproduce.figures import Curve, StageNorms, draw_curves, draw_norms
from unglossed.reproduce.graph import Graph, build_graph, corpus_kind, held, published_models
from unglossed.reproduce.plan import (
    METRICS,
    Plan,
    Scale,
    choose_rows,
    find_plan,
    load_plan,
    row_recipe,
    seed_change,
)
from unglossed.reproduce.results import Gathered
from unglossed.reproduce.tables import to_csv, to_latex, to_markdown
from unglossed.reproduce.workers import Workers
from unglossed.training.checkpoint import read_json
from unglossed.training.fingerprint import Fingerprint
from unglossed.training.keys import digest
from unglossed.training.recipe import Recipe
from unglossed.trimming.trim import trim_model

_BEGUN, _LOCK = "plan.json", ".plan.lock"
_FINGERPRINT = ".fingerprint.json"


def reproduce(
    plan: str | Path,
    output: str | Path,
    *,
    corpus: str | None = None,
    scale: Scale = "paper",
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    num_workers: int = 1,
    overrides: Sequence[str] = (),
    dry_run: bool = False,
    tell: Callable[[str], None] = print,
) -> Path | None:
    """Train and score the rows of a plan, whatever of it is not done yet, and write its tables.

    Any number of calls with the same arguments can work in one folder at a time; one that was
    killed goes on when it is repeated.

    Args:
        plan: file, or name of a shipped plan.
        output: folder of everything.
        corpus: spec; None: the one that the plan generates at this scale.
        scale: `paper` or `small`.
        only: rows, tables or figures; all that the paper has for the corpus, when empty.
        seeds: of each row; the plan's when not given.
        num_workers: trainings side by side.
        overrides: `key=value` changes of all recipes.
        dry_run: tell what it would cost, and train nothing; a corpus is generated all the same.
        tell: is given lines about what happens.

    Returns:
        The page of tables, `output/results.md`; None after a dry run.

    Raises:
        InputError: plan, corpus or a recipe is not as it must be, the folder is another plan's, or
            stages failed: the others are done by then, and the tables are written.
    """
    check_count("batch_size", num_workers, "workers")
    path, folder = find_plan(plan), as_path(output, "output").resolve()
    settings = load_plan(path)
    size = settings.scale(scale)
    if found := seed_change(overrides):
        raise InputError(f"{found}: found a change of the seed, expected --seeds")
    if corpus is None and size.corpus is None:
        raise InputError(f"--corpus: the plan {plan} needs one at scale {scale}")
    names = [row.name for row in settings.rows]
    begun = {"plan": path.stem, "scale": scale, "title": settings.title, "rows": names}
    _refuse_others(folder, begun)
    if only:  # unknown names, before a corpus is drawn
        choose_rows(settings, "", "", only)
    overrides = list(overrides)
    if corpus is None:
        assert size.corpus is not None
        _claim(folder, begun)
        with field(f"{settings.origin}: {scale}.corpus"):
            corpus = generate(folder, size.corpus, tell)
        if size.corpus.extra_texts:
            overrides.insert(0, f"extra_texts={json.dumps(str(folder / EXTRA_TEXTS))}")
    rows = read_corpus(corpus)
    rows.require_media("`reproduce`")
    with field(f"{settings.origin}: {scale}.split"):
        rows.split(size.split)  # raises where there is none
    names = choose_rows(settings, corpus_kind(rows), rows.language, only)
    recipes = _recipes(settings, names, scale, rows, overrides)
    _tell_unmeasured(settings, dict(zip(names, recipes, strict=True)), tell)
    _claim(folder, begun)  # after all that may be wrong: else it would be left
    replaced = _trimmed(published_models(recipes) & {*size.trim}, rows, folder, dry_run, tell)

    def build(chosen: Sequence[str]) -> Graph:
        return build_graph(
            *(settings, chosen, scale, seeds, rows, fingerprint, folder),
            replaced=replaced,
            overrides=overrides,
        )

    fingerprint = _fingerprint(rows, size.split, folder)
    graph = build(names)
    every = build(_all_that_resolve(build, settings, names))
    nodes = list(graph.nodes.values())
    num_scored = len(rows.split(size.split))

    def left() -> str:
        return estimate(nodes, num_scored).tell(num_workers)

    tell(f"{len(graph.ends)} rows with their seeds: {tell_work(nodes)}; time: {left()}")
    if dry_run:
        return None
    num_threads = max(1, num_cores() // num_workers)
    features = folder / "features"
    workers = Workers(graph, rows.spec, features, num_workers, num_threads, tell, left)
    failed = workers.run()
    page = write_results(folder, Gathered(settings, scale, every, rows))
    if failed:
        raise InputErrors([str(one) for one in failed])
    return page


def _tell_unmeasured(
    plan: Plan, recipes: Mapping[str, Recipe], tell: Callable[[str], None]
) -> None:
    """Tell of figures of norms that no chosen row measures: they are left out."""
    for figure in plan.figures:
        shown = [row for row in figure.norms if row in recipes]
        stages = [stage for row in shown for stage in recipes[row].stages]
        if shown and not any(stage.norms_every for stage in stages):
            tell(
                f"{plan.origin}: figures.{figure.name}.norms: found no norms_every in a stage of"
                f" {', '.join(shown)}: the figure is left out"
            )


def _all_that_resolve(
    build: Callable[[Sequence[str]], Graph], plan: Plan, names: Sequence[str]
) -> list[str]:
    """All rows of a plan but for those, not asked for, that the command's changes do not fit."""
    found = []
    for row in plan.rows:
        try:
            build([row.name])
        except InputError:
            if row.name in names:
                raise
        else:
            found.append(row.name)
    return found


def write_results(folder: Path, gathered: Gathered) -> Path:
    """Write the tables and figures of what is finished.

    Returns:
        The page of tables.
    """
    content = gathered.content()
    told = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with exclusive(folder / ".results.lock", lambda: None):
        write_text(folder / "results.json", told + "\n")
        write_text(folder / "results.csv", to_csv(content))
        write_text(folder / "results.tex", to_latex(content))
        _draw(folder, gathered, content)
        write_text(folder / "results.md", to_markdown(content))
    return folder / "results.md"


def _draw(folder: Path, gathered: Gathered, content: Mapping[str, Any]) -> None:
    drawn = {one["name"]: one for one in content["figures"]}
    for figure in gathered.plan.figures:
        told = drawn.get(figure.name)
        if told is None:
            continue
        path = folder / f"{figure.name}.svg"
        if figure.norms:
            systems = {
                row: [
                    [StageNorms(name, rows) for name, rows in gathered.norms(run)]
                    for run in gathered.runs(row)
                ]
                for row in figure.own_rows
            }
            draw_norms(path, {name: runs for name, runs in systems.items() if any(runs)})
            continue
        curves = [
            Curve(
                line["label"],
                [
                    (x, known)
                    for x, values in line["points"]
                    if (known := [value for value in values if value is not None])
                ],
            )
            for line in told["lines"]
        ]
        draw_curves(path, curves, figure.x_label, METRICS[figure.metric])


def _claim(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Make a folder a plan's.

    Raises:
        InputError: see `_refuse_others`.
    """
    with exclusive(folder / _LOCK, lambda: None):
        _refuse_others(folder, wanted)
        if not (folder / _BEGUN).is_file():
            write_text(folder / _BEGUN, json.dumps(wanted, ensure_ascii=False) + "\n")


def _refuse_others(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a folder that is not a plan's, and write nothing.

    The plan may have been edited since it began there: its title and one row are the same.

    Raises:
        InputError: it is another plan's or scale's, or holds something else.
    """
    begun = folder / _BEGUN
    others = {file.name for file in folder.iterdir()} - {_LOCK} if folder.is_dir() else set()
    if not begun.is_file():  # looked for last: another call may write it first of all
        if others:
            raise InputError(
                f"{folder}: found {min(others)!r} and no {_BEGUN}, expected a new or an empty"
                " folder"
            )
        return
    found = read_json(begun)
    before = found.get("rows")
    edited = isinstance(before, list) and any(name in before for name in wanted["rows"])
    for key, value in wanted.items():
        if found.get(key) != value and not (key == "rows" and edited):
            raise InputError(
                f"{begun}: {key}: found {found.get(key)!r}, expected {value!r}: the folder is"
                " another plan's or scale's; choose another --output"
            )


def _fingerprint(corpus: Corpus, split: str, folder: Path) -> str:
    """Checksum of the rows and media that are trained and scored on."""
    with exclusive(folder / ".fingerprint.lock", lambda: None):
        path = folder / _FINGERPRINT
        Fingerprint.take(corpus, media=True, splits=(*TRAINING_SPLITS, split)).write(path)
        return file_checksum(path)


def _recipes(
    plan: Plan, names: Sequence[str], scale: Scale, corpus: Corpus, overrides: Sequence[str]
) -> list[Recipe]:
    """The recipes of rows.

    Raises:
        InputError: see `row_recipe`.
    """
    kind, language = corpus_kind(corpus), corpus.language
    return [
        row_recipe(
            *(plan, plan.row(name), scale),
            kind=kind,
            language=language,
            seed=0,
            overrides=overrides,
        )
        for name in names
    ]


def _trimmed(
    models: Iterable[str],
    corpus: Corpus,
    folder: Path,
    dry_run: bool,
    tell: Callable[[str], None],
) -> dict[str, str]:
    """The folders of trimmed language models, by the published model's name; made if need be."""
    texts = [sample.text for sample in corpus.split("train")]
    found = {}
    for model in sorted(models):
        key = digest([held(model), texts, unglossed.__version__])
        target = folder / "trimmed" / f"{Path(model).name}-{key}"
        found[model] = str(target)
        if dry_run:
            continue
        with exclusive(target.with_name(f".{target.name}.lock"), lambda: None):
            if not target.is_dir():
                tell(f"{model}: its vocabulary is trimmed to the train texts")
                trim_model(model, texts, target)
    return found
