"""How training goes beside other work: with threads that wait briefly, and as OpenMP leaves them.

A small corpus is generated and the recipe `demo` trained on it, an epoch a stage, in turns: quiet
and beside processes that only compute, with `unglossed`'s own waiting (see `unglossed.threads`) and
with OpenMP's. The seconds of a stage are those of its steps and its score on dev.

    python benchmarks/busy.py [--busy 6] [--pairs 2] [--sentences 400]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unglossed_synth.corpus import write_corpus

SIZE = 84, 104
OPENMP = {"GOMP_SPINCOUNT": "300000"}
"""What GNU OpenMP does where nothing is set, and there are no more threads than cores."""
WAYS: dict[str, dict[str, str]] = {"briefly": {}, "as OpenMP": OPENMP}


def main() -> None:
    """Train both ways, quiet and busy, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--busy", type=int, default=6, help="processes that compute beside it")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=400, help="of the generated corpus")
    given = parser.parse_args()
    seconds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        width, height = SIZE
        write_corpus(
            corpus, given.sentences, 0, width=width, height=height, level=1, progress=False
        )
        for number in range(given.pairs):
            for load, count in (("quiet", 0), ("busy", given.busy)):
                for way in WAYS if number % 2 else reversed(WAYS):
                    with computing(count):
                        found = train(corpus, Path(folder) / f"{number}-{load}-{way}", WAYS[way])
                    for stage, spent in found.items():
                        seconds[stage, load, way].append(spent)
    print(f"{os.cpu_count()} cores, {given.busy} busy processes, {given.pairs} runs each")
    for stage in dict.fromkeys(stage for stage, _, _ in seconds):
        medians = {
            (load, way): statistics.median(seconds[stage, load, way])
            for load in ("quiet", "busy")
            for way in WAYS
        }
        for way in WAYS:
            quiet, busy = medians["quiet", way], medians["busy", way]
            print(
                f"{stage}, {way}: {quiet:.1f} s quiet, {busy:.1f} s busy, {busy / quiet:.1f} times"
            )
        ratio = medians["quiet", "as OpenMP"] / medians["quiet", "briefly"]
        print(f"{stage}, quiet: briefly {ratio:.2f} times as fast")


def train(corpus: Path, output: Path, environment: dict[str, str]) -> dict[str, float]:
    """Train an epoch a stage; seconds by stage."""
    stages = ("language_pretraining", "visual_initialing", "llm_fine_tuning")
    line = [sys.executable, "-m", "unglossed", "train", "demo", "--corpus", f"phoenix14t:{corpus}"]
    line += ["--output", str(output), *(f"stages.{stage}.epochs=1" for stage in stages)]
    line += [f"stages.{stage}.evaluate_every=1" for stage in stages[1:]]
    kept = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    subprocess.run(line, env={**kept, **environment}, check=True, stdout=subprocess.DEVNULL)
    facts = [json.loads(path.read_text()) for path in sorted(output.glob("*/model/stage.json"))]
    return {fact["name"]: fact["seconds"] for fact in facts}


@contextmanager
def computing(count: int) -> Iterator[None]:
    """Processes that do nothing but compute while the block runs."""
    line = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(line) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
