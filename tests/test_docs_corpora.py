"""The pages about corpora: examples are read, each quirk's test is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from pympi import Elan

from unglossed.corpora.registry import _READERS, read_corpus
from unglossed.evaluation.metrics import NFKC_PLAIN_SIGNS, NORMALISATIONS
from unglossed.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/corpora").glob("*.md"))
INDEX = (ROOT / "docs/corpora/README.md").read_text(encoding="utf-8")
SPEC = re.compile(r"(?<![\w/])([a-z0-9_]+):(?:/(?!/)|data/)")


def table_rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the index, without its two head lines."""
    _, found, section = INDEX.partition(f"\n## {heading}\n")
    assert found, heading
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


QUIRKS = table_rows("Quirks")


@cache
def functions_of(path: Path) -> frozenset[str]:
    """Names of the functions that a file of tests defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", QUIRKS, ids=lambda row: f"{row[0]}, {row[1]}"[:60])
def test_each_quirk_has_a_test_that_exists(row: list[str]) -> None:
    _, quirk, handled, tests = row
    assert quirk
    assert handled
    names = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
    assert names
    assert len(names) == tests.count("::")
    for path, name in names:
        assert name in functions_of(ROOT / path), f"{path} has no {name}"


def test_quirks_are_told_of_each_kind_of_corpus() -> None:
    told = {kind for row in QUIRKS for kind in re.findall(r"`(\w+)`", row[0])}
    assert told == set(_READERS)


def test_index_lists_the_kinds_that_can_be_read_and_their_normalisation() -> None:
    rows = {row[0].strip("`"): row for row in table_rows("Kinds")}
    assert set(rows) == set(_READERS)
    pattern = r"`(nfk?c\w*\.v\d+)`"
    named = {name for row in rows.values() for name in re.findall(pattern, row[3])}
    assert named == set(NORMALISATIONS) - {NFKC_PLAIN_SIGNS}  # which no corpus asks for
    assert {row[0].strip("`") for row in table_rows("Scores")} >= set(NORMALISATIONS)


def test_index_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", INDEX))
    assert linked == {page.name for page in PAGES} - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_specs_name_kinds_that_exist(page: Path) -> None:
    kinds = SPEC.findall(page.read_text(encoding="utf-8"))
    assert kinds
    assert set(kinds) <= set(_READERS)


def test_worked_example_of_a_table_is_read_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/corpora/own-data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```\n(id,media.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "clips.csv").write_text(example, encoding="utf-8")
    (tmp_path / "videos").mkdir()
    (tmp_path / "frames/greeting").mkdir(parents=True)
    for name in ("lesson1", "lesson2"):
        (tmp_path / f"videos/{name}.mp4").touch()

    corpus = read_corpus(f"table:{tmp_path / 'clips.csv'}")
    first, second = corpus.split("train")
    (greeting,) = corpus.split("test")

    assert first.text == "heute lernen wir, wie man brot backt"
    assert (first.start_seconds, first.end_seconds, first.signer) == (2.4, 6.12, "anna")
    assert second.media == tmp_path / "videos/lesson1.mp4"
    assert (greeting.media, greeting.start_seconds) == (tmp_path / "frames/greeting", None)
    assert corpus.language == "de"
    assert len(corpus.split("dev")) == 1


def test_recipe_for_sound_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs/corpora/must_c.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "my_speech.yaml"
    path.write_text(example, encoding="utf-8")
    assert load_recipe(path).needs.signal == "audio"


def test_worked_example_of_a_folder_is_read_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/corpora/own-data.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"^```\nmine/\n((?:  \w+/[^\n]*\.mp4[^\n]*\n)+)```$", page, re.MULTILINE)
    texts = {
        ".txt": "guten morgen\n",
        ".vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\neins\n\n00:01.000 --> 00:02.500\nzwei\n",
    }
    for name in tree.split():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".eaf":
            elan = Elan.Eaf()
            elan.add_annotation("default", 500, 3200, "der teig muss ruhen")
            elan.to_file(str(path))
        else:
            path.write_text(texts.get(path.suffix, ""), encoding="utf-8")

    corpus = read_corpus(f"folder:{tmp_path}?language=de")
    found = {name: [sample.id for sample in rows] for name, rows in corpus.splits.items()}

    assert found == {
        "train": ["lesson1_1", "lesson1_2"],
        "dev": ["lesson2_1"],
        "test": ["greeting"],
    }
    assert corpus.split("train")[1].end_seconds == 2.5
    assert corpus.split("dev")[0].text == "der teig muss ruhen"
