"""What the stages of a run share: its plan, corpus, tokenizer, clips and their features."""

from __future__ import annotations

import copy
import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from unglossed.corpora.check import check_texts as check_rows
from unglossed.corpora.check_media import (
    TRAINING_SPLITS,
    check_clips,
    find_other_language,
    find_unfit,
)
from unglossed.corpora.check_times import Limits
from unglossed.corpora.faults import FaultKind, Faults, Severity
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError, InputErrors, Mistakes, note
from unglossed.files import bind_folder, whole_file, whole_folder
from unglossed.media.augment import AugmentationConfig
from unglossed.media.signal import signal_of
from unglossed.models.encoder import Encoder
from unglossed.models.frozen import Engine
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import TrainedLengths, load_processor
from unglossed.ranks import here
from unglossed.training.callbacks import print_line
from unglossed.training.context import check_folds
from unglossed.training.data import ClipDataset, LeftOut, Target, Unreadable, choose_workers
from unglossed.training.features import FeatureCache, StoredFeatures, Wanted, use_bfloat16
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.objectives.translation import tell_short_texts
from unglossed.training.plan import plan_stages
from unglossed.training.recipe import GeneratedText, Recipe, find_unused
from unglossed.training.settings import StageSettings
from unglossed.training.shards import WHOLE, Share
from unglossed.training.storage import LocalStorage, Place, storage_at
from unglossed.training.tokenizer import (
    build_tokenizer,
    check_own_tokenizers,
    check_text_lengths,
    check_texts,
    find_start,
    most_tokens,
    tell_changed_texts,
)

EXTRA_TEXTS = "extra_texts.txt"
"""A run's copy of the recipe's `extra_texts`, so that a resume goes on with the same."""
_MOST_KNOWN = 100
"""Faults of a kind whose words are kept."""


