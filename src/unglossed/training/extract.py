"""`unglossed extract`: stores what frozen encoders give, before a stage is trained from it.

Any number of machines share the work by `Share`s of the corpus, without a word between them: what
is stored is not computed again, and what is missing can be listed. On Ray: `cluster.py`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from unglossed.config import FieldError
from unglossed.config import field as named
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.files import as_path
from unglossed.media.signal import signal_of
from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.frozen import Engine
from unglossed.training.build import encoder_part, load_weights
from unglossed.training.callbacks import print_line
from unglossed.training.cluster import connected, import_ray
from unglossed.training.data import ClipDataset, Unreadable, choose_workers
from unglossed.training.encoding import Pace
from unglossed.training.features import Wanted
from unglossed.training.plan import StagePlan
from unglossed.training.recipe import Recipe, load_recipe
from unglossed.training.run import Run
from unglossed.training.settings import StageSettings
from unglossed.training.shards import WHOLE, Share
from unglossed.training.storage import Place, as_place
from unglossed.training.train import prepare_process, show_progress


@dataclass
class Extraction:
    """What was done; prints itself as the line that ends the work.

    Attributes:
        place: Where the features are.
        unit: What a unit of time of the clips is called.
        pace: How fast clips were encoded; its seconds are all machines' together.
        seconds: That it took.
        set_aside: Clips of this share that have no features, since they cannot be read or encoded.
    """

    place: Place
    unit: str = "frames"
    pace: Pace = field(default_factory=Pace)
    seconds: float = 0.0
    set_aside: dict[str, Unreadable] = field(default_factory=dict)

    def __str__(self) -> str:
        pace, seconds = self.pace, max(self.seconds, 1e-9)
        left = f"; {len(self.set_aside):,} clips in quarantine" if self.set_aside else ""
        if not pace.num_clips:
            return f"{self.place}: nothing was left to encode{left}"
        waited = pace.waited / max(pace.seconds, 1e-9)
        return (
            f"{self.place}: {pace.num_clips:,} views of clips,"
            f" {pace.num_clips / seconds:,.1f} clips/s,"
            f" {pace.num_units / seconds:,.0f} {self.unit}/s, {waited:.0%} of the time waiting for"
            f" media{left}"
        )


def extract_features(
    recipe: str | Path,
    corpus: str,
    output: Place,
    *,
    trained: Path | None = None,
    overrides: Sequence[str] = (),
    check_media: bool = True,
    max_damaged: int | None = None,
    share: Share = WHOLE,
    retry: bool = False,
    ray: str | None = None,
    num_workers: int | None = None,
) -> Extraction:
    """Store the features that a recipe's stages train from, before any of them is trained.

    `train_recipe` with the same `features` folder then encodes nothing, where the language model
    has positions for as long a clip as the recipe allows.

    Args:
        recipe: file, or name of a shipped recipe.
        corpus: spec, as `phoenix14t:/data/PHOENIX-2014-T-release-v3`.
        output: folder or URL for the features; what it has already is not computed again.
        trained: folder of a run, whose stages give the encoders that the recipe's stages inherit.
        overrides: `key=value` changes of the recipe.
        check_media: look at every clip of the share first.
        max_damaged: see `train_recipe`; a clip that cannot be encoded counts, too.
        share: which clips of each split, where several machines share the work.
        retry: try clips again that failed before and have not changed since.
        ray: address of a Ray cluster that does it, or `auto` or `local`, see `cluster.connected`;
            None: this process does.
        num_workers: actors on the cluster.

    Returns:
        What was done.

    Raises:
        InputError: the recipe or the corpus is not as it must be, no stage trains from features, or
            one's encoder is not known before it is trained.
    """
    work = Extracting(recipe, corpus, output, trained, overrides, max_damaged, share)
    if ray is not None:
        import_ray()  # what is wrong with it is told before the work
    if check_media:
        work.run.check_media(share)
    unit = signal_of(work.run.processor).unit.partition(" ")[0]  # of "frames kept"
    found = Extraction(work.place, unit)
    begin = time.monotonic()
    machines = connected(ray, num_workers) if ray else nullcontext()
    with machines as cluster, show_progress() as progress:
        work.engine = cluster.engine if cluster else None
        for stage, clips, wanted in work:
            started = time.monotonic()
            task = progress.add_task(f"{stage.name}: features", total=len(wanted.names))
            if wanted.missing(retry=retry):
                pace = wanted.encode(
                    num_workers=choose_workers(work.run.recipe.num_workers, len(clips)),
                    advance=partial(progress.advance, task),
                    leave_out=work.run.left_out.add,
                    retry=retry,
                    compute=cluster.compute if cluster else None,
                )
                found.pace.add(pace)
            for clip in wanted.set_aside():
                work.run.left_out.add(clip)
                found.set_aside[clip.id] = clip
            progress.update(task, completed=len(wanted.names))
            if not progress.console.is_terminal:
                line = f"{stage.name}: features of {len(share.of(clips.samples)):,} clips"
                print_line(progress, line, started)
    found.seconds = time.monotonic() - begin
    return found


def find_missing(
    recipe: str | Path,
    corpus: str,
    output: Place,
    *,
    trained: Path | None = None,
    overrides: Sequence[str] = (),
    share: Share = WHOLE,
    retry: bool = False,
) -> tuple[list[str], list[Unreadable]]:
    """Find the clips of which features are missing; nothing is computed.

    Args:
        recipe: as in `extract_features`; so are the others.
        corpus: spec.
        output: folder or URL of the features. Damaged shards in a folder are deleted.
        trained: folder of a run.
        overrides: `key=value` changes of the recipe.
        share: which clips of each split.
        retry: count clips that failed before, too.

    Returns:
        The ids of clips that are still to be encoded, in the corpus's order, and the clips that
        failed, unless they count.

    Raises:
        InputError: see `extract_features`.
    """
    missing: dict[str, None] = {}
    failed: dict[str, Unreadable] = {}
    for _, clips, wanted in Extracting(recipe, corpus, output, trained, overrides, None, share):
        missing |= {clips.samples[i].id: None for _, i in wanted.missing(retry=retry)}
        failed |= {} if retry else {clip.id: clip for clip in wanted.set_aside()}
    return list(missing), list(failed.values())


class Extracting:
    """The stages of a recipe that train from features, and what each wants of a share of a corpus.

    Attributes:
        engine: What computes them; None: what does on this machine.

    Raises:
        InputError: see `extract_features`.
    """

    def __init__(
        self,
        recipe: str | Path,
        corpus: str,
        output: Place,
        trained: Path | None,
        overrides: Sequence[str],
        max_damaged: int | None,
        share: Share,
    ) -> None:
        prepare_process()
        self.place = as_place(output, "output")
        trained = None if trained is None else as_path(trained, "trained")
        settings = load_recipe(recipe, overrides)
        self.share = share
        self.engine: Engine | None = None
        self.stages = [stage for stage in settings.stages if stage.feature_views]
        if not self.stages:
            raise InputError(
                f"{recipe}: no stage has feature_views, expected one that is to train so"
            )
        earlier = _trained_stages(settings, trained)
        _refuse_untrained_encoders(self.stages, settings, earlier)
        rows = read_corpus(corpus)
        rows.require_media("`extract`")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            self.run = Run(
                settings, rows, folder, self.place, trained=earlier, max_damaged=max_damaged
            )
        plans = self.run.plans
        self.encoders = [_known_encoder(plans[stage.name], earlier) for stage in self.stages]

    def __iter__(self) -> Iterator[tuple[StageSettings, ClipDataset, Wanted]]:
        """Each stage with each split: its clips, and which of their features are wanted."""
        run = self.run
        for stage, (encoder, config) in zip(self.stages, self.encoders, strict=True):
            for samples, training in ((run.train_samples, True), (run.dev_samples, False)):
                clips = run.clips(samples, training=training)
                wanted = run.wanted(stage, encoder, config, clips, self.share, self.engine)
                yield stage, clips, wanted


def _trained_stages(recipe: Recipe, trained: Path | None) -> dict[str, Path]:
    """Model folders of a run's stages that the recipe has too, by name."""
    if trained is None:
        return {}
    found = {path.parent.name.partition("-")[2]: path for path in trained.glob("[0-9]*-*/model")}
    if not found:
        raise InputError(f"{trained}: is not a run folder: it has no trained stage")
    return {stage.name: found[stage.name] for stage in recipe.stages if stage.name in found}


