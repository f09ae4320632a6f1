"""Gathers the runs of `compare`: one JSON file, one page of tables, two figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unglossed.evaluation.metrics import format_score
from unglossed.evaluation.report import ScoreRow
from unglossed.files import write_text
from unglossed.reproduce.figures import Point, StageNorms, draw_norms, draw_scores
from unglossed.training.callbacks import METRICS_FILE, NORMS_FILE, read_metrics

MEASURES = {"bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "slot_f1": "slot F1"}
DEV_MEASURES = ("bleu4", "word_error_rate")
PARTS = ("encoder", "language_model")


@dataclass(frozen=True)
class Run:
    """A finished run: its system, its seed, its folder."""

    system: str
    seed: int
    folder: Path

    @property
    def stages(self) -> dict[str, Path]:
        """Folders of its stages by name, in their order."""
        folders = sorted(self.folder.glob("[0-9]-*"))
        return {folder.name.partition("-")[2]: folder for folder in folders}


def write_results(
    output: Path,
    facts: Mapping[str, Any],
    rows: Mapping[int, Sequence[ScoreRow]],
    runs: Sequence[Run],
) -> str:
    """Write `results.json`, `results.md`, `scores.svg` and `norms.svg`.

    Nothing in `results.json` depends on whether, or where, the work was interrupted.

    Args:
        output: folder of the comparison.
        facts: what was run, for the JSON file.
        rows: scores of each seed.
        runs: all runs.

    Returns:
        The page of tables.
    """
    found: list[dict[str, Any]] = [
        {
            "seed": seed,
            "system": row.system,
            "split": row.split,
            "yardstick": row.yardstick,
            **row.scores.to_dict(),
            "slot_f1": round(row.slot_f1 or 0.0, 4),
        }
        for seed, scored in rows.items()
        for row in scored
    ]
    norms = [
        {"seed": run.seed, "system": run.system, "stage": name, **summary}
        for run in runs
        for name, stage in run.stages.items()
        if (summary := norms_summary(read_metrics(stage / NORMS_FILE)))
    ]
    dev = [
        {"seed": run.seed, "system": run.system, "stage": name, **curve}
        for run in runs
        for name, stage in run.stages.items()
        if (curve := _dev_curve(read_metrics(stage / METRICS_FILE)))
    ]
    results = {**facts, "rows": found, "norms": norms, "dev": dev}
    write_text(output / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    points = [Point(row["system"], row["split"], row["bleu4"] or 0.0) for row in found]
    draw_scores(output / "scores.svg", points, "BLEU-4")
    systems: dict[str, list[list[StageNorms]]] = {}
    for run in runs:
        measured = [
            StageNorms(name, read_metrics(stage / NORMS_FILE)) for name, stage in run.stages.items()
        ]
        systems.setdefault(run.system, []).append(measured)
    draw_norms(output / "norms.svg", systems)
    pages = [_scores_page(found), _dev_page(dev), _norms_page(norms), _times_page(runs)]
    page = "\n\n".join(pages) + "\n"
    write_text(output / "results.md", page)
    return page


def norms_summary(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What a stage's norms come to.

    Args:
        rows: of its `norms.jsonl`.

    Returns:
        For each part that was trained the mean `gradient`, and `parameters` at the first and the
        last row, and the `change` at the last; with both parts, `language_model_larger`: the share
        of rows in which the language model has the larger gradient. Empty without rows.
    """
    summary: dict[str, Any] = {}
    for part in PARTS:
        if rows and f"{part}_gradient" in rows[0]:
            summary[part] = {
                "gradient": _rounded(np.mean([row[f"{part}_gradient"] for row in rows])),
                "parameters": [_rounded(rows[at][f"{part}_parameters"]) for at in (0, -1)],
                "change": _rounded(rows[-1][f"{part}_change"]),
            }
    if len(summary) == len(PARTS):
        larger = [row["language_model_gradient"] > row["encoder_gradient"] for row in rows]
        summary["language_model_larger"] = _rounded(np.mean(larger))
    return summary


