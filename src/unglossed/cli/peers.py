"""`unglossed import`: checkpoints of other public code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unglossed.cli.common import silence_loading


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="File of the peer's training, .pth.")],
    peer: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Whose it is: sltbaselines or gfslt.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the model to.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of tokenizer and config.json; the checkpoint's by default."
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            help="Language of the texts, such as de; of the corpus that the checkpoint names.",
        ),
    ] = None,
    start_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="With which texts start; the tokenizer's code of the language by default.",
        ),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Attention heads; of config.json, or the light model's 8."
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Activation; of config.json, or the light model's relu."),
    ] = None,
    scale_embedding: Annotated[
        bool | None,
        typer.Option(
            "--scale-embedding/--no-scale-embedding",
            help="Scale embeddings of words; as config.json says, or as in the light model: yes.",
        ),
    ] = None,
    scale_features: Annotated[
        bool,
        typer.Option(
            "--scale-features",
            help="Scale the adapter's output: the peer's YAML has training.scale_embedding: true.",
        ),
    ] = False,
) -> None:
    """Turn a checkpoint of other public code into a model folder; nothing in the file runs."""
    from unglossed.peers.importing import import_checkpoint

    silence_loading()
    made = import_checkpoint(
        checkpoint,
        peer,
        output,
        tokenizer=tokenizer,
        language=language,
        start_token=start_token,
        heads=heads,
        activation=activation,
        scale=scale_embedding,
        scale_features=scale_features,
    )
    print(made)
