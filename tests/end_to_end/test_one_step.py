"""docs/explanation/one-step.md names the files that one step of stage 1 really runs through."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from transformers.trainer_callback import CallbackHandler

import tiny
import unglossed
from unglossed.training.train import train_recipe

pytestmark = pytest.mark.slow

SOURCE = Path(unglossed.__file__).parent
PAGE = Path(__file__).parents[2] / "docs/explanation/one-step.md"
RECIPE = Path(__file__).with_name("tiny.yaml")
MOST_OF_A_STEP, MOST_OF_A_STAGE = 22, 45
"""It was 13 and 29 before several processes shared a step: what they agree on, draws that belong to
clips, the watch over losses and rows in one block have a file each; so have temporal modules, of
which there are two kinds, the limits of a model's positions, and the choice among texts."""
STEP_ENDS, STAGE = CallbackHandler.on_step_end.__code__, "train_stage"


def page_files(heading: str) -> set[str]:
    """The files that a section of the page links, below src/unglossed."""
    _, found, section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    assert found, heading
    section = section.partition("\n## ")[0]
    return set(re.findall(r"\]\(\.\./\.\./src/unglossed/([\w/]+\.py)\)", section))


@contextmanager
def traced() -> Iterator[tuple[list[str], list[str]]]:
    """The files of ours that run within the second step, and within a stage, in their order."""
    step: dict[str, None] = {}
    stage: dict[str, None] = {}
    ended, inside = 0, False

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal ended, inside
        code = frame.f_code
        if event not in ("call", "return"):  # of Python, not of C
            return
        if code.co_name.lstrip("_") == STAGE:
            inside = event == "call"
        elif code is STEP_ENDS and event == "return":
            ended += 1
        if event == "return" or not inside or code.co_name == "<module>":
            return
        path = Path(code.co_filename)
        if path.is_relative_to(SOURCE):
            name = path.relative_to(SOURCE).as_posix()
            stage.setdefault(name)
            if ended == 1:
                step.setdefault(name)

    files: tuple[list[str], list[str]] = ([], [])
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
    files[0].extend(step)
    files[1].extend(stage)


def rows(files: list[str]) -> str:
    """Files as the page has them, in the order in which they run."""
    return "\n".join(f"| [`{name}`](../../src/unglossed/{name}) | |" for name in files)


def test_the_page_names_the_files_that_run(tmp_path: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "corpus", num_train=8, num_dev=2)
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["stages"] = [one for one in recipe["stages"] if one["name"] == "visual_initialing"]
    recipe["stages"][0]["epochs"] = 1
    path = tmp_path / "stage_1.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")

    with traced() as (step, stage):
        train_recipe(path, corpus, tmp_path / "run", overrides=["num_workers=0"])
    rest = [name for name in stage if name not in step]

    assert set(step) == page_files("One step"), f"the section One step should have\n{rows(step)}"
    assert set(rest) == page_files("Around the steps"), (
        f"the section Around the steps should have\n{rows(rest)}"
    )
    assert len(step) <= MOST_OF_A_STEP, rows(step)
    assert len(stage) <= MOST_OF_A_STAGE, rows(stage)
