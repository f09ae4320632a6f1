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
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def read_blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def read_commands() -> list[list[str]]:
    """The README's `unglossed` command lines, in words."""
    lines = "".join(read_blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("unglossed ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    targets = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [name for name in targets if name and not (document.parent / name).exists()]

    assert not missing


def test_readme_shows_commands_for_every_step() -> None:
    assert {"synth", "train", "evaluate", "translate"} <= {words[1] for words in read_commands()}


@pytest.mark.parametrize("words", read_commands(), ids=" ".join)
def test_readme_commands_are_accepted(words: list[str]) -> None:
    command, rest, context = typer.main.get_command(app), words[1:], None
    while hasattr(command, "resolve_command"):
        context = command.make_context("unglossed", list(rest), parent=context)
        _, command, rest = command.resolve_command(context, rest)
    parsed = command.make_context(words[1], list(rest), parent=context)

    assert parsed.params


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
