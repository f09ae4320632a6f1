"""The verbs that train: `unglossed train` and, before it, `unglossed extract`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unglossed.cli.common import FAULTS_FOUND, CorpusSpec, Overrides, is_first_process
from unglossed.errors import InputError, one_line
from unglossed.memory import save_memory
from unglossed.signals import stopped_by

_SLURM_JOB = "SLURM_JOB_ID"

RecipeName = Annotated[str, typer.Argument(help="YAML file, or the name of a shipped recipe.")]
MaxDamaged = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Clips that may be left out because they cannot be read; 1 %, and 5 at least, if not"
        " given.",
    ),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Compute on this Ray cluster; auto: on the one that is there, or else on one that is"
        " started here; local: always on one that is started here.",
    ),
]


def train(
    recipe: RecipeName,
    corpus: CorpusSpec,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Run folder to write.")],
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in DIR where it stopped.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not look at all clips' headers before training.")
    ] = False,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Stored features, which runs can share, or their URL; in the run's by default.",
        ),
    ] = None,
    max_damaged: MaxDamaged = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Resume although the corpus changed since the run was begun."
        ),
    ] = False,
    save_every: Annotated[
        str,
        typer.Option(
            metavar="TIME|STEPS",
            help="Write a checkpoint at least so often: a time, such as 30min or 2h, or a number of"
            " steps. One is written whenever dev is scored and when the program is asked to end.",
        ),
    ] = "30min",
    keep: Annotated[
        int, typer.Option(metavar="K", min=1, help="Checkpoints to keep beside the best one.")
    ] = 2,
    shard_model: Annotated[
        bool,
        typer.Option(
            "--shard-model",
            help="Share the language model out among the processes (FSDP2), with gradients and"
            " optimiser state; else each process has all of it.",
        ),
    ] = False,
    requeue: Annotated[
        bool,
        typer.Option(
            "--requeue",
            help="Under Slurm: when SIGTERM or SIGUSR1 comes, put the job into the queue again,"
            " after the checkpoint is written. It goes on if it has --resume.",
        ),
    ] = False,
    ray: RayAddress = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Workers of the cluster that train; 2 if not given."),
    ] = None,
) -> None:
    """Train the stages of a recipe, one after the other.

    Ctrl-C, SIGTERM and SIGUSR1 end it when the step that is trained is done and saved; a second one
    ends it at once. Several processes, started by torchrun or accelerate launch, train together.
    """
    save_memory()  # before torch is imported

    from unglossed.files import is_full
    from unglossed.training.train import train_recipe

    if accept_changes and not resume:
        raise InputError("--accept-changes is for a run that is resumed: add --resume")
    if requeue and not os.environ.get(_SLURM_JOB):
        raise InputError(f"--requeue: expected a job of Slurm ({_SLURM_JOB} is not set)")
    if workers is not None and ray is None:
        raise InputError("--workers are those of a Ray cluster: add --ray")
    settings: dict[str, Any] = {
        "overrides": overrides or [],
        "check_media": not no_check,
        "features": features,
        "max_damaged": max_damaged,
        "accept_changes": accept_changes,
        "save_every": save_every,
        "keep": keep,
        "shard_model": shard_model,
    }
    try:
        if ray is None:
            model = train_recipe(recipe, corpus, output, resume=resume, **settings)
        else:
            from unglossed.training.on_ray import train_on_ray

            model = train_on_ray(
                ray, workers or 2, recipe, corpus, output, resume=resume, **settings
            )
    except OSError as error:
        if not is_full(error):
            raise
        told = "make room, then --resume goes on from the last checkpoint"
        raise InputError(f"{error.filename}: {error.strerror}: {told}") from None
    except KeyboardInterrupt as error:
        if requeue and stopped_by() != signal.SIGINT:
            _requeue()
        saved = [*map(str, error.args)] or ["the last checkpoint stays"]
        raise KeyboardInterrupt(*saved, f"go on with: {_again()}") from None
    if is_first_process():
        print(model)


def _again() -> str:
    """The command that goes on with the run, as it was given."""
    more = [] if "--resume" in sys.argv else ["--resume"]
    return shlex.join(["unglossed", *sys.argv[1:], *more])


def _requeue() -> None:
    """Put this job of Slurm into the queue again.

    Raises:
        InputError: Slurm refuses.
    """
    if not is_first_process():
        return
    command = ["scontrol", "requeue", os.environ[_SLURM_JOB]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        failed = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        failed = str(error.strerror)
    if failed:
        raise InputError(f"--requeue: {shlex.join(command)}: {failed}; the checkpoint is written")


def extract(
    recipe: RecipeName,
    corpus: CorpusSpec,
    output: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Folder for the features, or its URL (s3://, gs://); may have some already.",
        ),
    ],
    overrides: Overrides = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run folder with the stages that encoders come from."),
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not look at all clips' headers first.")
    ] = False,
    max_damaged: MaxDamaged = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Every N-th clip, from number I on; I from 1 to N."),
    ] = None,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing", help="Compute nothing: list the clips to do, exit code 1 if there are any."
        ),
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Clips in quarantine are to do as well.")
    ] = False,
    ray: RayAddress = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Actors on the cluster; one a core, or four a GPU."),
    ] = None,
) -> None:
    """Store what frozen encoders give, for `train --features DIR`."""
    from unglossed.training.extract import extract_features, find_missing
    from unglossed.training.shards import WHOLE, Share

    if workers is not None and ray is None:
        raise InputError("--workers are those of a Ray cluster: add --ray")
    share = WHOLE if shard is None else Share.parse(shard)
    if missing:
        todo, failed = find_missing(
            *(recipe, corpus, output),
            trained=run,
            overrides=overrides or [],
            share=share,
            retry=retry,
        )
        for name in todo:
            print(one_line(name))
        aside = f"; {len(failed):,} clips in quarantine, which --retry tries again"
        print(f"{len(todo):,} clips to do{aside if failed else ''}", file=sys.stderr)
        if todo:
            raise typer.Exit(FAULTS_FOUND)
        return
    done = extract_features(
        *(recipe, corpus, output),
        trained=run,
        overrides=overrides or [],
        check_media=not no_check,
        max_damaged=max_damaged,
        share=share,
        retry=retry,
        ray=ray,
        num_workers=workers,
    )
    print(done)
