"""The numbers of a plan: scores over seeds, paired tests, what it took; as plain values of JSON.

Nothing but `costs` depends on whether, or where, the work was interrupted.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics.chrf import CHRF

import unglossed
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.evaluation.metrics import Scores, normalise, score_by_language
from unglossed.evaluation.significance import paired_differences
from unglossed.reproduce.graph import Graph, Node, RowRun, corpus_kind
from unglossed.reproduce.plan import (
    METRICS,
    Entry,
    FigureSettings,
    Plan,
    Scale,
    TableSettings,
    told_of,
)
from unglossed.reproduce.task import read_usage
from unglossed.reproduce.weights import num_parameters
from unglossed.training.callbacks import NORMS_FILE, read_metrics

ROUGE = "F with beta 1.2 (COCO), split on spaces, or into characters where words have none"
_DIGITS = 4


@dataclass(frozen=True)
class _Texts:
    """What a system wrote for the split, one entry a clip."""

    hypotheses: list[str]
    references: list[tuple[str, ...]]
    languages: list[str]

    @classmethod
    def read(cls, path: Path, samples: Sequence[Sample], language: str) -> _Texts:
        """Read a `predictions.jsonl`, which has the samples of a split in their order.

        Raises:
            InputError: it is damaged, or has other clips.
        """
        again = "delete its folder, and the clips are translated again"
        try:
            with path.open(encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
            ids = [row["id"] for row in rows]
            texts = cls(
                [row["hypothesis"] for row in rows],
                [(row["reference"], *row.get("references", ())) for row in rows],
                [row.get("language", language) for row in rows],
            )
            written = [*texts.hypotheses, *itertools.chain(*texts.references), *texts.languages]
            if not all(isinstance(text, str) for text in written):
                raise TypeError
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(f"{path}: cannot be read: {again}") from None
        if ids != [sample.id for sample in samples]:
            raise InputError(
                f"{path}: found {len(ids)} clips, expected the {len(samples)} of the split that is"
                f" scored, in their order: {again}"
            )
        return texts

    def score(self, normalisation: str) -> Scores:
        return score_by_language(self.hypotheses, self.references, self.languages, normalisation)

    def only(self, chosen: Sequence[bool]) -> _Texts:
        def pick(values: Sequence[Any]) -> list[Any]:
            return [value for value, keep in zip(values, chosen, strict=True) if keep]

        return _Texts(pick(self.hypotheses), pick(self.references), pick(self.languages))


class Gathered:
    """What is finished of a plan.

    Args:
        plan: the plan.
        scale: at which it was run.
        graph: what there was to do.
        corpus: on which.
    """

    def __init__(self, plan: Plan, scale: Scale, graph: Graph, corpus: Corpus) -> None:
        self.plan = plan
        self.scale = scale
        self.graph = graph
        self.corpus = corpus
        samples = corpus.split(plan.scale(scale).split)
        self.texts: dict[RowRun, _Texts] = {
            run: _Texts.read(node.scores / "predictions.jsonl", samples, corpus.language)
            for run, node in graph.ends.items()
            if all(needed.is_done() for needed in graph.chains[run])
        }
        said = {
            text
            for sample in corpus.split("train")
            for text in normalise([sample.text], corpus.normalisation)
        }
        self._said = said

    def runs(self, row: str) -> list[RowRun]:
        """Finished runs of a row, by their seeds."""
        return sorted(run for run in self.texts if run.row == row)

    def content(self) -> dict[str, Any]:
        """All numbers, as `results.json` has them."""
        size = self.plan.scale(self.scale)
        rows = {row.name: self._row(row.name) for row in self.plan.rows if self.runs(row.name)}
        kind = corpus_kind(self.corpus)
        told = {one.name for one in told_of(self.plan, kind, self.corpus.language, rows)}
        tables = [one for one in self.plan.tables if one.name in told]
        figures = [one for one in self.plan.figures if one.name in told]
        return {
            "plan": self.plan.title,
            "scale": self.scale,
            "note": size.note,
            "split": size.split,
            "corpus": {
                "kind": kind,
                "language": self.corpus.language,
                "clips": {name: len(found) for name, found in self.corpus.splits.items()},
                "normalisation": self.corpus.normalisation,
            },
            "version": unglossed.__version__,
            "rouge_l": ROUGE,
            "rows": rows,
            "tables": [found for one in tables if (found := self._table(one, rows))],
            "figures": [found for one in figures if (found := self._figure(one, rows))],
            "costs": {name: self._costs(name) for name in rows},
        }

    def _row(self, name: str) -> dict[str, Any]:
        row, runs = self.plan.row(name), self.runs(name)
        texts = [self.texts[run] for run in runs]
        normalisation = self.corpus.normalisation
        scores = [one.score(normalisation) for one in texts]
        new = [self._is_new(one) for one in texts]
        apart = [one.only(keep) for one, keep in zip(texts, new, strict=True)]
        chain = self.graph.chains[runs[0]]
        return {
            "analogue": row.variant(self.scale).analogue,
            "seeds": [run.seed for run in runs],
            "scores": _spread(scores),
            "num_clips": scores[0].num_samples,
            "without_train_sentences": {
                "num_clips": sum(new[0]),
                "scores": _spread([one.score(normalisation) for one in apart])
                if all(map(any, new))
                else {},
            },
            "parameters": {node.stage.name: num_parameters(node.model) for node in chain},
            "model": chain[-1].key,
        }

    def _is_new(self, texts: _Texts) -> list[bool]:
        """For each clip, whether no sentence of train says what it says."""
        own = normalise([one[0] for one in texts.references], self.corpus.normalisation)
        return [text not in self._said for text in own]

    def _table(self, table: TableSettings, rows: Mapping[str, Any]) -> dict[str, Any] | None:
        if not any(entry.row in rows for entry in table.rows):
            return None
        differences = {
            entry.row: self._differences(table.reference, entry.row)
            for entry in table.rows
            if entry.row in rows and table.reference in rows and entry.row != table.reference
        }
        return {
            "name": table.name,
            "title": table.title,
            "metrics": list(table.metrics),
            "reference": table.reference,
            "rows": [_entry(entry, differences.get(entry.row, {})) for entry in table.rows],
        }

    def _differences(self, reference: str | None, row: str | None) -> dict[str, Any]:
        """Paired tests of a row against another, over all clips of the seeds that both have."""
        assert reference is not None and row is not None
        seeds = [run.seed for run in self.runs(row) if RowRun(reference, run.seed) in self.texts]
        pairs = [(self.texts[RowRun(reference, s)], self.texts[RowRun(row, s)]) for s in seeds]
        if not pairs or len({*pairs[0][0].languages}) > 1:
            return {}
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        found = paired_differences(
            [text for one in first for text in one.hypotheses],
            [text for one in second for text in one.hypotheses],
            [texts for one in first for texts in one.references],
            pairs[0][0].languages[0],
            normalisation=self.corpus.normalisation,
        )
        return {
            key: {
                "difference": round(one.difference, _DIGITS),
                "low": round(one.low, _DIGITS),
                "high": round(one.high, _DIGITS),
                "p": one.p,
                "seeds": seeds,
                "signature": one.signature,
            }
            for key, name in METRICS.items()
            if (one := found.get(name)) is not None
        }

    def _figure(self, figure: FigureSettings, rows: Mapping[str, Any]) -> dict[str, Any] | None:
        told: dict[str, Any] = {"name": figure.name, "title": figure.title}
        if figure.norms:
            shown = [run for row in figure.norms if row in rows for run in self.runs(row)]
            if not any(self.norms(run) for run in shown):
                return None
            larger = {
                row: [
                    round(share, _DIGITS) for run in self.runs(row) for share in self._larger(run)
                ]
                for row in figure.norms
                if row in rows
            }
            return {**told, "language_model_larger": larger}
        lines = [
            {
                "label": line.label,
                "points": [
                    [point.x, rows[point.row]["scores"][figure.metric]["values"]]
                    for point in line.points
                    if point.row in rows
                ],
            }
            for line in figure.lines
        ]
        if not any(line["points"] for line in lines):
            return None
        return {**told, "metric": figure.metric, "x_label": figure.x_label, "lines": lines}

    def _larger(self, run: RowRun) -> Iterator[float]:
        """Share of the measured steps in which the language model's gradient is the larger one."""
        for _, rows in self.norms(run):
            both = [row for row in rows if {_ENCODER, _WRITER} <= row.keys()]
            if both:
                share = np.mean([row[_WRITER] > row[_ENCODER] for row in both])
                yield round(float(share), _DIGITS)

    def norms(self, run: RowRun) -> list[tuple[str, list[dict[str, float]]]]:
        """Norms of each stage of a run that were measured, by the stage's name."""
        return [
            (node.stage.name, rows)
            for node in self.graph.chains[run]
            if (rows := read_metrics(node.stage_folder / NORMS_FILE))
        ]

    def _costs(self, name: str) -> list[dict[str, Any]]:
        return [
            {"seed": run.seed, "stages": [_cost(node) for node in self.graph.chains[run]]}
            for run in self.runs(name)
        ]


