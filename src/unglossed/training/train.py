"""Runs a recipe on a corpus: tokenizer, then stage after stage, each resumable.

DIR/recipe.yaml       the resolved recipe; DIR/run.json: corpus, versions
DIR/processor/        tokenizer and picture settings
DIR/<n>-<stage>/      checkpoints, metrics.jsonl, TensorBoard files, features, model/
DIR/model/            the last stage's model, what `translate` and `evaluate` read
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import torch
import transformers
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from transformers import set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

import unglossed
from unglossed.config import read_settings, write_settings
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.evaluation.metrics import score
from unglossed.files import whole_folder, write_text
from unglossed.inference.translate import translate_features
from unglossed.media.augment import AugmentationConfig
from unglossed.media.clip import signal_of
from unglossed.models.processing import TranslatorProcessor, pad_features, pad_labels
from unglossed.models.translator import Translator
from unglossed.synthetic.saying import LANGUAGES, draw_texts
from unglossed.training.callbacks import MetricsFile, ProgressDisplay
from unglossed.training.checkpoint import latest_checkpoint
from unglossed.training.data import (
    ClipDataset,
    Collator,
    DenoisingDataset,
    FeatureDataset,
)
from unglossed.training.features import encode_clips, stored_features
from unglossed.training.language_models import build_language_model
from unglossed.training.objectives import text_loss
from unglossed.training.precision import use_bfloat16
from unglossed.training.recipe import Recipe, StageSettings, load_recipe
from unglossed.training.stage import build_translator, check_new_parts
from unglossed.training.tokenizer import build_tokenizer
from unglossed.training.trainer import StageTrainer, stage_arguments

DEV_BATCH_SIZE = 32


def train_recipe(
    recipe: str | Path,
    corpus: str,
    output: Path,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
) -> Path:
    """Train a recipe's stages on a corpus.

    Args:
        recipe: file, or name of a shipped recipe.
        corpus: spec, as `phoenix14t:/data/PHOENIX-2014-T-release-v3`.
        output: the run's folder; new or empty unless `resume`.
        resume: go on where an interrupted run of the same recipe and corpus stopped.
        overrides: `key=value` changes of the recipe.

    Returns:
        The folder of the final model, `output/model`.

    Raises:
        InputError: the recipe, the corpus or the output folder is not as it must be.
    """
    transformers_logging.disable_progress_bar()  # there is one progress display: ours
    cv2.setNumThreads(1)  # the readers run side by side already, as processes
    settings = load_recipe(recipe, list(overrides))
    rows = read_corpus(corpus)
    is_new = _prepare_folder(output, settings, rows, resume=resume)
    for note in rows.notes:
        print(f"note: {note}", file=sys.stderr)
    try:
        run = Run(settings, rows, output)
    except InputError:
        if is_new:  # a recipe that cannot be run leaves nothing that would stand in its way later
            shutil.rmtree(output)
        raise
    earlier: dict[str, Path] = {}
    with _progress() as progress:
        for number, stage in enumerate(settings.stages, start=1):
            folder = output / f"{number}-{stage.name}"
            if not (folder / "model").is_dir():
                run.train_stage(stage, number, folder, earlier, progress)
            earlier[stage.name] = folder / "model"
    with whole_folder(output / "model") as partial:
        shutil.copytree(folder / "model", partial, dirs_exist_ok=True, copy_function=_link)
    return output / "model"


class Run:
    """What the stages of a run share: corpus, tokenizer, datasets.

    Args:
        recipe: the resolved recipe.
        corpus: its rows.
        output: the run's folder.
    """

    def __init__(self, recipe: Recipe, corpus: Corpus, output: Path) -> None:
        self.recipe = recipe
        self.train_samples = corpus.split("train")
        self.dev_samples = corpus.split("dev")
        self.normalisation = corpus.normalisation
        self.texts = [sample.text for sample in self.train_samples]
        self.texts += _generated_texts(recipe, corpus)
        self.processor = self._processor(corpus.language, output / "processor")
        for stage in recipe.stages:
            check_new_parts(stage, [one.name for one in recipe.stages], self.processor)

    def _processor(self, language: str, folder: Path) -> TranslatorProcessor:
        if not folder.is_dir():
            video = self.recipe.video
            tokenizer, start = build_tokenizer(self.recipe.tokenizer, self.texts, language)
            with whole_folder(folder) as partial:
                TranslatorProcessor(
                    tokenizer=tokenizer,
                    language=language,
                    start_token=start,
                    sampling_rate=video.sampling_rate,
                    resize=video.resize,
                    crop=video.crop,
                    new_tokens=self.recipe.tokenizer.new_tokens,
                    sample_rate=self.recipe.audio.sample_rate if self.recipe.audio else None,
                ).save_pretrained(partial)
        return TranslatorProcessor.from_pretrained(folder)

    def clips(self, samples: Sequence[Sample], *, training: bool) -> ClipDataset:
        """Dataset of a split's pictures or sound."""
        augmentation = self.recipe.video.augmentation
        return ClipDataset(
            samples,
            self.processor,
            limit=round(self.recipe.max_seconds * signal_of(self.processor).units_per_second),
            augmentation=AugmentationConfig(**augmentation.model_dump()) if augmentation else None,
            seed=self.recipe.seed,
            training=training,
        )

    def train_stage(
        self,
        stage: StageSettings,
        number: int,
        folder: Path,
        earlier: dict[str, Path],
        progress: Progress,
    ) -> None:
        """Train one stage and leave its best model in `folder/model`."""
        folder.mkdir(exist_ok=True)
        started = time.monotonic()
        seed = self.recipe.seed + number
        set_seed(seed)
        model: Any
        dev = None
        num_workers = 0
        if stage.objective == "denoising":
            model = build_language_model(stage, self.processor)
            dataset: Any = DenoisingDataset(self.texts, self.processor, seed=seed)
        else:
            model = build_translator(stage, earlier, self.processor)
            bfloat16 = use_bfloat16(stage.precision)
            clips = self.clips(self.train_samples, training=True)
            dev = DevScores(self, stage, model, bfloat16=bfloat16)
            if stage.feature_views:
                dataset = self._features(stage, model, clips, folder, progress)
                dev.features = stored_features(
                    model, dev.clips, 0, folder / "features" / "dev.safetensors", bfloat16=bfloat16
                )
            else:
                dataset = clips
                num_workers = self.recipe.num_workers
        trainer = StageTrainer(
            stage,
            model,
            dataset,
            Collator(self.processor),
            stage_arguments(
                stage,
                folder,
                steps_per_epoch=-(-len(dataset) // stage.batch_size),
                seed=seed,
                num_workers=num_workers,
            ),
            dev,
            [
                MetricsFile(folder),
                ProgressDisplay(progress, stage.name),
                TensorBoardCallback(SummaryWriter(str(folder / "tensorboard"))),
            ],
        )
        trainer.remove_callback(PrinterCallback)
        checkpoint = latest_checkpoint(folder)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        with whole_folder(folder / "model") as partial:
            model.save_pretrained(partial)
            self.processor.save_pretrained(partial)
            seconds = {"name": stage.name, "seconds": round(time.monotonic() - started, 1)}
            (partial / "stage.json").write_text(json.dumps(seconds), encoding="utf-8")
        for leftover in folder.glob("checkpoint-*"):
            shutil.rmtree(leftover)

    def _features(
        self,
        stage: StageSettings,
        model: Translator,
        clips: ClipDataset,
        folder: Path,
        progress: Progress,
    ) -> FeatureDataset:
        name = f"{stage.name}: features"
        task = progress.add_task(name, total=len(clips) * stage.feature_views)
        views = [
            stored_features(
                model,
                clips,
                view,
                folder / "features" / f"train-{view}.safetensors",
                bfloat16=use_bfloat16(stage.precision),
                num_workers=self.recipe.num_workers,
                advance=lambda count: progress.advance(task, count),
            )
            for view in range(stage.feature_views)
        ]
        progress.update(task, completed=len(clips) * stage.feature_views)
        return FeatureDataset(views, clips.samples, self.processor)


class DevScores:
    """Scores of a stage's model on the dev split: loss, BLEU, ROUGE-L.

    `features`, once set, takes the place of the frames: the encoder is frozen.
    """

    def __init__(
        self, run: Run, stage: StageSettings, model: Translator, *, bfloat16: bool
    ) -> None:
        self.stage = stage
        self.model = model
        self.bfloat16 = bfloat16
        self.max_new_tokens = run.recipe.max_new_tokens
        self.processor = run.processor
        self.normalisation = run.normalisation
        self.clips = run.clips(run.dev_samples, training=False)
        self.features: list[Tensor] | None = None

    def __call__(self) -> dict[str, float]:
        """Translate and score the whole dev split."""
        features = self.features
        if features is None:
            batches = encode_clips(self.model, self.clips, 0, bfloat16=self.bfloat16)
            features = [row for batch in batches for row in batch]
        self.model.eval()
        references = [sample.text for sample in self.clips.samples]
        loss = self._loss(features, references)
        translations = translate_features(
            self.model,
            self.processor,
            features,
            num_beams=self.stage.dev_beams,
            max_new_tokens=self.max_new_tokens,
            batch_size=DEV_BATCH_SIZE,
        )
        scores = score(
            [translation.text for translation in translations],
            references,
            self.processor.language,
            self.normalisation,
        )
        return {
            "loss": loss,
            "bleu4": scores.bleu4,
            "bleu1": scores.bleu1,
            "rouge_l": scores.rouge_l,
        }

    @torch.no_grad()
    def _loss(self, features: Sequence[Tensor], references: Sequence[str]) -> float:
        """Mean cross-entropy of a token of the references, without smoothing."""
        total, num_tokens = 0.0, 0
        for start in range(0, len(features), DEV_BATCH_SIZE):
            chosen = slice(start, start + DEV_BATCH_SIZE)
            labels = pad_labels([self.processor.encode_text(text) for text in references[chosen]])
            batch, mask = pad_features(features[chosen])
            device = self.model.device
            logits = self.model(
                features=batch.to(device), mask=mask.to(device), labels=labels.to(device)
            ).logits
            total += float(text_loss(logits, labels.to(device), num_tokens=1))
            num_tokens += int((labels >= 0).sum())
        return total / num_tokens


def _generated_texts(recipe: Recipe, corpus: Corpus) -> list[str]:
    """Sentences of the generator in the corpus's language that no clip of any split says."""
    wanted = recipe.generated_text
    if wanted is None or corpus.language not in LANGUAGES:
        return []
    said = {sample.text for samples in corpus.splits.values() for sample in samples}
    return draw_texts(
        corpus.language, wanted.level, wanted.num_sentences, wanted.seed, exclude=said
    )


def _prepare_folder(output: Path, recipe: Recipe, corpus: Corpus, *, resume: bool) -> bool:
    """Make the run's folder, or check that it holds a run of the same recipe and corpus.

    Returns:
        Whether the run is new.
    """
    path = output / "recipe.yaml"
    if resume and path.is_file():
        if read_settings(Recipe, path) != recipe:
            raise InputError(
                f"{path}: differs from the recipe given; resume with the same recipe"
                " and the same key=value changes"
            )
        spec = json.loads((output / "run.json").read_text(encoding="utf-8"))["corpus"]
        if spec != corpus.spec:
            raise InputError(f"{output}: was trained on {spec}, not on {corpus.spec}")
        return False
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        hint = "no recipe.yaml in it to resume" if resume else "add --resume to go on with it"
        raise InputError(f"{output}: is not an empty folder ({hint})")
    output.mkdir(parents=True, exist_ok=True)
    facts = {
        "corpus": corpus.spec,
        "notes": list(corpus.notes),
        "unglossed": unglossed.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    write_text(output / "run.json", json.dumps(facts, indent=2) + "\n")
    write_settings(recipe, path)
    return True


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


def _link(source: str, target: str) -> None:
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
