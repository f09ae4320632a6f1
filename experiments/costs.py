"""What a corpus costs on 1, 8 and 64 GPUs: computed, not measured: python -m experiments.costs.

FLa-LLM's two stages, from named rates. Each rate says where it comes from; put in your own as
KEY=VALUE. It leaves out scores on dev, start-up and restarts.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields, replace
from typing import Any

from unglossed.errors import InputError

GPUS = (1, 8, 64)
FRAMES_PER_SECOND = 25.0
FRAME_SHARE = 0.25
BYTES_PER_FEATURE = 512 * 4


@dataclass(frozen=True)
class Corpus:
    """A corpus and how long it is trained on.

    Attributes:
        name: As in the table.
        clips: Clips of the train split.
        seconds: Mean length of a clip.
        epochs1: Epochs of stage 1.
        epochs2: Epochs of stage 2.
        batch1: Clips of a step of stage 1, over all GPUs.
        batch2: The same of stage 2.
        views: Augmented views of a clip whose features are stored for stage 2.
    """

    name: str
    clips: float
    seconds: float
    epochs1: float = 75
    epochs2: float = 80
    batch1: float = 8
    batch2: float = 16
    views: float = 8

    @property
    def frames(self) -> float:
        """Kept frames of a mean clip."""
        return self.seconds * FRAMES_PER_SECOND * FRAME_SHARE


@dataclass(frozen=True)
class Rates:
    """What machines do. All are of one GPU or one machine; each says where it comes from.

    Attributes:
        frames: Frames a GPU trains in stage 1 a second. The paper's 4.75 hours on two GPUs.
        forward: How many times as many it encodes without training. A forward pass is a third.
        least_step1: Seconds of the smallest step of stage 1, which starts kernels. Assumed.
        flops: Operations of a GPU a second, reached. Assumed: a third of an A100's bfloat16 peak.
        weights: Of stage 2's language model, mBART-large with a small vocabulary. Counted.
        positions: Words of a sentence, beside the features. Assumed.
        least_step2: Seconds of the smallest step of stage 2. Assumed.
        weights1: Trained in stage 1: ResNet-18, temporal module, Light-T Base. Counted.
        cores: CPU cores that read for a GPU. Assumed.
        milliseconds: Of a core for a kept frame of packed clips. Measured: 2.6 for PNG images
            (docs/performance.md), 5.3 times as fast packed (docs/corpora/packed.md).
        kilobytes: Of a packed frame, read from storage. Assumed.
        storage: Megabytes a second that all GPUs together read from shared storage. Assumed.
        gpus: GPUs of a machine. Assumed.
        inside: Gigabytes a second between GPUs of one machine. Assumed.
        outside: Gigabytes a second between machines, each. Assumed: 100 Gbit/s.
        price: Of a GPU for an hour, in any currency; 0 leaves the column out.
    """

    frames: float = 455
    forward: float = 3
    least_step1: float = 0.08
    flops: float = 1e14
    weights: float = 355e6
    positions: float = 20
    least_step2: float = 0.15
    weights1: float = 38e6
    cores: float = 8
    milliseconds: float = 0.5
    kilobytes: float = 25
    storage: float = 2000
    gpus: float = 8
    inside: float = 100
    outside: float = 12.5
    price: float = 0


CORPORA = (
    Corpus("PHOENIX14T", 7_096, 117 / FRAMES_PER_SECOND),
    Corpus("How2Sign", 31_164, 69.6 * 3600 / 31_164),
    Corpus(
        "YouTube-ASL",
        610_193,
        984 * 3600 / 610_193,
        epochs1=10,
        epochs2=10,
        batch1=256,
        batch2=256,
        views=1,
    ),
)


@dataclass(frozen=True)
class Part:
    """A part of the training: its hours, and what they are spent on."""

    hours: float
    bound: str


def exchange(weights: float, num_gpus: int, rates: Rates) -> float:
    """Seconds that a sum of float32 gradients over all GPUs takes, in a ring."""
    speed = rates.inside if num_gpus <= rates.gpus else rates.outside
    return 2 * 4 * weights * (num_gpus - 1) / num_gpus / (speed * 1e9)


def read(frames: float, busy: float, rates: Rates) -> dict[str, float]:
    """Seconds that reading some frames takes with the cores of some GPUs, and with the storage."""
    return {
        "reading": frames * rates.milliseconds / 1000 / (rates.cores * busy),
        "storage": frames * rates.kilobytes / 1000 / rates.storage,
    }


def conclude(steps: float, num_gpus: int, busy: float, seconds: dict[str, float]) -> Part:
    """The hours of steps, of which the longest of several times that overlap counts."""
    bound = max(seconds, key=lambda name: seconds[name])
    if busy < num_gpus and bound in ("GPU", "least step"):
        bound = f"batch: {busy:.0f} GPUs work"
    return Part(steps * max(seconds.values()) / 3600, bound)


def first_stage(corpus: Corpus, num_gpus: int, rates: Rates) -> Part:
    """Stage 1: encoder and Light-T are trained, frames are read in each epoch."""
    busy = min(num_gpus, corpus.batch1)
    frames = corpus.batch1 * corpus.frames
    seconds = {"GPU": frames / (rates.frames * busy), "least step": rates.least_step1}
    seconds["network"] = exchange(rates.weights1, num_gpus, rates)
    seconds |= read(frames, busy, rates)
    return conclude(corpus.epochs1 * corpus.clips / corpus.batch1, num_gpus, busy, seconds)


def features(corpus: Corpus, num_gpus: int, rates: Rates) -> Part:
    """The frozen encoder's features, stored once; clips do not wait for each other."""
    frames = corpus.clips * corpus.views * corpus.frames
    seconds = {"GPU": frames / (rates.frames * rates.forward * num_gpus)}
    seconds |= read(frames, num_gpus, rates)
    return conclude(1, num_gpus, num_gpus, seconds)


