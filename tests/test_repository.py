"""What the repository says about itself: its documents, pins and citation agree with its code."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

import unglossed
from unglossed.cli import app

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "examples")
PAGES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.md"))]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES]
MOST_LINES_OF_README, MOST_COLUMNS, MOST_LINES_OF_A_MODULE = 130, 100, 500
README = (ROOT / "README.md").read_text(encoding="utf-8")


def read_blocks(language: str, text: str = README) -> list[str]:
    """The code blocks in a language of the README, or of another text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def read_commands(*documents: Path) -> list[list[str]]:
    """The `unglossed` command lines of documents, in words, each once."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents)
    lines = "".join(read_blocks("sh", text)).replace("\\\n", " ").splitlines()
    lines = sorted({line for line in lines if line.startswith("unglossed ")})
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    targets = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [name for name in targets if name and not (document.parent / name).exists()]

    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_end_at_100_characters(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    texts = [re.sub(r"\]\([^)]*\)", "]", line) for line in lines]  # a link is as long as it is
    too_long = [
        f"line {number}: {line}"
        for number, line in enumerate(texts, start=1)
        if len(line) > MOST_COLUMNS and not line.startswith("|") and " " in line
    ]

    assert not too_long


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES_OF_README


def test_every_page_has_its_place_in_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", site, flags=re.MULTILINE)
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}

    assert sorted(listed) == sorted(pages)


def test_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.findall(r"^## \[(.+?)\]", text, flags=re.MULTILINE)[:2] == [
        "Unreleased",
        unglossed.__version__,
    ]


@pytest.mark.parametrize("package", ["unglossed", "unglossed_synth"])
def test_modules_are_not_too_long(package: str) -> None:
    modules = sorted((ROOT / "src" / package).rglob("*.py"))
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}

    assert [path for path, number in lines.items() if number > MOST_LINES_OF_A_MODULE] == []


def test_readme_shows_commands_for_every_step() -> None:
    assert {"synth", "train", "evaluate", "translate"} <= {
        words[1] for words in read_commands(ROOT / "README.md")
    }


@pytest.mark.parametrize("words", read_commands(*DOCUMENTS), ids=" ".join)
def test_commands_are_accepted(words: list[str]) -> None:
    command, rest, context = typer.main.get_command(app), words[1:], None
    while hasattr(command, "resolve_command"):
        context = command.make_context("unglossed", list(rest), parent=context)
        _, command, rest = command.resolve_command(context, rest)
    parsed = command.make_context(words[1], list(rest), parent=context)

    assert parsed.params or not command.params


def test_readme_recipes_are_those_that_exist() -> None:
    named = set(re.findall(r"\]\(recipes/([\w.]+)\)", README))

    assert named == {path.name for path in (ROOT / "recipes").glob("*.yaml")}


@pytest.mark.parametrize("source", read_blocks("python"))
def test_readme_python_uses_public_names(source: str) -> None:
    tree = ast.parse(source)
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "unglossed"
        for alias in node.names
    ]
    used = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "unglossed"
    ]

    assert imported + used
    assert all(callable(getattr(unglossed, name)) for name in imported + used)


def test_citation_has_the_package_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert citation["version"] == unglossed.__version__


def test_constraints_pin_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    wanted = [
        name for name in [*project["dependencies"], *extras] if not name.startswith("unglossed[")
    ]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    # A local label such as +cpu would exclude every other build of the same release.
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    assert {re.split(r"[><=]", name)[0].lower() for name in wanted} <= pinned


def test_every_row_of_the_reliability_page_names_a_test_that_exists() -> None:
    rows = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    rows = [row for row in rows if row.startswith("| ") and not row.startswith("| kind |")]
    named = [re.findall(r"`(tests/\S+\.py)::(\w+)`", row) for row in rows]
    missing = [
        f"{path}::{name}"
        for row in named
        for path, name in row
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]

    assert len(rows) >= 60
    assert all(named)
    assert not missing
