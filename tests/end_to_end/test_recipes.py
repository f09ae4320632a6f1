"""The shipped recipes: each is run at a small size, and each of its options changes something."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import AutoConfig, AutoModel

import tiny
from moving import write_moving
from shrinking import BACKBONE, shrink, stand_in
from unglossed.cli import app
from unglossed.config import Settings, merge, read_yaml, write_settings
from unglossed.corpora.registry import read_corpus
from unglossed.hub import find_model
from unglossed.inference.subtitles import Cue, write_srt
from unglossed.inference.translator import SignTranslator
from unglossed.media.skeletons import SKELETONS
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import load_segmenter
from unglossed.models.segmenter import SegmenterConfig
from unglossed.training.callbacks import read_metrics
from unglossed.training.data import ClipDataset
from unglossed.training.features import use_bfloat16
from unglossed.training.job import DevSplit
from unglossed.training.objectives.alignment import VisualLanguagePretraining
from unglossed.training.objectives.recognition import GlossCtc, GlossTarget
from unglossed.training.recipe import Recipe, find_recipe, load_recipe
from unglossed.training.settings import MaskingSettings
from unglossed.training.train import train_recipe

pytestmark = pytest.mark.slow

# The general one first: an option is tried in the first recipe that has it.
RECIPES = ["fla_llm", *sorted({path.stem for path in find_recipe("demo").parent.glob("*.yaml")})]
RECIPES = list(dict.fromkeys(RECIPES))
# For readers and for speed; what tells a stage from the others.
OF_NO_ACCOUNT = {
    *("description", "num_workers", "language_model.config._attn_implementation"),
    *("name", "skip", "objective", "alignment.kind"),
    *("array.dim", "array.skeleton", "encoder.config.kind"),  # what the corpus holds
    "encoder.config.array.kind",
    "language_model.config",  # null: takes away what the recipe that it starts from has
}
SEEN = ("model.safetensors", "metrics.jsonl", "norms.jsonl")

REGNET = json.dumps({"model_type": "regnet", **BACKBONE, "groups_width": 4})
# How each option is changed: its value, or the changes of the recipe that it takes.
OTHER_VALUES: dict[str, Any] = {
    "seed": 5,
    "tokenizer.pretrained": "OTHER",
    "tokenizer.start_token": ["tokenizer.start_token=null"],
    "tokenizer.vocab_size": 60,
    "video.frame_share": 0.5,
    "video.resize": 40,
    "video.crop": 28,
    "video.max_frames": 3,
    "video.augmentation.rotation_degrees": 1,
    "video.augmentation.resize_fraction": 0.02,
    "video.augmentation.shift_pixels": 1,
    "video.augmentation.probability": 1.0,
    "video.augmentation.colour": 0.0,
    "decoding.beams": 3,
    "decoding.max_new_tokens": 4,
    "decoding.language_contrast": 0.5,
    "decoding.sample": True,
    "decoding.temperature": 3.0,
    "decoding.top_p": 0.1,
    "decoding.seed": 1,
    "tokenizer.new_tokens": [
        "tokenizer.new_tokens=[<speech>, </speech>, <more>]",
        "stages.modality_adjustment.language_model.prompt.after=</speech><more>",
    ],
    "audio.audio_rate": 8000,
    "audio.max_seconds": 0.5,
    "encoder.source": ["encoder={config: {backbone: RESNET}}"],
    "reward: encoder.source": ["encoder={config: {backbone: RESNET, temporal_dim: 24}}"],
    "encoder.config.backbone": [f"encoder.config.backbone={REGNET}"],
    "encoder.config.backbone.model_type": [f"encoder.config.backbone={REGNET}"],
    "encoder.config.backbone.layer_type": "bottleneck",
    "encoder.config.backbone.embedding_size": 4,
    "encoder.config.backbone.hidden_sizes": [8, 8],
    "encoder.config.backbone.depths": [1, 2],
    "encoder.config.grid": 1,
    "encoder.config.temporal_dim": 16,
    "encoder.config.temporal_kernel": 1,
    "encoder.config.frozen_block": ["encoder.config.frozen_block={source: LLAMA}"],
    "encoder.config.motion": False,
    "encoder.config.point_dim": 8,
    "encoder.config.graph_layers": 1,
    "encoder.config.layers": 1,
    "encoder.config.dim": 24,
    "encoder.config.temporal_pools": [4],
    "encoder.config.edge_frames": 9,
    "array.rate": 12.5,
    "array.max_seconds": 0.5,
    "array.augmentation.rotation_degrees": 90,
    "array.augmentation.scale": 0.8,
    "array.augmentation.noise": 0.3,
    "array.augmentation.drop_hand": 1.0,
    "array.augmentation.drop_frames": 0.5,
    "array.augmentation.rates": [50, 60],
    "encoder.config.frontend.model_type": [
        f"encoder.config={json.dumps({'frontend': tiny.FRONTEND})}"
    ],
    "encoder.config.frontend.d_model": 16,
    "encoder.config.frontend.encoder_layers": 2,
    "encoder.config.frontend.encoder_attention_heads": 4,
    "encoder.config.frontend.encoder_ffn_dim": 32,
    "encoder.config.frontend.max_source_positions": 1100,
    "encoder.config.frontend.dropout": 0.5,
    "encoder.config.frontend.init_std": 0.2,
    "adapter.source": ["adapter={config: {hidden_dim: 16}}"],
    "adapter.config.hidden_dim": 16,
    "adapter.config.channels": 8,
    "adapter.config.layers": 1,
    "adapter.config.kernel": 5,
    "adapter.config.stride": 3,
    "language_model.source": "BARE",
    "language_model.config.light_t": {"layers": 2, "heads": 2, "width": 32, "ffn_dim": 64},
    "language_model.config.light_t.layers": 2,
    "language_model.config.light_t.heads": 4,
    "language_model.config.light_t.width": 16,
    "language_model.config.light_t.ffn_dim": 32,
    "language_model.config.dropout": 0.3,
    "language_model.config.model_type": "bart",
    "denoising: language_model.config.d_model": 16,
    "vlp: language_model.config.d_model": [
        "language_model.config.d_model=16",
        "text_encoder={config: {model_type: mbart, d_model: 16, encoder_layers: 1}}",
    ],
    "language_model.config.encoder_layers": 2,
    "language_model.config.decoder_layers": 2,
    "language_model.config.encoder_attention_heads": 4,
    "language_model.config.decoder_attention_heads": 4,
    "language_model.config.encoder_ffn_dim": 32,
    "language_model.config.decoder_ffn_dim": 32,
    "language_model.config.activation_function": "gelu",
    "language_model.config.init_std": 0.2,
    "language_model.prompt.before": "<|im_start|>",
    "language_model.prompt.after": "<|im_end|>",
    "language_model.lora.r": 8,
    "language_model.lora.alpha": 64,
    "language_model.lora.dropout": 0.5,
    "language_model.lora.targets": ["language_model.lora.targets=[q_proj]"],
    "language_model.random_init": True,
    "text_encoder.source": "BARE",
    "text_encoder.config": {"dropout": 0.5},
    "features": "frame_wise",
    "alignment.weight": 5.0,
    "alignment.temperature": 1.0,
    "alignment.smoothing": 0.5,
    "alignment.words": 5.0,
    "alignment.near_texts": 2,
    "alignment.source": "BARE",
    "alignment.states": ["alignment.source=BARE", "alignment.states=true"],
    "context.draft.lead": "regen ",
    "context.draft.beams": 4,
    "context.retrieved.number": 1,
    "context.retrieved.lead": "regen ",
    "context.folds": 3,
    "context.dropped": 0.0,
    "alignment.both_ways": [
        *("alignment.source=LLAMA", "alignment.states=true", "alignment.both_ways=true"),
    ],
    "masked_features.share": ["masked_features={share: 0.2}"],
    "masked_features.weight": ["masked_features={weight: 9}"],
    "reward.metric": "chrf",
    "reward.group": 3,
    "reward.kl": 50.0,
    "masking.share": 0.6,
    "masking.mean_span": 9.0,
    "restoration_weight": 0.1,
    "segmentation: frozen": [
        *("frozen=[encoder.backbone]", "feature_views=0"),
        "learning_rates={encoder: 1.0e-3, segment_head: 1.0e-3}",
    ],
    "frozen": ["frozen=[encoder, adapter]", "learning_rates={language_model: 1.0e-5}"],
    "learning_rates.encoder": 3.0e-4,
    "learning_rates.adapter": 3.0e-4,
    "learning_rates.new_tokens": 3.0e-4,
    "learning_rates.language_model": 3.0e-4,
    "learning_rates.text_encoder": 3.0e-4,
    "learning_rates.alignment": 3.0e-4,
    "learning_rates.context": 3.0e-2,
    "learning_rates.ctc_head": 3.0e-4,
    "learning_rates.segment_head": 3.0e-4,
    "optimizer.name": ["optimizer={name: sgd, momentum: 0.5}"],
    "optimizer.momentum": 0.5,
    "optimizer.betas": ["optimizer.betas=[0.5, 0.6]"],
    "optimizer.nesterov": False,
    "optimizer.momentum_dtype": "bfloat16",
    "optimizer.weight_decay": 0.5,
    "optimizer.max_grad_norm": 0.01,
    "schedule.name": ["schedule={name: constant}"],
    "reward: schedule.name": ["schedule={name: linear}"],
    "schedule.warmup": 0.5,
    "schedule.min_ratio": 0.5,
    "batch_size": 4,
    "frame_budget": 3,
    "epochs": 1,
    "evaluate_every": 2,
    "label_smoothing": 0.4,
    "feature_views": 2,
    "dev_beams": 4,
    "precision": "float32" if use_bfloat16("auto") else "bfloat16",
    "norms_every": 1,
}
OF_VIDEO = ("backbone.", "grid", "motion", "temporal_dim")
OTHER_VALUES |= {
    key.replace("config.", "config.video.", 1): [
        item.replace("config.", "config.video.", 1) if isinstance(item, str) else item
        for item in value
    ]
    if isinstance(value, list)
    else value
    for key, value in OTHER_VALUES.items()
    if key.startswith(tuple(f"encoder.config.{name}" for name in OF_VIDEO))
}
OTHER_VALUES |= {
    f"encoder.config.array.{key}": OTHER_VALUES[f"encoder.config.{key}"]
    for key in ("dim", "point_dim", "graph_layers", "layers", "temporal_pools", "edge_frames")
}
OTHER_VALUES |= {"streams.drop_video": 0.8, "streams.drop_array": 0.8}
SAMPLE = ("decoding.sample=true",)
SPEECH = (
    "audio={}",
    f"stages.visual_initialing.encoder={json.dumps({'config': {'frontend': tiny.FRONTEND}})}",
    "stages.llm_fine_tuning.skip=true",
)
CONTEXT = (
    "stages.llm_fine_tuning.context={source: visual_initialing, retrieved: {}, folds: 2}",
    "stages.llm_fine_tuning.learning_rates.context=1.0e-3",
)
BASES = ((), SAMPLE, SPEECH, CONTEXT)
# Options that no recipe states: the recipe and the stage to try each in, and what it builds on.
UNSTATED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "audio.audio_rate": ("fla_llm", "", SPEECH),
    "decoding.language_contrast": ("fla_llm", "", ()),
    "decoding.sample": ("demo", "", ()),
    "decoding.temperature": ("demo", "", SAMPLE),
    "decoding.top_p": ("demo", "", SAMPLE),
    "decoding.seed": ("demo", "", SAMPLE),
    "encoder.config.frozen_block": ("fla_llm", "visual_initialing", ()),
    "language_model.random_init": ("fla_llm", "llm_fine_tuning", ()),
    "alignment.words": ("fla_llm_contrast", "visual_initialing", ()),
    "alignment.near_texts": ("fla_llm_contrast", "visual_initialing", ()),
    "alignment.source": ("fla_llm_contrast", "visual_initialing", ()),
    "alignment.states": ("fla_llm_contrast", "visual_initialing", ()),
    **dict.fromkeys(
        (
            *("context.draft.lead", "context.draft.beams", "context.retrieved.number"),
            *("context.retrieved.lead", "context.folds", "context.dropped"),
            "learning_rates.context",
        ),
        ("fla_llm_contrast", "llm_fine_tuning", CONTEXT),
    ),
    "alignment.both_ways": ("fla_llm_contrast", "visual_initialing", ()),
    "masked_features.share": ("demo_llm", "llm_fine_tuning", ()),
    "masked_features.weight": ("demo_llm", "llm_fine_tuning", ()),
    "text_encoder.config": ("gfslt_vlp", "visual_language_pretraining", ()),
    "optimizer.betas": ("fla_llm", "llm_fine_tuning", ()),
    "optimizer.momentum_dtype": ("fla_llm", "visual_initialing", ()),
    "dev_beams": ("demo", "visual_initialing", ()),
    "frame_budget": ("demo", "visual_initialing", ()),
    "precision": ("demo", "visual_initialing", ()),
    "norms_every": ("demo", "visual_initialing", ()),
}
# Those that take an extra, or a model that ends its texts, and the tests that see what they change.
OF_ARRAYS, OF_POSES = "media/test_arrays.py", "media/test_pose_augment.py"
SEEN_ELSEWHERE = {
    "context.source": (
        "training/test_context.py",
        "test_what_does_not_fit_is_refused",
    ),
    "array.dim": (OF_ARRAYS, "test_what_is_not_as_expected_is_one_line"),
    "array.skeleton.points": (OF_ARRAYS, "test_a_file_that_tells_something_else_is_one_line"),
    "array.skeleton.groups": (
        OF_ARRAYS,
        "test_poses_come_back_bit_for_bit_and_missing_points_are_missing",
    ),
    "array.skeleton.edges": ("models/test_array_encoders.py", "test_edges_lead_to_neighbours"),
    "array.skeleton.mirrored": (
        OF_POSES,
        "test_a_mirrored_clip_has_its_sides_exchanged_and_twice_it_is_itself",
    ),
    "array.skeleton.shoulders": (OF_POSES, "test_noise_is_in_widths_of_the_shoulders"),
    "array.channels": (OF_ARRAYS, "test_what_is_not_as_expected_is_one_line"),
    "array.depth": (OF_ARRAYS, "test_depth_is_read_where_it_is_asked_for"),
    "array.units": (OF_ARRAYS, "test_shares_are_brought_to_one_unit"),
    "array.aspect_ratio": (
        OF_ARRAYS,
        "test_folders_of_mediapipe_are_read_in_each_of_its_forms",
    ),
    "array.zeros": (OF_ARRAYS, "test_zeros_without_confidence_have_to_be_explained"),
    "array.min_confidence": (OF_ARRAYS, "test_points_that_are_not_sure_enough_are_missing"),
    "array.rate": (OF_ARRAYS, "test_times_and_rates_are_those_of_the_clip"),
    "array.max_seconds": ("end_to_end/test_arrays.py", "test_longer_clips_are_cut"),
    "array.augmentation.mirror": (
        OF_POSES,
        "test_a_mirrored_clip_has_its_sides_exchanged_and_twice_it_is_itself",
    ),
    "array.augmentation.rotation_degrees": (
        OF_POSES,
        "test_a_rotation_keeps_distances_and_a_scale_does_not",
    ),
    "array.augmentation.scale": (
        OF_POSES,
        "test_a_rotation_keeps_distances_and_a_scale_does_not",
    ),
    "array.augmentation.noise": (OF_POSES, "test_noise_is_in_widths_of_the_shoulders"),
    "array.augmentation.drop_hand": (OF_POSES, "test_one_hand_is_dropped_whole"),
    "array.augmentation.drop_frames": (
        OF_POSES,
        "test_dropped_frames_leave_the_others_at_their_times",
    ),
    "array.augmentation.rates": (OF_POSES, "test_a_drawn_rate_keeps_the_seconds_and_never_cuts"),
    "signal": (
        "media/test_added_signals.py",
        "test_a_corpus_of_arrays_is_read_and_checked",
    ),
    "extra_texts": (
        "training/test_extra_texts.py",
        "test_a_tokenizer_and_a_language_model_are_trained_on_them",
    ),
    "text_contrast.temperature": (
        "training/test_text_contrast.py",
        "test_a_teacher_is_tuned_and_teaches_the_contrast",
    ),
    "text_contrast.both_ways": (
        "training/test_text_contrast.py",
        "test_a_teacher_is_tuned_and_teaches_the_contrast",
    ),
    "patience": (
        "end_to_end/test_alignment.py",
        "test_a_stage_ends_where_dev_stops_rising",
    ),
    "optimizer.in_backward": (
        "training/test_trainer.py",
        "test_gradients_are_let_go_in_the_backward_pass",
    ),
    "language_model.quantization": (
        "training/test_language_models.py",
        "test_lora_trains_beside_base_weights_in_4_bits",
    ),
    "languages": (
        "training/test_several_languages.py",
        "test_each_language_is_written_where_it_is_asked_for",
    ),
    "tokenizer.start_tokens": (
        "training/test_several_languages.py",
        "test_codes_of_a_published_tokenizer_are_found_or_asked_for",
    ),
    "unlikelihood": (
        "training/test_several_languages.py",
        "test_a_text_becomes_less_likely_where_a_wrong_language_is_asked_for",
    ),
    "decoding.to": (
        "training/test_several_languages.py",
        "test_each_language_is_written_where_it_is_asked_for",
    ),
    "decoding.no_repeat_ngram_size": (
        "inference/test_choosing.py",
        "test_no_run_of_tokens_stands_twice",
    ),
    "decoding.choice": (
        "inference/test_choosing.py",
        "test_the_contrast_is_computed_with_the_kept_alignment",
    ),
    "decoding.length_penalty": (
        "inference/test_search.py",
        "test_a_higher_length_penalty_gives_longer_texts",
    ),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four clips, two steps an epoch, long enough for CTC at a quarter of the frames."""
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 4, 2, num_frames=26)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_speech_corpus(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four videos of train and two of dev and of test, each with two sentences at their times."""
    root = tmp_path_factory.mktemp("long")
    for number, split in enumerate(["train"] * 4 + ["dev"] * 2 + ["test"] * 2):
        (root / split).mkdir(exist_ok=True)
        times = [(1.0, 3.0 + number / 10), (4.5, 6.5)]
        video = write_moving(root / split / f"talk{number}.mp4", times, 8.0)
        cues = [Cue(*time, text) for time, text in zip(times, tiny.SENTENCES, strict=False)]
        video.with_suffix(".srt").write_text(write_srt(cues), encoding="utf-8")
    return f"folder:{root}?language=de"


@pytest.fixture(scope="module")
def arrays(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same clips as features, as poses of MediaPipe's points, and with poses beside them."""
    num_points = len(SKELETONS["generated"].points)
    shapes = {"features": (26, 1024), "pose": (26, 543, 2), "streams": (26, num_points, 2)}
    found = {}
    for kind, shape in shapes.items():
        root = tmp_path_factory.mktemp(kind)
        for rows in read_corpus(corpus).splits.values():
            for number, sample in enumerate(rows):
                values = 100 * np.random.default_rng(number).random(shape)
                np.save(root / f"{sample.id}.npy", values.astype(np.float32))
        option = "beside" if kind == "streams" else "features"
        found[kind] = f"{corpus}?{option}={root}"
    return found


@pytest.fixture(scope="module")
def corpora(corpus: str, sound: str, long_videos: str, arrays: dict[str, str]) -> dict[str, str]:
    """A corpus for each kind of signal, and one of long videos."""
    return {"video": corpus, "audio": sound, "long": long_videos, **arrays}


def kind_of(recipe: str, changes: Sequence[str] = ()) -> str:
    """Which of the corpora a recipe is for."""
    settings = load_recipe(recipe, list(changes))
    if settings.stages[-1].objective == "segmentation":
        return "long"
    if settings.array is not None and settings.streams is None:
        return "pose" if settings.array.dim is None else "features"
    return settings.needs.signal


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the stand-ins for models of the hub."""
    return tmp_path_factory.mktemp("models")


def losses_of(stage: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(stage / "metrics.jsonl") if "loss" in row]


def weights_of(stage: Path) -> dict[str, torch.Tensor]:
    return load_file(stage / "model" / "model.safetensors")


class Runs:
    """Runs of recipes without the change of an option, made when they are first asked for."""

    def __init__(self, corpora: dict[str, str], models: Path, folder: Path) -> None:
        self.corpora, self.models, self.folder = corpora, models, folder

    def corpus(self, recipe: str, basis: tuple[str, ...] = ()) -> str:
        return self.corpora[kind_of(recipe, basis)]

    def overrides(self, recipe: str, basis: tuple[str, ...]) -> list[str]:
        """A recipe at the size of the tests, for two epochs."""
        names = names_of(load_recipe(recipe, list(basis)))
        epochs = [f"stages.{name}.epochs=2" for name in names]
        return [*shrink(recipe, self.models, basis), *epochs]

    def run(self, recipe: str, basis: tuple[str, ...] = ()) -> Path:
        output = self.folder / f"{recipe}-{BASES.index(basis)}"
        if not output.is_dir():
            overrides = self.overrides(recipe, basis)
            train_recipe(recipe, self.corpus(recipe, basis), output, overrides=overrides)
        return output


@pytest.fixture(scope="module")
def whole_runs(
    corpora: dict[str, str], models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    return Runs(corpora, models, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs(recipe: str, whole_runs: Runs) -> None:
    output, corpus = whole_runs.run(recipe), whole_runs.corpus(recipe)

    settings = load_recipe(recipe, whole_runs.overrides(recipe, ()))
    for number, stage in enumerate(settings.stages, start=1):
        folder = output / f"{number}-{stage.name}"
        rows = read_metrics(folder / "metrics.jsonl")
        more = stage.objective == "denoising" and settings.extra_texts is not None
        assert max(row["step"] for row in rows) == (8 if more else 4)
        assert all(math.isfinite(loss) for loss in losses_of(folder))
        if stage.objective != "reward":  # whose loss is a difference
            assert all(loss > 0 for loss in losses_of(folder))
        before = None
        if stage.encoder is not None and stage.encoder.source in names_of(settings):
            source = names_of(settings).index(stage.encoder.source)
            before = weights_of(output / f"{source + 1}-{stage.encoder.source}")
        for name, value in weights_of(folder).items():
            if before is not None and name.startswith("encoder.") and "encoder" in stage.frozen:
                assert torch.equal(value, before[name]), name
    if settings.stages[-1].objective == "segmentation":
        processor = TranslatorProcessor.from_pretrained(output / "model")
        load_segmenter(output, processor)
        return
    samples = read_corpus(corpus).split("test")
    translations = SignTranslator.from_pretrained(output).translate(samples, max_new_tokens=4)
    assert [translation.media for translation in translations] == [s.id for s in samples]


def names_of(settings: Any) -> list[str]:
    return [stage.name for stage in settings.stages]


def table_rows() -> list[tuple[str, str, list[str]]]:
    """Rows of a paper's tables that the header of its recipe names, with the changes they take."""
    found = []
    for recipe in ("fla_llm", "lst", "lst_demo"):
        text = find_recipe(recipe).read_text(encoding="utf-8")
        rows = re.findall(
            r"^#   ((?:Table|Figure|Ablation)[^:]+): (.*\n(?:#     .*\n)*)", text, re.MULTILINE
        )
        for name, changes in rows:
            words = shlex.split(re.sub(r"\n# +", " ", changes))
            found.append((recipe, name, [word for word in words if word != "#"]))
    return found


def test_every_ablation_has_a_row() -> None:
    tables = {name.partition(",")[0] for recipe, name, _ in table_rows() if recipe == "fla_llm"}
    ablations, small = (
        [name.removeprefix("Ablation, ") for of, name, _ in table_rows() if of == recipe]
        for recipe in ("lst", "lst_demo")
    )

    assert tables == {*(f"Table {number}" for number in range(5, 11)), "Figure 4"}
    stages = ["stage 1 alone", "one stage instead of two"]
    assert ablations == [*stages, "HuBERT", "WavLM", "Whisper", "LLaMA-2 13B"]
    assert small == [*stages, "full tuning"]


@pytest.mark.parametrize(("recipe", "row", "changes"), table_rows())
def test_a_row_of_the_papers_tables_runs_and_is_another_one(
    recipe: str,
    row: str,
    changes: list[str],
    corpora: dict[str, str],
    models: Path,
    tmp_path: Path,
) -> None:
    assert load_recipe(recipe, changes) != load_recipe(recipe), row

    output = tmp_path / "run"
    corpus = corpora[kind_of(recipe)]
    train_recipe(recipe, corpus, output, overrides=shrink(recipe, models, changes))

    stages = sorted(path for path in output.glob("[0-9]-*"))
    assert all(math.isfinite(loss) for stage in stages for loss in losses_of(stage))
    settings = load_recipe(recipe, changes)
    last = settings.stages[-1]
    frozen = [
        part
        for part in last.frozen
        if getattr(last, part.partition(".")[0]).source in names_of(settings)
    ]
    if len(stages) == 2:
        before, after = weights_of(stages[0]), weights_of(stages[1])
        kept = [n for n in after if n in before and n.startswith(tuple(f"{f}." for f in frozen))]
        assert all(torch.equal(before[name], after[name]) for name in kept)
        if frozen and "text_encoder" not in str(changes):
            assert any("running_var" in name or "frontend" in name for name in kept)


def test_lst_trains_adapter_and_new_tokens_and_then_the_language_model(
    whole_runs: Runs, models: Path
) -> None:
    output = whole_runs.run("lst")
    stages = load_recipe("lst").stages
    assert stages[0].encoder is not None
    assert stages[0].language_model is not None
    frontend = load_file(Path(stand_in(stages[0].encoder.source, models)) / "model.safetensors")
    llama = load_file(Path(stand_in(stages[0].language_model.source, models)) / "model.safetensors")
    first, second = (
        weights_of(output / f"{number}-{stage.name}")
        for number, stage in enumerate(stages, start=1)
    )
    tables = {"model.embed_tokens.weight", "lm_head.weight"}
    for name, before in frontend.items():
        for after in (first, second):
            assert torch.equal(after[f"encoder.frontend.{name}"], before), name
    for name, before in llama.items():
        after = first[f"language_model.model.{name}"]
        assert torch.equal(after[: len(before)], before), name
        assert len(after) == len(before) + 2 * (name in tables)
        assert not torch.equal(second[f"language_model.model.{name}"], after), name
    words, head = (first[f"language_model.model.{name}"][-2:] for name in sorted(tables)[::-1])
    assert not torch.isclose(words, llama["model.embed_tokens.weight"].mean(0)).all(1).any()
    torch.testing.assert_close(head, llama["lm_head.weight"].mean(0).expand(2, -1))
    adapters = [name for name in first if name.startswith("adapter.")]
    assert adapters
    assert all(not torch.equal(first[name], second[name]) for name in adapters)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_commands_in_its_header_are_accepted(recipe: str) -> None:
    header = find_recipe(recipe).read_text(encoding="utf-8").partition("description:")[0]
    lines = header.replace("\\\n#", " ").splitlines()
    commands = [shlex.split(line[1:]) for line in lines if line.startswith("#   unglossed ")]

    assert any(words[1] == "train" and words[2] == recipe for words in commands)
    for words in commands:
        command, rest, context = typer.main.get_command(app), words[1:], None
        while hasattr(command, "resolve_command"):
            context = command.make_context("unglossed", list(rest), parent=context)
            _, command, rest = command.resolve_command(context, rest)
        assert command.make_context(words[1], list(rest), parent=context).params


@pytest.mark.parametrize("recipe", ["fla_llm_phoenix14t", "fla_llm_csl_daily", "fla_llm_how2sign"])
def test_a_corpus_recipe_trains_what_its_header_trims(recipe: str) -> None:
    header = find_recipe(recipe).read_text(encoding="utf-8").partition("description:")[0]
    trimmed = re.findall(r"--output (models/\w+)", header)
    settings = load_recipe(recipe)

    assert settings.tokenizer.pretrained == trimmed[0]
    assert settings.stages[1].language_model is not None
    assert settings.stages[1].language_model.source == trimmed[0]
    same = {"description", "tokenizer", "stages"}
    assert settings.model_dump(exclude=same) == load_recipe("fla_llm").model_dump(exclude=same)


@pytest.mark.parametrize("recipe", ["gloss_based", "gfslt_vlp", "lst"])
def test_an_interrupted_run_ends_like_one_never_interrupted(
    recipe: str, corpora: dict[str, str], models: Path, tmp_path: Path
) -> None:
    corpus = corpora[kind_of(recipe)]
    stages = names_of(load_recipe(recipe))
    changes = [*shrink(recipe, models), *(f"stages.{name}.epochs=3" for name in stages)]
    train_recipe(recipe, corpus, tmp_path / "whole", overrides=changes)
    steps = 0

    def interrupt(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in (3, 9):  # in the second epoch of the first stage, then of the second
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(interrupt)
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            train_recipe(recipe, corpus, tmp_path / "cut", resume=resume, overrides=changes)
    handle.remove()
    train_recipe(recipe, corpus, tmp_path / "cut", resume=True, overrides=changes)

    for number, name in enumerate(stages, start=1):
        whole, cut = (tmp_path / run / f"{number}-{name}" for run in ("whole", "cut"))
        assert read_metrics(whole / "metrics.jsonl") == read_metrics(cut / "metrics.jsonl")
        mine, theirs = weights_of(cut), weights_of(whole)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[key]) for key, value in mine.items())