def mean_and_spread(values: Sequence[float | None], digits: int) -> str:
    """Mean and sample standard deviation, as `38.2 ± 1.4`; a single value stands alone.

    Where a value is not defined (None), neither is the mean: `n/a`.
    """
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return format_score(None)
    mean = f"{np.mean(defined):.{digits}f}"
    return f"{mean} ± {np.std(defined, ddof=1):.{digits}f}" if len(defined) > 1 else mean


def _scores_page(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for split in dict.fromkeys(row["split"] for row in rows):
        chosen = [row for row in rows if row["split"] == split]
        seeds = " / ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in chosen))
        heads = [f"BLEU-4, seeds {seeds}", *(f"{name}, mean ± sd" for name in MEASURES.values())]
        lines = [f"| system | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for system in dict.fromkeys(row["system"] for row in chosen):
            own = [row for row in chosen if row["system"] == system]
            cells = [" / ".join(format_score(row["bleu4"], 1) for row in own)]
            for measure in MEASURES:
                digits = 3 if measure == "slot_f1" else 1
                cells.append(mean_and_spread([row[measure] for row in own], digits))
            lines.append(f"| {system} | {' | '.join(cells)} |")
        parts.append(f"### Scores on `{split}`\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _dev_page(dev: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| system, stage | seed | on dev | at epoch: value |", "|---|---|---|---|"]
    for row in dev:
        told = ", ".join(f"{epoch:g}: {value:.1f}" for epoch, value in row["curve"])
        lines.append(
            f"| {row['system']}, {row['stage']} | {row['seed']} | {row['measure']} | {told} |"
        )
    return "### While training\n\n" + "\n".join(lines)


def _norms_page(norms: Sequence[Mapping[str, Any]]) -> str:
    quantities = ("gradient", "parameters, first to last", "change")
    names = ("encoder", "language model")
    heads = ["system, stage", *(f"{name}: {what}" for name in names for what in quantities)]
    heads.append("language model's gradient larger")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for system, stage in dict.fromkeys((row["system"], row["stage"]) for row in norms):
        own = [row for row in norms if (row["system"], row["stage"]) == (system, stage)]
        cells = [f"{system}, {stage}"]
        for part in PARTS:
            found = [row[part] for row in own if part in row]
            cells += _part_cells(found) if found else ["–"] * len(quantities)
        shares = [row["language_model_larger"] for row in own if "language_model_larger" in row]
        cells.append(f"{100 * np.mean(shares):.0f} % of steps" if shares else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "### Norms of the last layers, means over seeds\n\n" + "\n".join(lines)


def _part_cells(found: Sequence[Mapping[str, Any]]) -> list[str]:
    first, last = np.mean([one["parameters"] for one in found], axis=0)
    return [
        f"{np.mean([one['gradient'] for one in found]):.3g}",
        f"{first:.3g} to {last:.3g}",
        f"{np.mean([one['change'] for one in found]):.2f}",
    ]


def _times_page(runs: Sequence[Run]) -> str:
    lines = [
        "| system | seed | seconds of each stage, since it was last resumed |",
        "|---|---|---|",
    ]
    for run in runs:
        told = []
        for stage in run.stages.values():
            facts = json.loads((stage / "model" / "stage.json").read_text(encoding="utf-8"))
            told.append(f"{facts['name']} {facts['seconds']:.0f}")
        lines.append(f"| {run.system} | {run.seed} | {', '.join(told)} |")
    return "### Time\n\n" + "\n".join(lines)


def _dev_curve(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The measure that chose a stage's checkpoint: its name and its (epoch, value) on dev."""
    for measure in DEV_MEASURES:
        key = f"eval_{measure}"
        curve = [(row["epoch"], round(row[key], 4)) for row in rows if row.get(key) is not None]
        if curve:
            return {"measure": measure, "curve": curve}
    return {}


def _rounded(value: Any) -> float:
    """Four significant digits."""
    number = float(value)
    return round(number, 3 - math.floor(math.log10(abs(number)))) if number else 0.0
