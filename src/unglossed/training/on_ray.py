"""`unglossed train --ray`: Ray starts the processes of a training, and again those that are lost.

Each worker calls `train_recipe` as a process of `torchrun` does. What a restarted group goes on
from are the run's own checkpoints, on storage that all workers see: Ray keeps none.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from unglossed.errors import InputError, note
from unglossed.files import as_path, write_text
from unglossed.ranks import PATIENCE, FailedElsewhere, ProcessLost
from unglossed.training.cluster import connected, import_ray
from unglossed.training.run_folder import check_folder
from unglossed.training.train import train_recipe

_MOST_FAILURES = 8
"""After so many lost groups the cluster, or a clip, is at fault."""


def train_on_ray(
    address: str,
    num_workers: int,
    recipe: str,
    corpus: str,
    output: Path,
    *,
    resume: bool,
    max_failures: int = _MOST_FAILURES,
    **settings: Any,
) -> Path:
    """Train a recipe with the workers of a Ray cluster, one a GPU or else one a CPU.

    Args:
        address: As `connected` takes it.
        num_workers: How many.
        recipe: As `train_recipe` takes it; a file has to be on storage that all workers see, as
            have the corpus, the output and the features.
        corpus: See `train_recipe`.
        output: See `train_recipe`.
        resume: See `train_recipe`.
        max_failures: Times that a group with a lost worker is started again.
        settings: Further arguments of `train_recipe`.

    Returns:
        The folder of the final model.

    Raises:
        InputError: Ray is not installed, there is no cluster, it fails more often, or see
            `train_recipe`.
    """
    output = as_path(output, "output").absolute()
    check_folder(output, resume=resume)
    recipe = str(Path(recipe).absolute()) if Path(recipe).is_file() else recipe
    arguments = {"recipe": recipe, "corpus": corpus, "output": str(output), **settings}
    # Beside the run, whose folder has to be empty when it begins.
    state = output.with_name(f".{output.name}.ray")
    fault = state / "fault"
    note(f"what the workers say is in Ray's logs, losses and scores in {output}/*/metrics.jsonl")
    with connected(address, num_workers) as cluster:
        ray = import_ray()
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        on_gpus = cluster.gpus > 0
        trainer = TorchTrainer(
            _work,
            train_loop_config={"fault": str(fault), "arguments": arguments},
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if on_gpus else "gloo",
                timeout_s=int(PATIENCE.total_seconds()),
            ),
            scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=on_gpus),
            run_config=RunConfig(
                name=f"{output.name}-{time.time_ns()}",  # of a known name Ray gives the old result
                storage_path=str(state),
                failure_config=FailureConfig(max_failures=max_failures),
            ),
        )
        failed = ""
        try:
            trainer.fit()
        except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
            failed = " ".join(str(error).split())[:500]
        told = fault.read_text(encoding="utf-8") if fault.is_file() else ""
        shutil.rmtree(state, ignore_errors=True)
    if told:
        raise InputError(told)
    if failed:
        raise InputError(f"--ray {address}: the cluster failed: {failed}")
    return output / "model"


def _work(given: dict[str, Any]) -> None:
    """In a worker: train; a user's mistake is a file, as Ray would try again after an error.

    What is reported to Ray without a checkpoint does not come back (2.60.0).
    """
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    fault = Path(given["fault"])
    try:
        train_recipe(**given["arguments"], resume=True)
    except ProcessLost:
        if not fault.is_file():  # else the other one has ended over a user's mistake
            raise
    except FailedElsewhere:
        return
    except InputError as error:
        write_text(fault, str(error))
        dist.destroy_process_group()  # the others wait no longer