def train_by_heart(
    recipe: str, rate: float, corpus: str, models: Path, output: Path, *changes: str
) -> tuple[Any, ClipDataset]:
    """A recipe's first stage trained until it knows the corpus; its model, and the train clips."""
    settings = load_recipe(recipe)
    stage = settings.stages[0]
    rates = dict.fromkeys(stage.learning_rates, rate)
    of_stage = [
        *("optimizer={name: adamw, max_grad_norm: 1.0}", f"learning_rates={json.dumps(rates)}"),
        *("batch_size=4", "epochs=200", "evaluate_every=200", *changes),
    ]
    overrides = [
        *shrink(recipe, models),
        *("video.augmentation=null", "video.frame_share=0.5"),
        *(f"stages.{later}.skip=true" for later in names_of(settings)[1:]),
        *(f"stages.{stage.name}.{change}" for change in of_stage),
    ]
    folder = train_recipe(recipe, corpus, output, overrides=overrides)
    processor = TranslatorProcessor.from_pretrained(folder)
    samples = read_corpus(corpus).split("train")
    return AutoModel.from_pretrained(folder), ClipDataset(samples, processor, limit=100)


def test_glosses_are_learnt_by_heart(corpus: str, models: Path, tmp_path: Path) -> None:
    model, clips = train_by_heart("gloss_based", 0.02, corpus, models, tmp_path / "run")

    losses = losses_of(tmp_path / "run" / "1-gloss_recognition")
    assert losses[0] > 2
    assert losses[-1] < 0.1
    clips.target = GlossTarget(model.config.symbols, GlossCtc.symbols)
    scores = DevSplit(model, clips, bfloat16=False).scored(GlossCtc().score)()
    assert scores["word_error_rate"] == 0.0


