"""One corpus read as pictures, as exact poses, as poses that are noisy, and as two streams.

Run by `python -m experiments.signals`: on a generated corpus, or with `--hands dgs30_landmarks.npz`
on sentences composed of recorded landmarks (see `landmark_hands`), which are drawn for the
pictures. The corpus is the same for all seeds; the systems of a seed have the same pre-trained
language model and the same stages on top, whose epochs are chosen so that they take about as long.
A call that is interrupted goes on when it is repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from experiments import landmark_hands
from experiments.common import (
    FURTHER_STAGES,
    PREDICTIONS,
    PRETRAINING,
    SHORT_STAGE_2,
    SPLITS,
    WIDTH,
    chosen,
    derangement,
    folder_of,
    make_corpus,
    mean_told,
    mistakes_told,
    pretrain,
    read_test_split,
    refuse_seed,
    stage_facts,
    write_extra_texts,
)
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.metrics import score
from unglossed.evaluation.significance import format_p, paired_differences
from unglossed.evaluation.text_files import read_hypotheses
from unglossed.files import whole_folder, write_text
from unglossed.training.train import train_recipe
from unglossed_synth.landmarks import LANDMARKS

SCORES = "signals.json"
"""File of a seed's scores."""
NOISY = "noisy"
"""Folder of a corpus with its poses made worse."""
NOISE, LOST = 0.02, 0.1
"""Of noisy poses: the noise's standard deviation, of the picture's width; the share of points."""


@dataclass(frozen=True)
class System:
    """A way to read the clips.

    Attributes:
        recipe: That is trained.
        features: Folder of the corpus with the poses that are read; None: none are.
        epochs: Of the two stages, each scored on dev at its end.
    """

    recipe: str
    features: str | None
    epochs: tuple[int, int]


PICTURES = "pictures"
SYSTEMS = {
    PICTURES: System("demo", None, (5, 3)),
    "exact poses": System("pose", LANDMARKS, (7, 3)),
    "noisy poses": System("pose", NOISY, (7, 3)),
    "two streams": System("two_streams", LANDMARKS, (4, 3)),
    "two noisy streams": System("two_streams", NOISY, (4, 3)),
}


def worsen(points: NDArray[np.float32], width: float, rng: np.random.Generator) -> Any:
    """Points (frames, points, 2) with noise on each coordinate, and some of them missing (NaN)."""
    noisy = points + rng.normal(0, NOISE * width, points.shape)
    noisy[rng.random(points.shape[:2]) < LOST] = np.nan
    return noisy.astype(np.float32)


def write_noisy(corpus: Path, seed: int, width: float) -> None:
    """Write the poses of a corpus once more, worse; nothing if they are there.

    Args:
        corpus: its folder, with `LANDMARKS`.
        seed: of what is drawn.
        width: of the picture, in the poses' units.
    """
    if (corpus / NOISY).is_dir():
        return
    exact = corpus / LANDMARKS
    if not exact.is_dir():
        raise InputError(f"{corpus}: found no {LANDMARKS}, expected the poses of its clips there")
    rng = np.random.default_rng(seed)
    with whole_folder(corpus / NOISY) as partial:
        for path in sorted(exact.rglob("*.npz")):
            fields = dict(np.load(path))
            place = partial / path.relative_to(exact)
            place.parent.mkdir(parents=True, exist_ok=True)
            np.savez(place, **{**fields, "values": worsen(fields["values"], width, rng)})


def run(
    corpus: Path,
    kind: str,
    output: Path,
    seed: int,
    names: Sequence[str],
    overrides: Sequence[str] = (),
    systems: Mapping[str, System] = SYSTEMS,
) -> dict[str, Any]:
    """Train and score systems.

    Args:
        corpus: folder of a corpus, with `LANDMARKS` and `NOISY`.
        kind: `phoenix14t` of a generated one, or `table` of recorded hands.
        output: folder of runs and scores.
        seed: of the trainings.
        names: of the systems.
        overrides: further changes of all recipes.
        systems: in which the names are found.

    Returns:
        For each system the seconds of its two stages, and by split its scores: whole, against other
        clips' references (`shuffled`), and of clips in which nothing is seen (`blank`).
    """
    spec = _spec(corpus, kind)
    read = read_corpus(spec)
    refuse_seed(overrides)
    common = [f"seed={seed}"]
    if kind != "table":
        common.append(write_extra_texts(read, output / "extra_texts.txt"))
    pretrained = pretrain(spec, output, [*common, *overrides])
    path = output / SCORES
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    for name in names:
        system, folder = systems[name], output / folder_of(name)
        own = spec
        if system.features is not None:
            option = "beside" if system.recipe == "two_streams" else "features"
            own = f"{spec}?{option}={corpus / system.features}"
        changes = [
            *common,
            f"stages.{PRETRAINING}.skip=true",
            f"stages.visual_initialing.language_model.source={pretrained}",
            *(
                f"stages.{one}.{key}={count}"
                for one, count in zip(FURTHER_STAGES, system.epochs, strict=True)
                for key in ("epochs", "evaluate_every")
            ),
            *SHORT_STAGE_2,
        ]
        if system.features is not None:
            skeleton = landmark_hands.SKELETON.model_dump(mode="json")
            changes.append(
                f"array.skeleton={json.dumps(skeleton) if kind == 'table' else 'generated'}"
            )
        train_recipe(*(system.recipe, own, folder), resume=True, overrides=[*changes, *overrides])
        facts = stage_facts(folder)
        found[name] = {"seconds": sum(fact["seconds"] for fact in facts)} | {
            split: _scores(folder, own, read, corpus, split, blank=system.recipe != "two_streams")
            for split in SPLITS
            if split in read.splits
        }
        write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def _spec(corpus: Path, kind: str) -> str:
    return f"{kind}:{corpus / 'clips.jsonl' if kind == 'table' else corpus}"


