"""Signals that ask to end wait while something is to be saved; a second one does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from unglossed.signals import stops_wait


@pytest.fixture(autouse=True)
def nobody_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handlers as at the begin of a program; nothing of a test is left in the process."""
    monkeypatch.setattr("unglossed.signals._stopped_by", None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_waits(number: int) -> None:
    before = signal.getsignal(number)
    with stops_wait() as asked:
        assert not asked.came
        os.kill(os.getpid(), number)
        assert asked.came
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("unglossed.signals.time.monotonic", lambda: next(clock))
    with pytest.raises(KeyboardInterrupt), stops_wait() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.came
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)


def test_where_nothing_is_to_be_saved_the_first_one_ends() -> None:
    with pytest.raises(KeyboardInterrupt), stops_wait() as asked:
        asked.at_once = True
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_somebody_else_handles_is_left_to_them() -> None:
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    try:
        with stops_wait() as asked:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert came == [signal.SIGUSR1]
            assert not asked.came
    finally:
        signal.signal(signal.SIGUSR1, before)
