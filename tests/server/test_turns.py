"""Threads share the model one at a time, and none waits for more than the turn at hand."""

from __future__ import annotations

import threading
import time

from unglossed.server.turns import Turns


def test_one_thread_computes_at_a_time() -> None:
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns:
                inside += 1
                most = max(most, inside)
                time.sleep(0.0002)
                inside -= 1
                with turns.away:
                    time.sleep(0.0001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1


def test_who_waits_comes_before_who_gives_its_turn_away_for_a_moment() -> None:
    turns, steps, done = Turns(), 0, threading.Event()

    def long() -> None:
        nonlocal steps
        with turns:
            while not done.is_set():
                time.sleep(0.005)
                steps += 1
                with turns.away:
                    pass

    thread = threading.Thread(target=long)
    thread.start()
    waited = []
    for _ in range(5):
        time.sleep(0.02)
        before = steps
        with turns:
            waited.append(steps - before)
    done.set()
    thread.join()

    assert max(waited) <= 2
