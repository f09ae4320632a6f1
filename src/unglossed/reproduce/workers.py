"""Does the nodes of a graph, some side by side, each in a process of its own.

Any number of calls, on any machines that see the folder, share the nodes: each is taken by who
locks its folder first. A call that finds only nodes that others work on waits for them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from unglossed.errors import one_line
from unglossed.reproduce import task
from unglossed.reproduce.graph import Graph, Node

_ARRAY_INDEX = "SLURM_ARRAY_TASK_ID"
_LOOK_SECONDS = 2.0
_LEAVE_SECONDS = 600.0


@dataclass(frozen=True)
class Failure:
    """A node that could not be done, and why."""

    node: Node
    reason: str

    def __str__(self) -> str:
        return f"{self.node}: {self.reason} (see {self.node.folder / task.LOG})"


class Workers:
    """Works through a graph.

    Args:
        graph: What there is to do.
        corpus: Its spec.
        features: Folder of stored features, which all nodes share.
        num_workers: Processes side by side.
        num_threads: Of each.
        tell: Is given a line when a node begins or ends.
        left: Tells the time that is left.
    """

    def __init__(
        self,
        graph: Graph,
        corpus: str,
        features: Path,
        num_workers: int,
        num_threads: int,
        tell: Callable[[str], None],
        left: Callable[[], str],
    ) -> None:
        self.graph = graph
        self.corpus = corpus
        self.features = features
        self.num_workers = num_workers
        self.num_threads = num_threads
        self.tell = tell
        self.left = left
        self.running: dict[str, tuple[BaseProcess, float]] = {}
        self.held: set[str] = set()
        self.failed: dict[str, Failure] = {}

    def run(self) -> list[Failure]:
        """Do all nodes; those that need a failed one are left out.

        Returns:
            The nodes that failed.

        Raises:
            KeyboardInterrupt: the program was asked to end; what was trained is saved.
        """
        with self._ended():
            while True:
                self._start_some()
                if not self.running and not self._todo():  # what others work on is waited for
                    return list(self.failed.values())
                self._wait()

    def _todo(self) -> list[Node]:
        return [
            node
            for key, node in self.graph.nodes.items()
            if key not in self.failed and not self._is_blocked(node) and not node.is_done()
        ]

    def _is_blocked(self, node: Node) -> bool:
        return any(key in self.failed for key in node.taken.values())

    def _start_some(self) -> None:
        nodes = self.graph.nodes
        for node in _from_own_place(self._todo()):
            if len(self.running) >= self.num_workers:
                return
            ready = all(nodes[key].is_done() for key in node.taken.values())
            if not ready or node.key in self.running:
                continue
            if task.claim(node, self.graph):
                self._start(node)
            elif node.key not in self.held:
                self.held.add(node.key)
                self.tell(f"another call works on it: {node}")

    def _start(self, node: Node) -> None:
        work = task.work_of(node, self.corpus, self.features, self.num_threads)
        process = _context().Process(target=task.perform, args=(work,))
        process.start()
        self.tell(f"begins: {node}")
        self.running[node.key] = (process, time.monotonic())

    def _wait(self) -> None:
        processes = {process.sentinel: key for key, (process, _) in self.running.items()}
        more = len(self.running) < self.num_workers
        ended = wait(list(processes), timeout=_LOOK_SECONDS if more or not processes else None)
        for sentinel in ended:
            self._end(processes[sentinel])  # type: ignore[index]

    def _end(self, key: str) -> None:
        process, started = self.running.pop(key)
        process.join()
        node, code = self.graph.nodes[key], process.exitcode
        process.close()
        if code == task.BUSY:  # another call was quicker
            return
        if code == 0 and node.is_done():
            num_done = sum(one.is_done() for one in self.graph.nodes.values())
            self.tell(
                f"done in {time.monotonic() - started:.0f} s: {node}; {num_done} of"
                f" {len(self.graph.nodes)} stages; left: {self.left()}"
            )
        else:
            self.failed[key] = Failure(node, _reason(node.folder / task.LOG, code))
            self.tell(f"failed: {self.failed[key]}")

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """Ask processes to save and end when the block is left early; a second stop kills them."""
        try:
            yield
        except BaseException:
            processes = [process for process, _ in self.running.values()]
            for process in processes:
                process.terminate()
            try:
                for process in processes:
                    process.join(_LEAVE_SECONDS)
            finally:
                for process in processes:
                    process.kill()
            raise


def _context() -> Any:
    """How processes start: from one that has torch already where there is such a way.

    Not by fork: torch has threads here, whose locks a forked child would inherit.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([task.__name__])
    return context


def _from_own_place(nodes: list[Node]) -> list[Node]:
    """Nodes in the order in which this call tries them: calls of a Slurm array begin elsewhere."""
    index = os.environ.get(_ARRAY_INDEX, "")
    place = int(index) % len(nodes) if index.isdecimal() and nodes else 0
    return nodes[place:] + nodes[:place]


def _reason(log: Path, code: int | None) -> str:
    """The last line of a node's log, or how its process ended."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    told = last.removeprefix("error: ")
    return one_line(told if code == task.WRONG else f"ended with code {code}: {told}")