def test_sentences_are_aligned_and_restored_by_heart(
    corpus: str, models: Path, tmp_path: Path
) -> None:
    no_noise = ("label_smoothing=0", "language_model.config.dropout=0")
    model, clips = train_by_heart("gfslt_vlp", 0.005, corpus, models, tmp_path / "run", *no_noise)

    losses = losses_of(tmp_path / "run" / "1-visual_language_pretraining")
    assert losses[0] > 5
    assert losses[-1] < 0.3
    score, masking = VisualLanguagePretraining().score, MaskingSettings(share=0.15)
    scores = DevSplit(model, clips, bfloat16=False).scored(score, masking=masking)()
    assert scores["retrieval"] == 100.0
    assert scores["loss"] < 0.01
    assert scores["restoration_loss"] < 0.5


def content(recipe: str) -> dict[str, Any]:
    """What a recipe's file and its bases say."""
    data = read_yaml(find_recipe(recipe))
    base = data.pop("base", None)
    return merge(content(base), data) if base else data


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}" if path else key)
    else:
        yield path


def options() -> dict[str, tuple[str, str, str, tuple[str, ...]]]:
    """Every option once: recipe, stage ("" if of the whole), key, and changes that it builds on."""
    found: dict[str, tuple[str, str, str, tuple[str, ...]]] = {}
    for recipe in RECIPES:
        data = content(recipe)
        stages = [stage for stage in data.pop("stages") if not stage.get("skip")]
        for key in leaves(data):
            if key not in OF_NO_ACCOUNT:
                found.setdefault(key, (recipe, "", key, ()))
        for stage in stages:
            objective = stage.get("objective", "translation")
            for key in leaves(stage):
                if key not in OF_NO_ACCOUNT:
                    found.setdefault(f"{objective}: {key}", (recipe, stage["name"], key, ()))
    return found | {key: (*place[:2], key, place[2]) for key, place in UNSTATED.items()}


