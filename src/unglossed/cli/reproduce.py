"""The verb that reproduces a paper's tables."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from unglossed.cli.common import Overrides
from unglossed.errors import InputError
from unglossed.memory import save_memory

ScaleName = StrEnum("ScaleName", ["paper", "small"])


def reproduce(
    plan: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped plan.")],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of trainings, scores and tables.")
    ],
    overrides: Overrides = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="Corpus, e.g. phoenix14t:/data/PT; generated at scale small."
        ),
    ] = None,
    scale: Annotated[
        ScaleName, typer.Option(help="The paper's size, or one for two cores.")
    ] = ScaleName.paper,
    only: Annotated[
        str | None,
        typer.Option(metavar="ROW,...", help="Rows, tables or figures; all by default."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N,...", help="Of each row; the plan's by default.")
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Trainings side by side.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what it would cost, and train nothing.")
    ] = False,
) -> None:
    """Train, score and compare the rows of a paper's tables, each stage once, and write the tables.

    Done is what is done: a call that was ended goes on when it is repeated. Calls on several
    machines, such as a Slurm array, can work in one folder at a time.
    """
    save_memory()  # before torch is imported, also by the processes that train

    from unglossed.reproduce.plan import Scale
    from unglossed.reproduce.run import reproduce as run

    chosen: Scale = next(one for one in get_args(Scale) if one == scale.value)
    try:
        page = run(
            plan,
            output,
            corpus=corpus,
            scale=chosen,
            only=_chosen(only),
            seeds=seed_numbers(seeds),
            num_workers=workers,
            overrides=overrides or (),
            dry_run=dry_run,
            tell=lambda line: print(line, flush=True),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "what was trained is saved", "the same command goes on with it"
        ) from None
    if page is not None:
        print(page)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _chosen(text: str | None) -> list[str]:
    """Rows, tables and figures of a list; none where there is no list."""
    names = _names(text)
    if text is not None and not names:
        raise InputError(f"--only: found {text!r}, expected rows, tables or figures of the plan")
    return names


def seed_numbers(text: str | None) -> list[int] | None:
    """Seeds of a list such as 0,1,2."""
    if text is None:
        return None
    numbers = _names(text)
    if not numbers or not all(one.isdecimal() and int(one) < 2**31 for one in numbers):
        raise InputError(f"--seeds: found {text!r}, expected numbers such as 0,1,2")
    return list(dict.fromkeys(map(int, numbers)))
