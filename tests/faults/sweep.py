"""Damages every file that the toolkit writes, one at a time, and goes on as a user would.

`python tests/faults/sweep.py` (or `make faults`) makes a small corpus, a finished run, one that was
killed in its last stage, a packed corpus and a store of features. Each of their files is in turn
cut in half, given a flipped bit, removed, and exchanged for its namesake of another run or corpus;
then the run is resumed, the clip translated, the split evaluated. What is allowed:

same    exit code 0 and the result of the undamaged files, to the last bit
said    exit code 0, another result, and a line on stderr that names the damage
error   exit code 2 and one `error:` line that names the file or its folder

Anything else (a traceback, another result in silence, a hang) fails the sweep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
RECIPE = ROOT / "tests" / "end_to_end" / "tiny.yaml"
SECONDS = 120
"""After which a command counts as hanging."""

KILLED_AT = 8 + 12 + 9
"""Optimiser steps after which a run is killed: in the third epoch of its last stage."""

DAMAGES = ("cut", "flip", "remove", "swap")


@dataclass(frozen=True)
class Outcome:
    """What became of a command on damaged files.

    Args:
        word: same, said, error, or what went wrong.
        text: the end of its standard error.
    """

    word: str
    text: str = ""

    @property
    def allowed(self) -> bool:
        """Whether a user could live with it."""
        return self.word in ("same", "said", "error")


@dataclass(frozen=True)
class Family:
    """Files of one kind and what is done with them.

    Args:
        name: of the kind.
        folder: the whole ones.
        other: of a file's name, one of the same kind that belongs elsewhere; it may be none.
        command: arguments of `unglossed`, given the damaged copy and a folder for output.
        result: a digest of what the command made, given the same two.
        skip: names of files that are for people alone, whatever is in them.
    """

    name: str
    folder: Path
    other: Callable[[str], Path]
    command: Callable[[Path, Path], list[str]]
    result: Callable[[Path, Path], str]
    skip: tuple[str, ...] = ()

    def parts(self) -> Iterator[tuple[str, str]]:
        """Each file, relative to the folder, with each damage that is possible."""
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not path.is_file() or any(word in name for word in self.skip):
                continue
            for damage in DAMAGES:
                if damage in ("cut", "flip") and not path.stat().st_size:
                    continue
                other = self.other(name)
                if damage == "swap" and (
                    not other.is_file() or other.read_bytes() == path.read_bytes()
                ):
                    continue
                yield name, damage


@dataclass
class Workshop:
    """Whole files of every kind, made once in a folder; the same folder can be used again."""

    folder: Path
    families: dict[str, Family] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make what is not there yet."""
        import tiny

        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / "ready"
        corpus, foreign = (self.folder / name for name in ("corpus", "foreign"))
        killed, whole = (self.folder / name for name in ("killed", "whole"))
        store = ["--features", str(self.folder / "store")]
        if not mark.exists():
            tiny.write_corpus(corpus)
            tiny.write_corpus(foreign, num_frames=9)
            for name, root, seed, more in (
                ("whole", corpus, "3", store),
                ("killed", corpus, "3", []),
                ("whole-foreign", foreign, "4", []),
                ("killed-foreign", foreign, "4", []),
            ):
                kill = KILLED_AT if name.startswith("killed") else 0
                arguments = ["train", str(RECIPE), "--corpus", f"phoenix14t:{root}"]
                arguments += ["--output", str(self.folder / name), *more, f"seed={seed}"]
                code, text = run_forked(arguments, kill_after=kill)
                assert code == (-signal.SIGKILL if kill else 0), text
            for name, root in (("packed", corpus), ("packed-foreign", foreign)):
                arguments = ["corpus", "pack", f"phoenix14t:{root}", str(self.folder / name)]
                code, text = run_forked(arguments)
                assert code == 0, text
            begun = self.folder / "begun"
            shutil.copytree(whole, begun)
            for name in ("model", "3-llm_fine_tuning"):
                shutil.rmtree(begun / name)
            mark.touch()
        clip = corpus / "PHOENIX-2014-T/features/fullFrame-210x260px/test/test-1"
        on_corpus = ["--corpus", f"phoenix14t:{corpus}"]

        def resume(run: Path, *more: str) -> list[str]:
            line = ["train", str(RECIPE), *on_corpus, "--output", str(run), "--resume", "seed=3"]
            return [*line, *more]

        def final_weights(run: Path, _: Path) -> str:
            return digest(run / "model" / "model.safetensors")

        def predictions(_: Path, output: Path) -> str:
            return digest(output / "predictions.jsonl")

        def other_features(name: str) -> Path:
            """Of another split or view: under its own name the encoder's weights stand."""
            alike = sorted((self.folder / "store").rglob(f"*{Path(name).suffix or name}"))
            return next((path for path in alike if not path.match(name)), Path(name))

        # TensorBoard's files and the table of metrics are read by people, never by a run.
        for_people = ("tensorboard", "metrics.jsonl")
        families = [
            Family(
                "run, resumed",
                killed,
                (self.folder / "killed-foreign").joinpath,
                lambda run, _: resume(run),
                final_weights,
                for_people,
            ),
            Family(
                "model, translates",
                whole / "model",
                (self.folder / "whole-foreign" / "model").joinpath,
                lambda model, output: [
                    *("translate", str(model), str(clip), "--format", "json"),
                    *("--output", str(output / "text.json")),
                ],
                lambda _, output: digest(output / "text.json"),
            ),
            Family(
                "run, evaluated",
                whole,
                (self.folder / "whole-foreign").joinpath,
                lambda run, output: [
                    *("evaluate", str(run), *on_corpus, "--output", str(output)),
                    *("--beams", "1"),
                ],
                predictions,
                (*for_people, "1-pretraining/", "2-visual_initialing/", "features/"),
            ),
            Family(
                "packed corpus, evaluated",
                self.folder / "packed",
                (self.folder / "packed-foreign").joinpath,
                lambda packed, output: [
                    *("evaluate", str(whole), "--corpus", f"packed:{packed}"),
                    *("--output", str(output), "--split", "dev", "--beams", "1"),
                ],
                predictions,
            ),
            Family(
                "features, trained on",
                self.folder / "store",
                other_features,
                lambda features, output: resume(
                    Path(shutil.copytree(self.folder / "begun", output / "run")),
                    *("--features", str(features)),
                ),
                lambda _, output: final_weights(output / "run", output),
            ),
        ]
        self.families = {family.name: family for family in families}

    def try_part(self, family: Family, name: str, damage: str) -> Outcome:
        """Damage one file of a copy, run the command, and say what became of it."""
        expected = self._expected(family)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            copy, output = Path(scratch) / "copy", Path(scratch) / "output"
            output.mkdir()
            shutil.copytree(family.folder, copy)
            spoil(copy / name, damage, family.other(name))
            code, text = run_forked(family.command(copy, output))
            words = {name, Path(name).name, f"copy/{Path(name).parent}".removesuffix("/."), "copy"}
            lines = text.strip().splitlines()
            if "Traceback" in text:
                return Outcome("traceback", text)
            if code == 0:
                if family.result(copy, output) == expected:
                    return Outcome("same", text)
                said = any(line.startswith("note:") and Path(name).name in line for line in lines)
                return Outcome("said" if said else "another result in silence", text)
            errors = [line for line in lines if line.startswith("error:")]
            if code == 2 and len(errors) == 1 and any(word in errors[0] for word in words):
                return Outcome("error", text)
            return Outcome(f"exit code {code}" if code != 2 else "poor error", text)

    def _expected(self, family: Family) -> str:
        """What the command gives on whole files: made once, kept beside them."""
        path = self.folder / f"expected-{digest_of(family.name.encode())[:12]}"
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                copy, output = Path(scratch) / "copy", Path(scratch) / "output"
                output.mkdir()
                shutil.copytree(family.folder, copy)
                code, text = run_forked(family.command(copy, output))
                assert code == 0, text
                found = family.result(copy, output)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(found, encoding="utf-8")
            partial.replace(path)
        return path.read_text(encoding="utf-8")