def _refuse_untrained_encoders(
    stages: Sequence[StageSettings], recipe: Recipe, earlier: Mapping[str, Path]
) -> None:
    for stage in stages:
        assert stage.encoder is not None
        where, source = f"stages.{stage.name}.encoder.source", stage.encoder.source
        if source in [one.name for one in recipe.stages] and source not in earlier:
            raise FieldError(
                where,
                f"{source} is yet to be trained: name a run that has it (--run), or a model"
                f" ({where}=FOLDER)",
            )


def _known_encoder(plan: StagePlan, earlier: Mapping[str, Path]) -> tuple[Encoder, dict[str, Any]]:
    """A stage's encoder and its configuration, if its weights are known before the training."""
    holder = nn.Module()
    with named(plan.where):
        config, weights = encoder_part(plan, earlier)
        holder.encoder = encoder = build_encoder(config)
        load_weights(holder, weights, plan)
    known = {f"{name}.{key}" for name, values in weights.items() for key in values}
    drawn = [name for name, _ in holder.named_parameters() if name not in known]
    if drawn:
        raise FieldError(
            f"{plan.where}.encoder.source",
            f"{len(drawn)} weights (as {drawn[0]}) are drawn when the stage is trained, expected an"
            " encoder that is trained",
        )
    return encoder, config