class Run:
    """A recipe on a corpus.

    Args:
        recipe: the resolved recipe.
        corpus: its rows.
        output: the run's folder.
        features: where features of frozen encoders are stored; in the run's folder if not given.
        trained: model folders of stages that another run trained, see `plan_stages`.
        max_damaged: most clips that may be left out, see `LeftOut`.
        listed: where they are listed.

    Attributes:
        plans: What each stage trains, by its name.
        notes: To be shown before the first stage.

    Raises:
        InputError: a stage cannot be built, or the corpus lacks what it is trained on.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        output: Path,
        features: Place | None = None,
        *,
        trained: Mapping[str, Path] | None = None,
        max_damaged: int | None = None,
        listed: Path | None = None,
    ) -> None:
        if unfit := [str(fault) for fault in find_unfit(corpus, recipe.needs)]:
            raise InputErrors(unfit)
        self.recipe = recipe
        self.corpus = corpus
        self.train_samples = corpus.split("train")
        self.dev_samples = corpus.split("dev")
        self.normalisation = corpus.normalisation
        # The only one of train if the recipe names none; test may have others.
        self.languages = recipe.languages or (self.train_samples[0].language,)
        language = self.languages[0]
        extra = _extra_texts(recipe, corpus, language, output / EXTRA_TEXTS)
        self.texts = [*(sample.text for sample in self.train_samples), *extra]
        self.processor = self._processor(output / "processor")
        num_clips = len(self.train_samples) + len(self.dev_samples)
        self._most_units = round(recipe.max_seconds * signal_of(self.processor).units_per_second)
        self.left_out = LeftOut(num_clips, max_damaged, listed)
        self.cache = FeatureCache(features or output / "features")
        mistakes = Mistakes()
        if features is not None:
            with mistakes.collected():
                check_store(features, recipe)
        with mistakes.collected():
            self.plans = plan_stages(recipe.stages, self.processor, trained)
        mistakes.tell()  # what follows builds on it
        clips = [*self.train_samples, *self.dev_samples]
        checks: tuple[Callable[[], None], ...] = (
            lambda: check_own_tokenizers(recipe, self.processor),
            lambda: check_texts(self.processor.tokenizer, self.train_samples),
            lambda: check_text_lengths(self.plans.values(), clips, self.texts),
            lambda: check_folds(recipe.stages, self.train_samples),
        )
        for check in checks:
            with mistakes.collected():
                check()
        mistakes.tell()
        self.notes = [*find_unused(recipe), *self._notes_on_texts()]

    @property
    def corpus_texts(self) -> list[str]:
        """The texts of all clips of train, of which this may be a part."""
        return [sample.text for sample in self.corpus.split("train")]

    def without(self, samples: Sequence[Sample]) -> Run:
        """This run without some clips of train, and without their texts."""
        left_out = {sample.id for sample in samples}
        part = copy.copy(self)
        extra = self.texts[len(self.train_samples) :]
        kept = (one for one in self.train_samples if one.id not in left_out)
        part.train_samples = tuple(kept)
        part.texts = [*(sample.text for sample in part.train_samples), *extra]
        return part

    def _notes_on_texts(self) -> list[str]:
        told: list[str | None] = []
        if any(OBJECTIVES[stage.objective].best == "bleu4" for stage in self.recipe.stages):
            told += [tell_short_texts(self.dev_samples, code) for code in self.languages]
        if any(stage.language_model for stage in self.recipe.stages):
            splits = (self.train_samples, self.dev_samples)
            told.append(tell_changed_texts(self.processor, *splits, self.normalisation))
        return [one for one in told if one]

    def vocabulary(self, symbols: Callable[[Sample], str]) -> list[str]:
        """Every symbol of train in alphabetical order; `symbols` gives a clip's, with spaces."""
        return sorted({name for sample in self.train_samples for name in symbols(sample).split()})

    def _processor(self, folder: Path) -> TranslatorProcessor:
        if not folder.is_dir():
            video, audio, array = self.recipe.video, self.recipe.audio, self.recipe.array
            timed, streams = audio or array, self.recipe.streams
            settings, (language, *others) = self.recipe.tokenizer, self.languages
            tokenizer, start = build_tokenizer(settings, self.texts, language, others)
            texts = {sample.text for sample in (*self.train_samples, *self.dev_samples)}
            with whole_folder(folder) as partial:
                TranslatorProcessor(
                    tokenizer=tokenizer,
                    language=language,
                    start_token=start,
                    frame_share=video.frame_share,
                    resize=video.resize,
                    crop=video.crop,
                    new_tokens=self.recipe.tokenizer.new_tokens,
                    max_tokens=1 + most_tokens(tokenizer, texts),
                    audio_rate=audio.audio_rate if audio else None,
                    max_seconds=None if timed is None else timed.max_seconds,
                    signal=self.recipe.signal,
                    start_tokens={
                        code: find_start(settings, tokenizer, code)
                        for code in self.recipe.languages
                    },
                    array=array.model_dump(mode="json") if array else None,
                    streams=streams.model_dump(mode="json") if streams else None,
                ).save_pretrained(partial)
                bind_folder(partial)
        return load_processor(folder)  # compared: trained stages know the tokens by their numbers

    def clips(
        self, samples: Sequence[Sample], *, training: bool, target: Target | None = None
    ) -> ClipDataset:
        """A split's clips; labels are the texts' unless `target` is given."""
        augmentation = self.recipe.video.augmentation
        return ClipDataset(
            samples,
            self.processor,
            limit=self._most_units,
            target=target,
            augmentation=AugmentationConfig(**augmentation.model_dump()) if augmentation else None,
            seed=self.recipe.seed,
            training=training,
        )

    def features(
        self,
        stage: StageSettings,
        encoder: Encoder,
        config: dict[str, Any],
        clips: ClipDataset,
        progress: Progress,
        *,
        share: Share = WHOLE,
        wait: Callable[[], None] = lambda: None,
    ) -> list[StoredFeatures]:
        """Stored features (time, dim) of each clip: of train all views of a stage, of dev one.

        See `FeatureCache.features` for `share` and `wait`.
        """
        num_views = stage.feature_views if clips.training else 1
        total = len(share.of(range(len(clips)))) * num_views
        started = time.monotonic()
        task = progress.add_task(f"{stage.name}: features", total=total)
        views = self.cache.features(
            encoder,
            config,
            clips,
            num_views,
            bfloat16=use_bfloat16(stage.precision),
            num_workers=choose_workers(self.recipe.num_workers, len(clips)),
            advance=lambda count: progress.advance(task, count),
            leave_out=self.left_out.add,
            share=share,
            wait=wait,
        )
        progress.update(task, completed=total)
        if here().is_first and not progress.console.is_terminal:
            print_line(progress, f"{stage.name}: features of {len(clips):,} clips", started)
        return views

    def wanted(
        self,
        stage: StageSettings,
        encoder: Encoder,
        config: dict[str, Any],
        clips: ClipDataset,
        share: Share,
        engine: Engine | None = None,
    ) -> Wanted:
        """What is to be stored of a share of some clips; checksums are compared of a whole folder.

        See `features` and `FeatureCache.wanted`.
        """
        return self.cache.wanted(
            encoder,
            config,
            clips,
            stage.feature_views if clips.training else 1,
            bfloat16=use_bfloat16(stage.precision),
            engine=engine,
            share=share,
            check=share == WHOLE and isinstance(self.cache.folder, Path),
        )

    def check_media(self, share: Share = WHOLE) -> dict[str, Any] | None:
        """Look at the headers of all clips of train and dev, before hours go into the first.

        What `unglossed corpus check` would warn of is noted, as far as rows and headers tell.

        Args:
            share: Which clips of each split are looked at.

        Returns:
            How long the clips of train are, see `TrainedLengths`; None: not known.

        Raises:
            InputError: more media cannot be read than may be left out, one is not what the recipe
                reads, or a clip lies past its end.
        """
        corpus, recipe = self.corpus, self.recipe
        faults = Faults(max_examples=_MOST_KNOWN)
        samples = [sample for split in TRAINING_SPLITS for sample in share.of(corpus.split(split))]
        lengths: list[float] = []
        if corpus.has_media:
            check_clips(
                corpus.spec,
                samples,
                faults,
                limits=Limits(max_seconds=recipe.max_seconds),
                needs=recipe.needs,
                progress=sys.stderr.isatty(),
                on_lengths=lengths.extend,
            )
        known = list(zip(samples, lengths, strict=corpus.has_media))
        self._judge(faults, [sample for sample, seconds in known if math.isnan(seconds)])
        of_rows = Faults(max_examples=1)
        check_rows(samples, of_rows)
        for fault in find_other_language(corpus, recipe.needs):
            of_rows.add(fault)
        for kind in of_rows:
            note(f"{kind.title}: {of_rows.count(kind):,} ({of_rows.examples(kind)[0]})")
        of_train = [seconds for sample, seconds in known if sample.split == "train"]
        trained = TrainedLengths.of(of_train, recipe.max_seconds)
        return None if trained is None else trained.to_dict()

    def _judge(self, faults: Faults, unreadable: Sequence[Sample]) -> None:
        """Raise or note what is wrong with clips; leave out those that cannot be read."""
        files = [(sample, sample.array or sample.media) for sample in unreadable]
        damaged = {str(path) for sample, array in files for path in (sample.media, array)}
        limit = self.left_out.limit
        for kind in faults:
            first = faults.examples(kind)[0]
            if kind is FaultKind.UNREADABLE_MEDIA:
                others = [one for one in faults.examples(kind) if one.where not in damaged]
                if not others and self._can_do_without(unreadable):
                    continue
                first = others[0] if others else first
            if kind.severity is Severity.ERROR:
                more = faults.total(Severity.ERROR) - 1
                rest = f" (and {more:,} more: see `unglossed corpus check`)" if more else ""
                hint = ""
                if first.where in damaged:
                    num_clips = len(self.train_samples) + len(self.dev_samples)
                    hint = (
                        f": found {len(unreadable):,} of {num_clips:,} clips that cannot be read,"
                        f" expected at most {limit:,} (--max-damaged) and some in each split"
                    )
                raise InputError(f"{first}{rest}{hint}")
            what = f"{kind.title}, cut there" if kind is FaultKind.TOO_LONG else kind.title
            note(f"{what}: {faults.count(kind):,} ({first})")
        reasons = {one.where: str(one) for one in faults.examples(FaultKind.UNREADABLE_MEDIA)}
        for sample, array in files:
            known = (reasons.get(str(path)) for path in (sample.media, array))
            reason = next(filter(None, known), f"{sample.media}: cannot be read")
            self.left_out.add(Unreadable(sample.id, sample.split, reason))

    def _can_do_without(self, unreadable: Sequence[Sample]) -> bool:
        missing = Counter(sample.split for sample in unreadable)
        left = all(len(self.corpus.split(split)) > missing[split] for split in TRAINING_SPLITS)
        return left and len(unreadable) <= self.left_out.limit


