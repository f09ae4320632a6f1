"""One computation of the model at a time, in the order in which threads ask."""

from __future__ import annotations

from threading import Lock


class Turns:
    """A lock that is fair: who gives a turn back and asks again comes after who has waited.

    Attention is read out by changing the model for a moment, so that two threads may not compute at
    once; and a webcam may not wait for the end of an hour's video.
    """

    def __init__(self) -> None:
        self._next, self._turn = Lock(), Lock()
        self.away = Away(self)
        """Gives the turn away while a block runs, as while something is waited for."""

    def __enter__(self) -> None:
        with self._next:
            self._turn.acquire()

    def __exit__(self, *error: object) -> None:
        self._turn.release()


class Away:
    """The turn of the thread is given away while the block runs."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        self._turns.__exit__()

    def __exit__(self, *error: object) -> None:
        self._turns.__enter__()
