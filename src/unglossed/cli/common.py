"""What the verbs of the command line share: options, output, errors."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from unglossed.errors import one_line

FAULTS_FOUND = 1
INPUT_WRONG = 2

CORPUS = "Corpus, e.g. phoenix14t:/data/PT."
CorpusSpec = Annotated[str, typer.Option("--corpus", metavar="SPEC", help=CORPUS)]
ModelName = Annotated[str, typer.Argument(help="Run folder, model folder or hub name.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Values to set in the recipe."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")]


def show(result: Any, as_json: bool) -> None:
    """Print a result as text, or its `to_dict()` as JSON."""
    print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) if as_json else result)


def fail(message: str) -> None:
    """Print one `error:` line to stderr."""
    print(f"error: {one_line(message)}", file=sys.stderr)


def given(**options: Any) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in options.items() if value is not None}


def silence_loading() -> None:
    """Keep transformers' progress bars and reports out of the output: we say what is wrong."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