def check_store(place: Place, recipe: Recipe) -> None:
    """Check that features can be stored at a place, before the first stage; nothing is made.

    A folder that cannot be written to is only noted where it has something in it: perhaps all.
    """
    if not any(stage.feature_views for stage in recipe.stages):
        note(f"--features {place}: has no effect: no stage has feature_views")
        return
    store = storage_at(place)
    if not isinstance(store, LocalStorage):
        store.folders()  # raises what is wrong with it
        return
    folder = store.path
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    try:
        with os.scandir(there) as entries:
            is_empty = next(entries, None) is None
    except OSError as error:
        raise InputError(
            f"{there}: expected a folder for stored features (--features {folder}):"
            f" {error.strerror}"
        ) from None
    if not os.access(there, os.W_OK | os.X_OK):
        told = f"{there}: cannot be written to (--features {folder})"
        if is_empty or there != folder.absolute():
            raise InputError(f"{told}, expected a folder where features can be stored")
        note(f"{told}: the features of all clips have to be there")


def _extra_texts(recipe: Recipe, corpus: Corpus, language: str, copy: Path) -> list[str]:
    """The recipe's further texts, but for those that a clip of any split says."""
    wanted = recipe.extra_texts
    if wanted is None:
        return []
    said = {sample.text for samples in corpus.splits.values() for sample in samples}
    if isinstance(wanted, GeneratedText):  # of recipes before there were files
        from unglossed_synth.saying import LANGUAGES, draw_texts

        if language in LANGUAGES:
            return draw_texts(language, wanted.level, wanted.num_sentences, wanted.seed, said)
        known = ", ".join(LANGUAGES)
        note(f"extra_texts: has no effect: the generator writes {known}, not {language}")
        return []
    path = copy if copy.is_file() else Path(wanted)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"extra_texts: {path}: cannot be read: {error}") from None
    texts = [line for line in lines if line]
    if not texts:
        raise InputError(f"extra_texts: {path}: found no text, expected one sentence a line")
    if path != copy:
        with whole_file(copy) as partial:
            shutil.copyfile(path, partial)
    kept = [text for text in texts if text not in said]
    if len(kept) < len(texts):
        told = f"{len(texts) - len(kept):,} of {len(texts):,} texts are left out"
        note(f"extra_texts: {told}: a clip of the corpus says them")
    return kept
