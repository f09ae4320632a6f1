"""Objectives of packages outside the repository, found by their entry points."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny
from unglossed.errors import InputError
from unglossed.training.callbacks import read_metrics
from unglossed.training.objectives import OBJECTIVES, OURS
from unglossed.training.recipe import load_recipe
from unglossed.training.train import train_recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "objective"
RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
ONE_STAGE = [
    "stages.pretraining.skip=true",
    "stages.llm_fine_tuning.skip=true",
    "stages.visual_initialing.epochs=1",
]
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with objectives where Python finds installed ones."""
    folder = tmp_path / "site-packages"

    def install(package: str, *points: str, module: Path | None = None, text: str = "") -> None:
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        table = "\n".join(["[unglossed.objectives]", *points])
        (info / "entry_points.txt").write_text(table, encoding="utf-8")
        if module is not None:
            shutil.copy(module, folder)
        else:
            (folder / f"{package}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, package, raising=False)

    return install


def test_the_example_trains_a_stage_with_another_loss_than_translation(
    install: Install, tmp_path: Path
) -> None:
    point = "confidence_penalty = confidence_penalty:ConfidencePenalty"
    assert point.replace("= ", '= "') in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    install("confidence-penalty", point, module=EXAMPLE / "confidence_penalty.py")
    corpus = tiny.write_corpus(tmp_path / "corpus", 3, 1)
    losses = []
    for objective in ("translation", "confidence_penalty"):
        output = tmp_path / objective
        own = f"stages.visual_initialing.objective={objective}"
        train_recipe(RECIPE, corpus, output, overrides=[*ONE_STAGE, own])
        rows = read_metrics(output / "1-visual_initialing" / "metrics.jsonl")
        assert any("eval_bleu4" in row for row in rows)
        losses.append(next(row["loss"] for row in rows if "loss" in row))
    plain, penalised = losses
    assert plain - 0.1 * 10 < penalised < plain - 0.1
    assert set(OBJECTIVES) == {*OURS, "confidence_penalty"}


def test_an_unknown_objective_is_one_line_with_those_that_there_are(install: Install) -> None:
    install("other", "own = other:Own", text="")
    with pytest.raises(InputError) as caught:
        load_recipe(RECIPE, ["stages.visual_initialing.objective=translatoin"])
    assert "found 'translatoin', expected one of translation, denoising, gloss_ctc," in str(
        caught.value
    )
    assert ", own, or the name of an entry point in unglossed.objectives" in str(caught.value)


@pytest.mark.parametrize(
    ("point", "text", "told"),
    [
        ("own = broken:Own", "import nothing_of_this_name\n", "cannot be imported: ModuleNotF"),
        ("own = broken:Own", "", "cannot be imported: AttributeError"),
        ("own = broken:Own", "Own = 3\n", "found 3, expected a subclass of unglossed.training.obj"),
        ("own = broken:Own", "from unglossed.training.objectives import Objective as Own\n", "abs"),
        ("translation = broken:Own", "", "the objective 'translation' is defined by unglossed al"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    point: str, text: str, told: str, install: Install
) -> None:
    install("broken", point, text=text)
    with pytest.raises(InputError) as caught:
        load_recipe(RECIPE, ["stages.visual_initialing.objective=own"])
    message = str(caught.value)
    assert told in message
    assert "broken:Own" in message
    assert "\n" not in message


def test_a_name_that_two_packages_give_is_refused(install: Install) -> None:
    install("one", "own = one:Own", text="")
    install("two", "own = two:Own", text="")
    with pytest.raises(InputError, match=r"two:Own|one:Own.* is defined by .* already"):
        load_recipe(RECIPE, ["stages.visual_initialing.objective=own"])