def fields(kind: type[Settings], prefix: str = "") -> Iterator[str]:
    """Every option that settings have, stages' without the stage."""
    for name, field in kind.model_fields.items():
        args = [field.annotation, *get_args(field.annotation)]
        below = next((a for a in args if isinstance(a, type) and issubclass(a, Settings)), None)
        if below is None:
            yield prefix + name
        else:
            yield from fields(below, "" if name == "stages" else f"{prefix}{name}.")


def test_every_option_that_there_is_is_tried() -> None:
    tried = {key for _, _, key, _ in options().values()} | OF_NO_ACCOUNT | set(SEEN_ELSEWHERE)
    inner = {key.rsplit(".", number)[0] for key in tried for number in range(1, key.count(".") + 1)}

    assert set(fields(Recipe)) - tried - inner == set()
    for path, name in SEEN_ELSEWHERE.values():
        text = (Path(__file__).parents[1] / path).read_text(encoding="utf-8")
        assert f"def {name}(" in text


def seen(stage: Path) -> dict[str, bytes]:
    """What training leaves that somebody uses or reads later: weights, scores, norms."""
    paths = [path for name in SEEN for path in stage.rglob(name) if "last" not in path.parts]
    return {str(path.relative_to(stage)): path.read_bytes() for path in paths}