def spoil(path: Path, damage: str, other: Path) -> None:
    """Damage a file.

    Args:
        path: the file.
        damage: one of `DAMAGES`.
        other: what takes its place when it is swapped.
    """
    content = path.read_bytes()
    path.unlink()  # a hard link's other names keep what they have
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    elif damage == "swap":
        shutil.copyfile(other, path)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of its absence."""
    return digest_of(path.read_bytes() if path.is_file() else b"no file")


def digest_of(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def run_forked(
    arguments: Sequence[str],
    kill_after: int = 0,
    prepare: Callable[[], None] | None = None,
    begun: Callable[[int], None] = lambda child: None,
) -> tuple[int, str]:
    """Run `unglossed` in a copy of this process, which has its libraries loaded already.

    Args:
        arguments: of the command line.
        kill_after: optimiser steps after which the process kills itself, or 0 for never.
        prepare: called in the copy before anything else.
        begun: called here with the copy's number as soon as it runs.

    Returns:
        Exit code (negative: the signal that ended it) and what it wrote to standard error.
    """
    load_libraries()
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if child == 0:
            _run_here(list(arguments), told.fileno(), kill_after, prepare)
        begun(child)
        _, status = os.waitpid(child, 0)
        told.seek(0)
        return os.waitstatus_to_exitcode(status), told.read().decode("utf-8", "replace")


def _run_here(
    arguments: list[str], told: int, kill_after: int, prepare: Callable[[], None] | None
) -> None:
    """In the child: run the command and leave, whatever happens."""
    code = 1
    try:
        signal.alarm(SECONDS)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(told, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if kill_after:
            _kill_after(kill_after)
        if prepare is not None:
            prepare()
        from unglossed import cli

        sys.argv = ["unglossed", *arguments]
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _kill_after(steps: int) -> None:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    done = 0

    def count(*_: Any) -> None:
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(count)


def load_libraries() -> None:
    """Import what every command needs, once; one thread, as forked processes must have none."""
    import torch

    import unglossed.cli
    import unglossed.evaluation.evaluate
    import unglossed.inference.translator
    import unglossed.training.train  # noqa: F401

    torch.set_num_threads(1)


def sweep(
    folder: Path, wanted: Sequence[str], shard: int, num_shards: int
) -> Iterator[dict[str, str]]:
    """Try every num_shards-th of the parts that match one of the expressions."""
    workshop = Workshop(folder)
    parts = [
        (family, name, damage)
        for family in workshop.families.values()
        for name, damage in family.parts()
        if any(re.fullmatch(one, f"{family.name}: {damage} {name}") for one in wanted)
    ]
    for family, name, damage in parts[shard::num_shards]:
        outcome = workshop.try_part(family, name, damage)
        yield {
            "family": family.name,
            "damage": damage,
            "file": name,
            "outcome": outcome.word,
            "allowed": "yes" if outcome.allowed else "no",
            "text": outcome.text,
        }


def main() -> int:
    """Sweep with two processes; print what was found; exit code 1 where anything is not allowed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to work; a new temporary one by default")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[".*"],
        metavar="EXPRESSION",
        help="parts to try, such as 'model, translates: flip .*'",
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.shard is not None:
        for row in sweep(given.folder, given.only, given.shard, given.workers):
            print(json.dumps(row), flush=True)
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        Workshop(folder)
        print(f"made the files in {time.monotonic() - started:.0f} s", flush=True)
        command = [sys.executable, __file__, "--folder", str(folder), "--only", *given.only]
        command += ["--workers", str(given.workers)]
        shards = []
        for number in range(given.workers):
            with (Path(scratch) / f"{number}.jsonl").open("w") as rows_file:
                line = [*command, "--shard", str(number)]
                shards.append(subprocess.Popen(line, stdout=rows_file))
        codes = [shard.wait() for shard in shards]
        assert not any(codes), "a shard of the sweep failed"
        files = sorted(Path(scratch).glob("*.jsonl"))
        rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    counts = Counter((row["family"], row["damage"], row["outcome"]) for row in rows)
    for (family, damage, outcome), count in sorted(counts.items()):
        print(f"{family:26} {damage:7} {outcome:26} {count:4}")
    bad = [row for row in rows if row["allowed"] == "no"]
    for row in bad:
        told = " | ".join(row["text"].strip().splitlines()[-3:])
        print(f"\n{row['family']}: {row['damage']} {row['file']}: {row['outcome']}\n  {told}")
    print(f"\n{len(rows)} damages, {len(bad)} not allowed, {time.monotonic() - started:.0f} s")
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
