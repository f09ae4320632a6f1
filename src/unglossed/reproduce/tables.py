"""The numbers of a plan as Markdown, LaTeX and CSV; see `results.py` for where they come from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unglossed.evaluation.significance import format_p
from unglossed.reproduce.plan import METRICS

_COLUMNS = (
    *("table", "label", "row", "metric", "paper", "mean", "sd", "values", "seeds"),
    *("reference", "difference", "low", "high", "p"),
    *("without_train_sentences", "num_clips", "num_clips_without_train_sentences"),
    *("parameters", "hours", "memory_gb", "gpu_memory_gb", "signature", "analogue"),
)
_NONE = "–"
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "<": "$<$",
    "|": r"\textbar{}",
}


def to_csv(content: Mapping[str, Any]) -> str:
    """Every number of every table, one row a line and metric, with its signature."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in content["tables"]:
        for entry in table["rows"]:
            for metric in METRICS:
                writer.writerow(_csv_row(content, table, entry, metric))
    return file.getvalue()


def _csv_row(
    content: Mapping[str, Any], table: Mapping[str, Any], entry: Mapping[str, Any], metric: str
) -> dict[str, Any]:
    told = {
        "table": table["name"],
        "label": entry["label"],
        "row": entry["row"],
        "metric": metric,
        "paper": entry["paper"].get(metric),
    }
    row = content["rows"].get(entry["row"])
    if row is None:
        return told
    score, apart = row["scores"][metric], row["without_train_sentences"]
    costs = _costs(content, entry["row"])
    told |= {
        "mean": score["mean"],
        "sd": score["sd"],
        "values": " ".join(map(str, score["values"])),
        "seeds": " ".join(map(str, row["seeds"])),
        "reference": table["reference"],
        "without_train_sentences": apart["scores"].get(metric, {}).get("mean"),
        "num_clips": row["num_clips"],
        "num_clips_without_train_sentences": apart["num_clips"],
        "parameters": _parameters(row),
        "hours": round(costs["seconds"] / 3600, 4),
        "memory_gb": round(costs["memory"] / 1e9, 3),
        "gpu_memory_gb": round(costs["gpu_memory"] / 1e9, 3),
        "signature": score["signature"],
        "analogue": row["analogue"],
    }
    difference = entry["differences"].get(metric)
    if difference is not None:
        told |= {key: difference[key] for key in ("difference", "low", "high", "p")}
    return told


def to_markdown(content: Mapping[str, Any]) -> str:
    """The page of all tables."""
    parts = [f"# {content['plan']}", *_head(content)]
    for table in content["tables"]:
        parts += [f"## {table['title']}", _grid(*_cells(content, table))]
        parts += list(_remarks(content, table))
    for figure in content["figures"]:
        parts += [f"## {figure['title']}", f"![{figure['title']}]({figure['name']}.svg)"]
        parts += list(_about_figure(figure))
    parts += ["## What it took", _grid(*_cost_cells(content)), _COSTS]
    parts += ["## How the scores were computed", *_signatures(content)]
    return "\n\n".join(parts) + "\n"


_COSTS = (
    "Parameters: those of the row's model. Hours: of each stage, shared ones too, calls that were"
    " ended included; means over seeds. Memory: the most of the training process, and of the GPU."
)


