"""The verbs `unglossed corpus ...`: check a corpus before training, count it, pack it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from unglossed.cli.common import CORPUS, FAULTS_FOUND, AsJson, Overrides, show
from unglossed.errors import InputError, note

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check a corpus, count what it holds, or pack it for fast reading.",
)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help=CORPUS)]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that read; as many as cores by default.")
]


@app.command()
def check(
    spec: Spec,
    overrides: Overrides = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every file as well, from beginning to end.")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Also check what this recipe needs: its clips' kind and length, glosses, splits.",
        ),
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Faults of each kind that are printed.")] = 5,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Find every fault of a corpus in one pass; exit code 1 if there are errors."""
    from unglossed.corpora.check import check_corpus
    from unglossed.corpora.check_times import Limits

    limits = needs = None
    if overrides and recipe is None:
        raise InputError(f"found {overrides[0]!r}, expected --recipe with it, in which it is set")
    if recipe is not None:
        from unglossed.training.recipe import load_recipe

        chosen = load_recipe(recipe, overrides or [])
        limits, needs = Limits(max_seconds=chosen.max_seconds), chosen.needs
    report = check_corpus(
        spec,
        deep=deep,
        limits=limits,
        needs=needs,
        num_workers=workers,
        max_examples=examples,
        progress=sys.stderr.isatty(),
    )
    show(report, as_json)
    if report.has_errors:
        raise typer.Exit(FAULTS_FOUND)


@app.command()
def stats(
    spec: Spec,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for stats.json and histograms as SVG."),
    ] = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Count samples, hours, signers and words of each split, as papers print them."""
    from unglossed.corpora.stats import check_output, corpus_stats, write_stats

    if output is not None:
        check_output(output)
    counted = corpus_stats(spec, num_workers=workers, progress=sys.stderr.isatty())
    for line in counted.notes:
        note(line)
    show(counted, as_json)
    if output is not None:
        from unglossed.plots import draw_histograms

        write_stats(counted, output)
        draw_histograms(output, counted.seconds, counted.num_words, counted.signers)


@app.command()
def pack(
    spec: Spec,
    out: Annotated[Path, typer.Argument(help="Folder to write the packed corpus to.")],
    short_side: Annotated[
        int, typer.Option(min=16, help="Pixels of a frame's short side; never enlarged.")
    ] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEG pictures.")] = 90,
    splits: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Splits to pack; all by default.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Most megabytes of a shard.")] = 256,
    workers: Workers = None,
) -> None:
    """Write resized frames into shards that read fast; go on where a call was interrupted."""
    try:
        from unglossed.corpora.pack import pack_corpus

        packing = pack_corpus(
            spec,
            out,
            splits=splits.split(",") if splits else None,
            max_shard_bytes=shard_size * 1_000_000,
            short_side=short_side,
            quality=quality,
            num_workers=workers,
            progress=sys.stderr.isatty(),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to go on") from None
    for line in packing.manifest.notes:
        note(line)
    print(packing, file=sys.stderr)
    print(f"packed:{out}")
