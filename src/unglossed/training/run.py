"""What the stages of a run share: corpus, tokenizer, clips and their features."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress
from torch import nn

from unglossed.corpora.needs import find_unfit
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import whole_folder
from unglossed.media.augment import AugmentationConfig
from unglossed.media.clip import signal_of
from unglossed.model_folders import bind_folder
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import load_processor
from unglossed.synthetic.saying import LANGUAGES, draw_texts
from unglossed.training.callbacks import print_line
from unglossed.training.data import ClipDataset, Target
from unglossed.training.dry_build import check_builds
from unglossed.training.features import FeatureCache, StoredFeatures
from unglossed.training.positions import check_text_lengths
from unglossed.training.precision import use_bfloat16
from unglossed.training.recipe import Recipe
from unglossed.training.stage import check_new_parts, check_widths
from unglossed.training.stage_settings import StageSettings
from unglossed.training.tokenizer import build_tokenizer, check_own_tokenizers, check_texts
from unglossed.training.workers import choose_workers


class Run:
    """A recipe on a corpus.

    Args:
        recipe: the resolved recipe.
        corpus: its rows.
        output: the run's folder.
        features: where features of frozen encoders are stored; in the run's folder if not given.

    Raises:
        InputError: a stage cannot be built, or the corpus lacks what it is trained on.
    """

    def __init__(
        self, recipe: Recipe, corpus: Corpus, output: Path, features: Path | None = None
    ) -> None:
        for fault in find_unfit(corpus, recipe.needs):
            raise InputError(str(fault))
        self.recipe = recipe
        self.train_samples = corpus.split("train")
        self.dev_samples = corpus.split("dev")
        self.normalisation = corpus.normalisation
        self.texts = [sample.text for sample in self.train_samples]
        self.texts += _generated_texts(recipe, corpus)
        self.processor = self._processor(corpus.language, output / "processor")
        self.cache = FeatureCache(features or output / "features")
        for stage in recipe.stages:
            check_new_parts(stage, [one.name for one in recipe.stages], self.processor)
        check_widths(recipe.stages, self.processor)
        check_builds(recipe.stages, self.processor)
        check_own_tokenizers(recipe, self.processor)
        check_texts(self.processor.tokenizer, self.train_samples)
        clips = [*self.train_samples, *self.dev_samples]
        check_text_lengths(recipe.stages, clips, self.texts, self.processor)

    def vocabulary(self, symbols: Callable[[Sample], str]) -> list[str]:
        """Every symbol of train, such as its glosses, in alphabetical order.

        Args:
            symbols: gives a clip's, separated by spaces.
        """
        return sorted({name for sample in self.train_samples for name in symbols(sample).split()})

    def _processor(self, language: str, folder: Path) -> TranslatorProcessor:
        if not folder.is_dir():
            video, audio = self.recipe.video, self.recipe.audio
            tokenizer, start = build_tokenizer(self.recipe.tokenizer, self.texts, language)
            texts = [sample.text for sample in (*self.train_samples, *self.dev_samples)]
            rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
            with whole_folder(folder) as partial:
                TranslatorProcessor(
                    tokenizer=tokenizer,
                    language=language,
                    start_token=start,
                    sampling_rate=video.sampling_rate,
                    resize=video.resize,
                    crop=video.crop,
                    new_tokens=self.recipe.tokenizer.new_tokens,
                    max_tokens=1 + max(map(len, rows)),
                    sample_rate=audio.sample_rate if audio else None,
                    max_seconds=audio.max_seconds if audio else None,
                ).save_pretrained(partial)
                bind_folder(partial)
        return load_processor(folder)

    def clips(
        self, samples: Sequence[Sample], *, training: bool, target: Target | None = None
    ) -> ClipDataset:
        """A split's pictures or sound; labels are the texts' unless `target` is given."""
        augmentation = self.recipe.video.augmentation
        return ClipDataset(
            samples,
            self.processor,
            limit=round(self.recipe.max_seconds * signal_of(self.processor).units_per_second),
            target=target,
            augmentation=AugmentationConfig(**augmentation.model_dump()) if augmentation else None,
            seed=self.recipe.seed,
            training=training,
        )

    def features(
        self,
        stage: StageSettings,
        encoder: nn.Module,
        config: dict[str, Any],
        clips: ClipDataset,
        progress: Progress,
    ) -> list[StoredFeatures]:
        """Stored features (time, dim) of each clip: of train all views of a stage, of dev one.

        Args:
            stage: its settings.
            encoder: its encoder.
            config: the encoder's configuration.
            clips: train or dev.
            progress: the run's display.
        """
        num_views = stage.feature_views if clips.training else 1
        total = len(clips) * num_views
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
        )
        progress.update(task, completed=total)
        if not progress.console.is_terminal:
            print_line(progress, f"{stage.name}: features of {len(clips):,} clips", started)
        return views


def _generated_texts(recipe: Recipe, corpus: Corpus) -> list[str]:
    """Sentences of the generator in the corpus's language that no clip of any split says."""
    wanted = recipe.generated_text
    if wanted is None or corpus.language not in LANGUAGES:
        return []
    said = {sample.text for samples in corpus.splits.values() for sample in samples}
    return draw_texts(
        corpus.language, wanted.level, wanted.num_sentences, wanted.seed, exclude=said
    )
