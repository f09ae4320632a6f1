"""What a plan costs: steps to do, and hours as soon as something of the kind has been measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unglossed.reproduce.graph import Node
from unglossed.reproduce.task import read_usage
from unglossed.training.objectives import OBJECTIVES

TEXTS, FROZEN, PART, TRAINED = "texts", "stored features", "part of an encoder", "an encoder"
_SCORED = "clips that are scored"
_ALWAYS = 0.05
"""Cost of a clip of which no frame is read, in that of one of which all are."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that nodes will take, one after the other, and how many of them nobody can tell."""

    seconds: float
    num_unknown: int

    def tell(self, num_workers: int) -> str:
        """In words, with so many workers side by side."""
        told = f"about {_duration(self.seconds / num_workers)}"
        if not self.num_unknown:
            return told
        unknown = f"{self.num_unknown} of a kind that is not measured yet"
        return f"{told} and {unknown}" if self.seconds else f"{unknown}"


def estimate(nodes: Iterable[Node], num_scored: int) -> Estimate:
    """What nodes that are not done will take, by what those took that are.

    Args:
        nodes: All of a plan, done or not.
        num_scored: Clips of the split that is scored.
    """
    todo, spent, work = [], dict[str, float](), dict[str, float]()
    for node in nodes:
        if not node.is_done():
            todo.append(node)
            continue
        usage, kind = read_usage(node.folder), kind_of(node)
        spent[kind] = spent.get(kind, 0.0) + usage.get("seconds", 0.0)
        work[kind] = work.get(kind, 0.0) + work_of(node)
        if node.split is not None and "scoring_seconds" in usage:
            spent[_SCORED] = spent.get(_SCORED, 0.0) + usage["scoring_seconds"]
            work[_SCORED] = work.get(_SCORED, 0.0) + num_scored
    rates = {kind: spent[kind] / work[kind] for kind in work}
    known = [node for node in todo if kind_of(node) in rates]
    seconds = sum(rates[kind_of(node)] * work_of(node) for node in known)
    scored = sum(num_scored for node in known if node.split is not None)
    return Estimate(seconds + scored * rates.get(_SCORED, 0.0), len(todo) - len(known))


def kind_of(node: Node) -> str:
    """Nodes of one kind take about as long for the same work."""
    stage = node.stage
    if "encoder" not in OBJECTIVES[stage.objective].parts:
        return TEXTS
    if "encoder" in stage.frozen and stage.feature_views:
        return FROZEN
    return PART if any(name.startswith("encoder") for name in stage.frozen) else TRAINED


def work_of(node: Node) -> float:
    """What a node has to do, in units of its kind: clips read, by the share of their frames."""
    clips = node.num_clips * node.stage.epochs
    if kind_of(node) in (TEXTS, FROZEN) or node.recipe.audio is not None:
        return float(clips)
    return clips * (_ALWAYS + node.recipe.video.frame_share)


def tell_work(nodes: Sequence[Node]) -> str:
    """How many nodes there are, and how many steps are left."""
    todo = [node for node in nodes if not node.is_done()]
    steps = sum(node.num_steps for node in todo)
    kinds = [kind_of(node) for node in todo]
    told = ", ".join(f"{kinds.count(kind)} on {kind}" for kind in dict.fromkeys(kinds))
    detail = f" ({told})" if told else ""
    return (
        f"{len(nodes)} stages, {len(nodes) - len(todo)} done; to do: {len(todo)}{detail},"
        f" {steps:,} steps"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"