def second_stage(corpus: Corpus, num_gpus: int, rates: Rates) -> Part:
    """Stage 2: the language model is trained from stored features."""
    busy = min(num_gpus, corpus.batch2)
    # Encoder layers see the features, decoder layers the words: about half of the weights each.
    positions = corpus.batch2 * (corpus.frames + rates.positions) / 2
    work = 6 * rates.weights * positions / (rates.flops * busy)
    seconds = {"GPU": work, "least step": rates.least_step2}
    seconds["network"] = exchange(rates.weights, num_gpus, rates)
    return conclude(corpus.epochs2 * corpus.clips / corpus.batch2, num_gpus, busy, seconds)


def write_table(corpora: tuple[Corpus, ...], rates: Rates) -> str:
    """The table in Markdown: a row for each corpus and number of GPUs."""
    head = ["corpus", "GPUs", "stage 1, hours", "features", "stage 2", "all", "GPU hours"]
    head += ["stored, GB", "stage 1 waits for", "stage 2 waits for"] + (
        ["price"] if rates.price else []
    )
    rows = [head, ["---"] * len(head)]
    for corpus in corpora:
        for num_gpus in GPUS:
            one = first_stage(corpus, num_gpus, rates)
            two = features(corpus, num_gpus, rates)
            three = second_stage(corpus, num_gpus, rates)
            hours = one.hours + two.hours + three.hours
            row = [corpus.name, str(num_gpus)]
            row += [f"{number:,.1f}" for number in (one.hours, two.hours, three.hours, hours)]
            stored = corpus.clips * corpus.views * corpus.frames * BYTES_PER_FEATURE / 1e9
            row += [f"{hours * num_gpus:,.0f}", f"{stored:,.0f}", one.bound, three.bound]
            row += [f"{hours * num_gpus * rates.price:,.0f}"] if rates.price else []
            rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def take(words: list[str]) -> tuple[tuple[Corpus, ...], Rates]:
    """Corpora and rates after some KEY=VALUE; `clips` and `seconds` make a corpus of one's own.

    Raises:
        InputError: If a key is unknown or a value is no number above 0.
    """
    of_corpus = {field.name for field in fields(Corpus)} - {"name"}
    of_rates = {field.name for field in fields(Rates)}
    corpus: dict[str, Any] = {}
    rates: dict[str, float] = {}
    for word in words:
        key, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise InputError(f"{word}: expected KEY=VALUE with a number above 0")
        if key not in of_corpus | of_rates:
            known = ", ".join(sorted(of_corpus | of_rates))
            raise InputError(f"{key}: no such key; there are {known}")
        (corpus if key in of_corpus else rates)[key] = value
    if "clips" in corpus:
        if "seconds" not in corpus:
            raise InputError("clips: give seconds=, the mean length of a clip, as well")
        return (Corpus("yours", **corpus),), replace(Rates(), **rates)
    return tuple(replace(one, **corpus) for one in CORPORA), replace(Rates(), **rates)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    try:
        print(write_table(*take(parser.parse_args().changes)))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