_ENCODER, _WRITER = "encoder_gradient", "language_model_gradient"


def _cost(node: Node) -> dict[str, Any]:
    usage = read_usage(node.folder)
    rows = sorted({run.row for run in node.used_by})
    return {"stage": node.stage.name, "key": node.key, **usage, "shared_by": rows}


def _entry(entry: Entry, differences: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"label": entry.label, "row": entry.row, "paper": dict(entry.paper)}
    if entry.paper_hours is not None:
        told["paper_hours"] = entry.paper_hours
    return {**told, "differences": differences}


def _spread(scores: Sequence[Scores]) -> dict[str, Any]:
    """Of each metric the values, their mean and standard deviation, and how it was computed."""
    found = {}
    for metric in METRICS:
        values = [getattr(one, metric) for one in scores]
        values = [None if value is None else round(value, _DIGITS) for value in values]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        found[metric] = {
            "values": values,
            "mean": round(float(np.mean(known)), _DIGITS) if whole else None,
            "sd": round(float(np.std(known, ddof=1)), _DIGITS)
            if whole and len(known) > 1
            else None,
            "signature": _signature(metric, scores[0]),
        }
    return found


def _signature(metric: str, scores: Scores) -> str:
    normalisation = f"normalisation:{scores.normalisation}"
    if metric == "rouge_l":
        return f"{ROUGE}, mean over sentences; {normalisation}"
    if metric == "chrf":
        references = scores.signature.partition("|")[0]
        own = str(CHRF(references=[["a"]]).get_signature()).partition("|")[2]
        return f"{references}|{own}; {normalisation}"
    return f"{scores.signature}|order:{metric[-1]}; {normalisation}"
