"""Runs Python programs in processes of their own that have torch and transformers loaded already.

A new interpreter takes seconds to import them, longer than most programs of the tests then work.
A server imports them once for all tests of a worker, and each program is forked from it: it shares
nothing with the tests, and what it sets, changes or leaks dies with it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["unglossed.training.train", "unglossed.evaluation.evaluate"])


def run_python(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 900,
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS`, as `subprocess.run` with captured text; one thread.

    Args:
        arguments: `-m module`, `-c code` or a script, and what stands behind it.
        env: All variables of its environment; None: ours.
        cwd: Where it runs; None: here.
        timeout: Seconds after which it is killed.

    Raises:
        subprocess.TimeoutExpired: It took longer.
    """
    words = [str(word) for word in arguments]
    given = dict(os.environ if env is None else env)
    pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(2)]
    ends = [sender for _, sender in pipes]
    process = _CONTEXT.Process(target=_run, args=(words, given, str(cwd or Path.cwd()), ends))
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):  # of the server, once it starts
        process.start()
    for sender in ends:
        sender.close()
    with ThreadPoolExecutor(2) as pool:
        told = [pool.submit(_read, receiver) for receiver, _ in pipes]
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout)
        stdout, stderr = (one.result() for one in told)
    return subprocess.CompletedProcess(words, process.exitcode, stdout, stderr)


def _read(receiver: Connection) -> str:
    with os.fdopen(os.dup(receiver.fileno()), encoding="utf-8") as file:
        return file.read()


def _run(words: list[str], env: dict[str, str], cwd: str, ends: list[Connection]) -> None:
    for number, sender in enumerate(ends, start=1):
        os.dup2(sender.fileno(), number)
        sender.close()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    kind, *rest = words
    first = str(Path(kind).parent) if kind not in ("-c", "-m") else ""
    more = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [first, *more, *sys.path]
    if kind == "-c":
        sys.argv = words[:1] + rest[1:]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(kind, run_name="__main__")