def _scores(
    run: Path, spec: str, corpus: Corpus, folder: Path, split: str, *, blank: bool
) -> dict[str, Any]:
    """Scores of a split: BLEU-4, ROUGE-L and, of a generated corpus, slot F1."""
    output = run / split
    evaluate(run, spec, split, output)
    told = {"whole": read_hypotheses(output / PREDICTIONS)}
    order = derangement(len(told["whole"]), np.random.default_rng(0))
    told["shuffled"] = [told["whole"][index] for index in order]
    if blank:
        evaluate(run, spec, split, output, corrupt="blank")
        told["blank"] = read_hypotheses(output / "corrupt-blank" / PREDICTIONS)
    if spec.startswith("table:"):
        references = [sample.text for sample in corpus.split(split)]
        return {
            name: score(texts, references, corpus.language).to_dict()
            for name, texts in told.items()
        }
    meant = read_test_split(corpus, folder, split)
    rows = {name: meant.row(name, texts) for name, texts in told.items()}
    return {name: {**row.scores.to_dict(), "slot_f1": row.slot_f1} for name, row in rows.items()}


def tell(output: Path, corpus: Corpus) -> str:
    """The scores of all seeds that are in a folder as a table in Markdown.

    They are means over the seeds that a system has, and p is against `pictures` by paired
    approximate randomisation over the clips of the seeds that both have.
    """
    runs = {path.parent: json.loads(path.read_text("utf-8")) for path in output.glob(f"*/{SCORES}")}
    lines = [
        "| system | split | seeds | seconds | BLEU-4 | p | ROUGE-L | slot F1 | shuffled | blank |"
    ]
    lines.append("|" + "---|" * 10)
    for split in (one for one in SPLITS if one in corpus.splits):
        references = [sample.text for sample in corpus.split(split)]
        for name in SYSTEMS:
            having = [folder for folder, found in runs.items() if name in found]
            if not having:
                continue
            facts = [runs[folder][name] for folder in having]
            both = [] if name == PICTURES else [one for one in having if PICTURES in runs[one]]
            seen, told = (
                [text for run in both for text in read_hypotheses(_place(run, which, split))]
                for which in (PICTURES, name)
            )
            tests = (
                paired_differences(seen, told, references * len(both), corpus.language)
                if both
                else {}
            )
            cells = [
                *(name, split, str(len(having)), mean_told([one["seconds"] for one in facts], 0)),
                _mean(facts, split, "whole", "bleu4", 1),
                format_p(tests["BLEU-4"].p) if both else "",
                *(_mean(facts, split, "whole", *one) for one in (("rouge_l", 1), ("slot_f1", 3))),
                *(_mean(facts, split, control, "bleu4", 1) for control in ("shuffled", "blank")),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _place(run: Path, system: str, split: str) -> Path:
    return run / folder_of(system) / split / PREDICTIONS


def _mean(facts: Sequence[Mapping[str, Any]], split: str, of: str, key: str, digits: int) -> str:
    found = [one[split][of][key] for one in facts if key in one[split].get(of, {})]
    return mean_told(found, digits) if found else ""


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of all recipes.")] = None,
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/signals"),
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
    hands: Annotated[
        Path | None, typer.Option(help="File of recorded landmarks; else the corpus is generated.")
    ] = None,
    only: Annotated[str, typer.Option(help="Systems, with commas between.")] = ",".join(SYSTEMS),
) -> None:
    """Compare signals."""
    began = time.monotonic()
    corpus = output / "corpus"
    with mistakes_told():
        names = chosen(only, SYSTEMS)
        if hands is not None:
            if not corpus.is_dir():
                landmark_hands.write_corpus(hands, corpus, 0)
            kind, width = "table", 1.0
        else:
            make_corpus(corpus, landmarks=True)
            kind, width = "phoenix14t", float(WIDTH)
        write_noisy(corpus, 0, width)
        run(corpus, kind, output / f"seed-{seed}", seed, names, overrides or ())
        read = read_corpus(_spec(corpus, kind))
    Console(soft_wrap=True).print(tell(output, read))
    typer.echo(f"{time.monotonic() - began:.0f} seconds in all", err=True)


if __name__ == "__main__":
    typer.run(main)
