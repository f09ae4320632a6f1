"""Training under Slurm from Python, by submitit; needs `pip install submitit`.

    python examples/scale/train_submitit.py RECIPE --corpus SPEC --output DIR [KEY=VALUE...]

submitit pickles a job and queues the pickle again when its time is over. So a job must not name a
checkpoint: the pickle would name the same one for ever. This one names the run's folder and
`--resume`, which finds the newest checkpoint when it starts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import submitit

LOGS = Path("logs")
MACHINES, GPUS, HOURS = 2, 8, 24
# Before the time is over; a checkpoint has to be written by then.
GRACE_SECONDS = 300


class Training:
    """One process of a training: what submitit calls, and pickles.

    Args:
        words: What stands behind `unglossed train`.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """The command line, the same for the first start and all others."""
        return [sys.executable, "-m", "unglossed", "train", *self.words, "--resume"]

    def __call__(self) -> int:
        """Train until the end, or until submitit asks for a checkpoint."""
        if MACHINES * GPUS > 1 and submitit.JobEnvironment().num_tasks > 1:
            submitit.helpers.TorchDistributedEnvironment().export()
        self._process = subprocess.Popen(self.command)
        code = self._process.wait()
        if code:
            raise RuntimeError(f"unglossed train ended with code {code}; its line is in the log")
        return code

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Have the process save and end, and say what to queue again."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGUSR1)
            # This runs in a signal handler, within the wait() above, whose lock is taken.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Training(self.words))


def main(words: list[str], cluster: str | None = None) -> submitit.Job[int]:
    """Queue a training.

    Args:
        words: What stands behind `unglossed train`.
        cluster: `slurm`, or `local` and `debug` to try it; Slurm where it is there, if not given.
    """
    executor = submitit.AutoExecutor(folder=LOGS / "%j", cluster=cluster)
    executor.update_parameters(name="unglossed", timeout_min=HOURS * 60)
    if executor.cluster == "slurm":
        executor.update_parameters(
            nodes=MACHINES,
            tasks_per_node=GPUS,
            gpus_per_node=GPUS,
            cpus_per_task=8,
            slurm_signal_delay_s=GRACE_SECONDS,
        )
    return executor.submit(Training(words))


if __name__ == "__main__":
    print(main(sys.argv[1:]).job_id)
