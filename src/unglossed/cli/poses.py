"""`unglossed poses`: poses of a corpus's clips, by an estimator in an environment of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from unglossed.cli.common import CORPUS, FAULTS_FOUND
from unglossed.errors import InputError


def poses(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help=CORPUS)],
    out: Annotated[Path, typer.Argument(help="Folder to write the poses to.")],
    name: Annotated[
        str, typer.Option("--with", metavar="NAME", help="Estimator: mediapipe or rtmpose.")
    ],
    python: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Environment that has it, or its python; this one by default."
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Pose model in ONNX, for rtmpose.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Checksum that the model is to have.")
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Model in ONNX that finds the person; without one the person fills the picture.",
        ),
    ] = None,
    detector_sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Checksum that the detector is to have.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Rows a second.")] = 25.0,
    points: Annotated[
        str,
        typer.Option(metavar="NAME", help="all, or read: those that recipes read of the skeleton."),
    ] = "all",
    splits: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Splits to read; all by default.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, each with an estimator; as cores let by default."),
    ] = None,
) -> None:
    """Write the poses of each clip; go on where a call was interrupted. Poses are not anonymous."""
    from unglossed.poses.estimate import estimate_poses
    from unglossed.poses.estimator import EstimatorSettings, ModelFile

    if points not in ("all", "read"):
        raise InputError(f"--points: found {points!r}, expected all or read")
    for option, checksum, file in (
        ("--sha256", sha256, model),
        ("--detector-sha256", detector_sha256, detector),
    ):
        if checksum is not None and file is None:
            raise InputError(f"{option}: found a checksum, expected the file that is to have it")
    settings = EstimatorSettings(
        name,
        python,
        None if model is None else ModelFile(model, sha256),
        None if detector is None else ModelFile(detector, detector_sha256),
    )
    try:
        done = estimate_poses(
            spec,
            out,
            settings,
            splits=splits.split(",") if splits else None,
            rate=rate,
            only_read=points == "read",
            num_workers=workers,
            progress=sys.stderr.isatty(),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to go on") from None
    print(done, file=sys.stderr)
    if done.failed:
        raise typer.Exit(FAULTS_FOUND)