def said(stage: Path, corpus: str) -> list[tuple[str, float]]:
    """What a stage's model says of the test clips, with scores; nothing, if it finds sentences."""
    if AutoConfig.from_pretrained(find_model(stage)).model_type == SegmenterConfig.model_type:
        return []
    samples = read_corpus(corpus).split("test")
    found = SignTranslator.from_pretrained(stage).translate(samples)
    return [(one.text, one.score) for one in found]


@pytest.mark.parametrize("recipe", RECIPES)
def test_without_a_change_nothing_changes(recipe: str, whole_runs: Runs, tmp_path: Path) -> None:
    """What the next test compares follows from the recipe alone, to the bit."""
    before = whole_runs.run(recipe)
    overrides = [*whole_runs.overrides(recipe, ()), "description=another"]
    corpus = whole_runs.corpus(recipe)
    train_recipe(recipe, corpus, tmp_path / "run", overrides=overrides)

    assert seen(tmp_path / "run") == seen(before)
    assert len(seen(before)) >= 3
    assert said(tmp_path / "run", corpus) == said(before, corpus)


@pytest.mark.parametrize(("option", "place"), options().items(), ids=options())
def test_every_option_changes_something(
    option: str, place: tuple[str, str, str, tuple[str, ...]], whole_runs: Runs, tmp_path: Path
) -> None:
    recipe, stage, key, basis = place
    value = OTHER_VALUES[option if option in OTHER_VALUES else key]
    takes_changes = isinstance(value, list) and isinstance(value[0], str)
    prefix = f"stages.{stage}." if stage else ""
    models = whole_runs.models
    changes = [
        prefix + re.sub("OTHER|BARE|RESNET|LLAMA", lambda m: stand_in(m[0].lower(), models), item)
        for item in (value if takes_changes else [f"{key}={json.dumps(value)}"])
    ]
    before, corpus = whole_runs.run(recipe, basis), whole_runs.corpus(recipe, basis)
    output = tmp_path / "run"
    overrides = [*whole_runs.overrides(recipe, basis), *changes]

    last = run_until_it_shows(recipe, stage, corpus, before, output, overrides)

    if key.startswith("decoding."):
        assert said(output / last, corpus) != said(before / last, corpus)
    else:
        assert seen(output / last) != seen(before / last)
    added = {"norms.jsonl"} if key == "norms_every" else set()
    assert seen(output / last).keys() == seen(before / last).keys() | added


def run_until_it_shows(
    recipe: str, stage: str, corpus: str, before: Path, output: Path, overrides: list[str]
) -> str:
    """Run a recipe up to the stage that an option is of, or the first one with an encoder.

    The stages before are taken from a run without the change.

    Returns:
        The last stage's folder.
    """
    stages = load_recipe(recipe, overrides).stages
    number = next(i for i, s in enumerate(stages) if s.name == stage or (not stage and s.encoder))
    overrides += [f"stages.{later.name}.skip=true" for later in stages[number + 1 :]]
    if stage and number:
        output.mkdir()
        for done in ("processor", *(f"{i + 1}-{stages[i].name}" for i in range(number))):
            shutil.copytree(before / done, output / done)
        shutil.copy(before / "run.json", output)
        write_settings(load_recipe(recipe, overrides), output / "recipe.yaml")
    train_recipe(recipe, corpus, output, resume=bool(stage and number), overrides=overrides)
    return f"{number + 1}-{stages[number].name}"
