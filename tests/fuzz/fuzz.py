"""Changes valid files at random and reads them, for as long as asked: `make fuzz`.

`python tests/fuzz/fuzz.py --seconds 600 --target table` changes the files of one target of
`targets.py`. What a reader raises that the command line would not turn into one line is printed
once for each place in the code, with the smallest file that hypothesis finds, which is kept in
`--keep`. An example that takes longer than `EXAMPLE_SECONDS` counts as a hang.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":  # instead of this folder, whose name it has
    sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests")]

from fuzz.mutations import Mutation, mutate, mutations  # noqa: E402
from fuzz.targets import TARGETS, Target  # noqa: E402

EXAMPLE_SECONDS = 30
EXAMPLES_A_ROUND = 200
MOST_MEMORY = 12 << 30
"""Bytes of addresses: who asks for more is refused instead of taking the machine's memory."""


class HangError(BaseException):
    """An example took too long."""


def fuzz(target: Target, folder: Path, number: int, known: set[str], examples: int) -> int:
    """Read changed files, drawn from a number.

    Args:
        target: Whose.
        folder: With its files.
        number: The same one draws the same examples.
        known: Faults that are no news, see `place_of`; a new one is added.
        examples: How many.

    Returns:
        How many were read.

    Raises:
        BaseException: the first that is new.
    """
    names = target.names(folder)
    count = 0

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(st.sampled_from(names), mutations(target.operations))
    def read(name: str, changes: list[Mutation]) -> None:
        nonlocal count
        count += 1
        data = mutate((folder / name).read_bytes(), changes)
        signal.alarm(EXAMPLE_SECONDS)
        fault = target.fault(folder, name, data)
        signal.alarm(0)
        if fault is not None and place_of(fault) not in known:
            last[:] = [name, data]
            raise fault

    last: list[object] = []
    before = signal.signal(signal.SIGALRM, _hang)
    try:
        read()
    except BaseException as error:
        error.fuzzed = tuple(last)  # type: ignore[attr-defined]
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return count


def place_of(error: BaseException) -> str:
    """Its kind and the last place in the project's code, by which faults are told apart."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{ROOT}/src/" in frame.filename] or list(frames)
    return f"{type(error).__name__} in {Path(ours[-1].filename).name}, line {ours[-1].lineno}"


def main() -> None:
    """Fuzz some targets, one after the other; exit code 1 if anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz")
    arguments = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    found = 0
    for name in arguments.target:
        found += fuzz_for(name, arguments.seconds, arguments.seed, arguments.keep)
    sys.exit(found > 0)


def fuzz_for(name: str, seconds: float, number: int, keep: Path) -> int:
    """Fuzz a target for some time; returns how many faults it found."""
    target, known, count = TARGETS[name], set[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        target.make(Path(folder))
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            try:
                count += fuzz(target, Path(folder), number, known, EXAMPLES_A_ROUND)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if not getattr(error, "fuzzed", ()):  # it is a fault of this script
                    raise
                known.add(place_of(error))
                _report(name, error, keep)
            number += 1
        took = time.monotonic() - begun
    print(f"{name}: {count:,} examples in {took:.0f} s, {len(known)} faults", flush=True)
    return len(known)


def _report(name: str, error: BaseException, keep: Path) -> None:
    file, data = error.fuzzed  # type: ignore[attr-defined]
    place = re.sub(r"\W+", "-", place_of(error))
    kept = keep / f"{name}-{place}-{Path(file).name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    told = str(error).splitlines()[:1]
    print(f"{name}: {file}: {place_of(error)}: {told}; kept as {kept}", flush=True)
    lines = traceback.format_exception(error)
    print("".join(lines[-12:]), file=sys.stderr, flush=True)


def _hang(number: int, frame: FrameType | None) -> None:
    raise HangError(f"longer than {EXAMPLE_SECONDS} s")


if __name__ == "__main__":
    main()
