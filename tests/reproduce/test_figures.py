"""Figures: what is averaged over what, the same bytes each time, every system named."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from unglossed.reproduce.figures import StageNorms, draw_norms, windows


def stage(name: str, num_steps: int, epochs: int, parts: dict[str, float]) -> StageNorms:
    rows = []
    for step in range(1, num_steps + 1):
        row: dict[str, float] = {"epoch": step / num_steps * epochs, "step": step}
        for part, size in parts.items():
            row[f"{part}_gradient"] = size * step
            row[f"{part}_parameters"] = 10 * size
            row[f"{part}_change"] = size * step / num_steps
        rows.append(row)
    return StageNorms(name, rows)


def test_windows_are_means_of_the_steps_within_them() -> None:
    x, y = windows(stage("joint", 8, 4, {"encoder": 1.0}), "encoder_gradient", 4, num_windows=4)

    np.testing.assert_allclose(x, [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(y, [1.5, 3.5, 5.5, 7.5])


def test_windows_without_a_step_are_left_out() -> None:
    x, y = windows(stage("joint", 2, 4, {"encoder": 1.0}), "encoder_gradient", 4, num_windows=4)

    np.testing.assert_allclose(x, [1.5, 3.5])
    np.testing.assert_allclose(y, [1, 2])


@pytest.mark.parametrize("rows", [[], [{"epoch": 1.0, "step": 1, "encoder_gradient": 1.0}]])
def test_a_part_that_was_not_measured_has_no_curve(rows: list[dict[str, float]]) -> None:
    x, y = windows(StageNorms("stage", rows), "language_model_gradient", 1)

    assert len(x) == len(y) == 0


def texts_of(path: Path) -> str:
    root = ElementTree.parse(path).getroot()
    return " | ".join("".join(node.itertext()) for node in root.iter() if node.tag.endswith("text"))


def test_norms_are_drawn_for_every_system_and_the_same_each_time(tmp_path: Path) -> None:
    both = {"encoder": 0.5, "language_model": 2.0}
    systems = {
        "joint": [[stage("joint", 20, 4, both)] for _ in range(2)],
        "factorized": [
            [stage("first", 20, 4, both), stage("second", 10, 3, {"language_model": 1.0})]
            for _ in range(2)
        ],
    }
    for name in ("one.svg", "two.svg"):
        draw_norms(tmp_path / name, systems)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    told = texts_of(tmp_path / "one.svg")
    for system in systems:
        for quantity in ("gradient norm", "parameter norm", "change since the start"):
            assert f"{system}: {quantity}" in told
    assert all(word in told for word in ("first", "second", "encoder, last layer"))
