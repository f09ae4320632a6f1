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

from unglossed.errors import one_line
from unglossed.reproduce import task
from unglossed.reproduce.graph import Graph, Node
from unglossed.signals import interrupts_delayed

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
        self.busy: dict[str, float] = {}
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
                if not self.running and not self._others_work():
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

    def _others_work(self) -> bool:
        """Whether what is left waits for other calls."""
        return bool(self._todo())

    def _start_some(self) -> None:
        now = time.monotonic()
        nodes = self.graph.nodes
        for node in _from_own_place(self._todo()):
            if len(self.running) >= self.num_workers:
                return
            ready = all(nodes[key].is_done() for key in node.taken.values())
            is_held = now - self.busy.get(node.key, -_LOOK_SECONDS) < _LOOK_SECONDS
            if ready and not is_held and node.key not in self.running:
                self._start(node)

    def _start(self, node: Node) -> None:
        task.prepare(node, self.graph)
        work = task.work_of(node, self.corpus, self.features, self.num_threads)
        # Not fork: torch has threads, whose locks a forked child would inherit.
        method = "forkserver" if os.name == "posix" else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload([task.__name__])  # torch is imported once for all
        process = context.Process(target=task.perform, args=(work,))
        with interrupts_delayed():
            process.start()
        if node.key not in self.busy:
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
        if code == task.BUSY:
            if key not in self.busy:
                self.tell(f"another process works on it: {node}")
            self.busy[key] = time.monotonic()
        elif code == 0 and node.is_done():
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
        """Ask processes to save and end when the block is left early."""
        try:
            yield
        except BaseException:
            with interrupts_delayed():
                for process, _ in self.running.values():
                    process.terminate()
                for process, _ in self.running.values():
                    process.join(_LEAVE_SECONDS)
            raise


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