def to_latex(content: Mapping[str, Any]) -> str:
    """All tables, to be read into a document that uses the package booktabs."""
    parts = [f"% {content['plan']}, scale {content['scale']}; needs the package booktabs"]
    parts += [f"% {line}" for line in _signatures(content)]
    for table in content["tables"]:
        heads, rows = _cells(content, table)
        lines = [" & ".join(map(_latex, row)) + r" \\" for row in (heads, *rows)]
        columns = "l" * 2 + "r" * (len(heads) - 2)
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    lines[0],
                    r"\midrule",
                    *lines[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    rf"\caption{{{_latex(table['title'])}}}",
                    rf"\label{{tab:{table['name']}}}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _head(content: Mapping[str, Any]) -> Iterator[str]:
    corpus = content["corpus"]
    counts = ", ".join(f"{count:,} {name}" for name, count in corpus["clips"].items())
    yield (
        f"Scale {content['scale']}, corpus {corpus['kind']} in {corpus['language']} ({counts}),"
        f" scored on {content['split']}, unglossed {content['version']}."
    )
    if content["note"]:
        yield content["note"]
    yield (
        "Ours: mean ± standard deviation over seeds. Difference to the row that is marked with *,"
        " in brackets its 95 % interval by the paired bootstrap, and p by paired approximate"
        " randomisation (10,000 trials, ties counted), over the clips of all seeds together; a p"
        " says nothing of how another training would come out. Without train's sentences: the clips"
        " whose sentence no clip of train has."
    )


def _cells(
    content: Mapping[str, Any], table: Mapping[str, Any]
) -> tuple[list[str], list[list[str]]]:
    """Head and lines of a table."""
    heads = ["", "metric", "paper", "ours", "difference", "p", "without train's sentences"]
    rows = []
    for entry in table["rows"]:
        is_reference = entry["row"] is not None and entry["row"] == table["reference"]
        label = f"{entry['label']} *" if is_reference else entry["label"]
        for metric in table["metrics"]:
            rows.append([label, METRICS[metric], *_numbers(content, entry, metric)])
            label = ""
    return heads, rows


def _numbers(content: Mapping[str, Any], entry: Mapping[str, Any], metric: str) -> list[str]:
    paper = entry["paper"].get(metric)
    told = [_NONE if paper is None else f"{paper:.2f}"]
    row = content["rows"].get(entry["row"])
    if row is None:
        return told + [_NONE] * 4
    told.append(_mean(row["scores"][metric]))
    difference = entry["differences"].get(metric)
    if difference is None:
        told += [_NONE, _NONE]
    else:
        low, high = _signed(difference["low"]), _signed(difference["high"])
        told += [
            f"{_signed(difference['difference'])} ({low} to {high})",
            format_p(difference["p"]),
        ]
    apart = row["without_train_sentences"]
    found = apart["scores"].get(metric)
    clips = f"({apart['num_clips']:,} of {row['num_clips']:,} clips)"
    told.append(_NONE if found is None else f"{_mean(found)} {clips}")
    return told


def _remarks(content: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[str]:
    """What stands for the paper's systems, and the paper's hours."""
    lines = []
    for entry in table["rows"]:
        row = content["rows"].get(entry["row"])
        if row is not None and row["analogue"]:
            lines.append(f"- {entry['label']}: {row['analogue']}")
    hours = [
        f"{entry['label']} {entry['paper_hours']:.2f}"
        for entry in table["rows"]
        if "paper_hours" in entry
    ]
    if hours:
        told = "ours are below, under what it took"
        lines.append(f"- The paper's hours of stage 1: {', '.join(hours)}; {told}.")
    if lines:
        yield "\n".join(lines)


def _about_figure(figure: Mapping[str, Any]) -> Iterator[str]:
    if "lines" in figure:
        name = METRICS[figure["metric"]]
        heads = [f"{figure['x_label']}", *(f"{line['label']}: {name}" for line in figure["lines"])]
        places = sorted({x for line in figure["lines"] for x, _ in line["points"]})
        rows = []
        for place in places:
            cells = []
            for line in figure["lines"]:
                values: Sequence[Any] = next(
                    (found for x, found in line["points"] if x == place), []
                )
                cells.append(" / ".join(_NONE if v is None else f"{v:.2f}" for v in values))
            rows.append([f"{place:g}", *(cell or _NONE for cell in cells)])
        yield _grid(heads, rows)
        return
    told = [
        f"{row}: {', '.join(f'{100 * share:.0f} %' for share in shares)}"
        for row, shares in figure["language_model_larger"].items()
        if shares
    ]
    if told:
        yield (
            "Share of the measured steps in which the gradient of the language model's last layer"
            f" is larger than that of the visual encoder's, by seed: {'; '.join(told)}."
        )


def _cost_cells(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    heads = ["row", "parameters", "hours by stage", "memory", "GPU memory"]
    rows = []
    for name, row in content["rows"].items():
        costs = _costs(content, name)
        hours = [f"{stage} {seconds / 3600:.3f}" for stage, seconds in costs["stages"].items()]
        rows.append(
            [
                name,
                f"{_parameters(row):,}",
                ", ".join(hours),
                f"{costs['memory'] / 1e9:.2f} GB",
                f"{costs['gpu_memory'] / 1e9:.2f} GB" if costs["gpu_memory"] else _NONE,
            ]
        )
    return heads, rows


def _costs(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a row took: means over its seeds of the seconds, the most of the memory."""
    runs = content["costs"][name]
    stages: dict[str, float] = {}
    for run in runs:
        for one in run["stages"]:
            seconds = one.get("seconds", 0.0) / len(runs)
            stages[one["stage"]] = stages.get(one["stage"], 0.0) + seconds
    every = [one for run in runs for one in run["stages"]]
    return {
        "stages": stages,
        "seconds": sum(stages.values()),
        "memory": max((one.get("memory", 0.0) for one in every), default=0.0),
        "gpu_memory": max((one.get("gpu_memory", 0.0) for one in every), default=0.0),
    }


def _parameters(row: Mapping[str, Any]) -> int:
    """Weights of a row's model."""
    last = list(row["parameters"].values())[-1]
    return sum(last.values())


def _signatures(content: Mapping[str, Any]) -> Iterator[str]:
    for row in list(content["rows"].values())[:1]:
        for metric, score in row["scores"].items():
            yield f"{METRICS[metric]}: {score['signature']}."
    for table in content["tables"]:
        for entry in table["rows"]:
            for metric, one in entry["differences"].items():
                if metric == "bleu4":
                    yield f"Paired tests of BLEU-4: {one['signature']}."
                    return


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _mean(score: Mapping[str, Any]) -> str:
    if score["mean"] is None:
        return "n/a"
    spread = "" if score["sd"] is None else f" ± {score['sd']:.2f}"
    return f"{score['mean']:.2f}{spread}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
