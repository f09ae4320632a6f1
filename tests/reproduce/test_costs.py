"""What a plan costs, by what is measured; where calls of a Slurm array begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.files import write_checksums
from unglossed.reproduce.costs import estimate, tell_work
from unglossed.reproduce.graph import RUN, Graph, Node, build_graph
from unglossed.reproduce.plan import load_plan
from unglossed.reproduce.task import USAGE
from unglossed.reproduce.workers import _from_own_place


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    corpus = read_corpus(tiny.write_corpus(tmp_path / "corpus"))
    rows = ["factorized", "frames_100", "stage_1_third_alone"]
    return build_graph(load_plan("fla_llm"), rows, "small", [0], corpus, "x", tmp_path)


def do(node: Node, **usage: float) -> None:
    (node.folder / RUN / "model").mkdir(parents=True)
    node.model.mkdir(parents=True)
    write_checksums(node.model)
    (node.folder / USAGE).write_text(json.dumps(usage), encoding="utf-8")
    if node.split is not None:
        node.scores.mkdir(parents=True)
        (node.scores / "metrics.json").touch()


def stage_1(graph: Graph, share: float, epochs: int) -> Node:
    return next(
        node
        for node in graph.nodes.values()
        if node.stage.name == "visual_initialing"
        and (node.recipe.video.frame_share, node.stage.epochs) == (share, epochs)
    )


def test_time_is_told_by_what_stages_of_the_kind_took(graph: Graph) -> None:
    nodes = list(graph.nodes.values())
    assert len(nodes) == 6  # pre-training, three of stage 1, two of stage 2
    assert estimate(nodes, 2).tell(1) == "6 of a kind that is not measured yet"
    assert tell_work(nodes).startswith("6 stages, 0 done; to do: 6 (1 on texts, 3 on an encoder,")

    do(stage_1(graph, 0.25, 9), seconds=900.0)

    left = estimate(nodes, 2)
    assert left.num_unknown == 3
    # A third of the epochs; and four times the frames, of which a twentieth costs nothing.
    assert left.seconds == pytest.approx(300 + 900 * 1.05 / 0.30)
    assert left.tell(2).startswith("about 29 min and 3 of a kind")
    assert "6 stages, 1 done; to do: 5" in tell_work(nodes)


def test_scoring_counts_where_it_is_measured(graph: Graph) -> None:
    first = stage_1(graph, 0.25, 3)
    do(first, seconds=30.0, scoring_seconds=8.0)
    nodes = [first, stage_1(graph, 0.25, 9)]
    alone = estimate(nodes, 2).seconds

    nodes[1].split = first.split

    assert alone == pytest.approx(90)
    assert estimate(nodes, 2).seconds == pytest.approx(98)


def test_calls_of_an_array_begin_elsewhere(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = list(graph.nodes.values())
    assert _from_own_place(nodes) == nodes
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "8")
    assert _from_own_place(nodes) == [*nodes[2:], *nodes[:2]]
    assert _from_own_place([]) == []
