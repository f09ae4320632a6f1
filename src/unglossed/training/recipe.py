"""A recipe: the list of stages that a training run goes through, and what all stages share.

These are settings only; `stage.py` builds what they describe, `train.py` runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from unglossed.config import Settings, read_settings
from unglossed.errors import InputError
from unglossed.media.video import FRAME_RATE
from unglossed.models.translator import PARTS

Share = Annotated[float, Field(ge=0, le=1)]


class GeneratedText(Settings):
    """Sentences of the generator that no clip of the corpus says, in the corpus's language."""

    num_sentences: PositiveInt
    level: Annotated[int, Field(ge=1, le=3)]
    seed: int = 0


class TokenizerSettings(Settings):
    """Where the tokenizer comes from: a folder or hub name, or trained on the text.

    Trained means byte-pair encoding of the training split's sentences and the generated ones.
    """

    pretrained: str | None = None
    vocab_size: PositiveInt = 2000
    new_tokens: tuple[str, ...] = ()
    """Tokens to add, such as those that mark a signal's begin and end in the prompt."""
    start_token: str | None = None
    """Token with which the decoder starts (mBART: `de_DE`); the language's own when trained."""


class Augmentation(Settings):
    """Variation of a clip in training; one draw for the whole clip (METHOD: each with p = 0.5)."""

    rotation_degrees: Annotated[float, Field(ge=0)] = 30.0
    resize_fraction: Share = 0.2
    shift_pixels: Annotated[float, Field(ge=0)] = 10.0
    probability: Share = 0.5
    colour: Share = 0.0
    """Change of brightness, contrast and tint; not in the paper."""


class VideoSettings(Settings):
    """Which frames of a clip are kept and what becomes of them."""

    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 0.25
    resize: PositiveInt = 256
    crop: PositiveInt = 224
    augmentation: Augmentation | None = Augmentation()
    max_frames: PositiveInt = 300
    """Longest clip, in kept frames; a longer one is cut at its end in training."""

    @model_validator(mode="after")
    def _crop_fits(self) -> VideoSettings:
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self


class AudioSettings(Settings):
    """How much of a clip's sound is read (LST: 16 kHz, segments up to 30 s)."""

    sample_rate: PositiveInt = 16000
    max_seconds: PositiveFloat = 30.0
    """A longer clip is cut at its end in training."""


class PartSettings(Settings):
    """Where a part of the translator comes from.

    `source` is "build" (from `config`), the name of an earlier stage, or a folder or hub name with
    pre-trained weights. `config` is read by the part's class in `models/`.
    """

    source: str = "build"
    config: dict[str, Any] = {}


class PromptSettings(Settings):
    """Text around the features that a language model reads; may name special tokens."""

    before: str = ""
    after: str = ""


class LoraSettings(Settings):
    """LoRA beside the language model's frozen weights (LST's variant: r 16, alpha 32, 0.05)."""

    r: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: Share = 0.05
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Layers by name; `all-linear` finds those of the architecture, but for the output head."""


class LanguageModelSettings(PartSettings):
    """Where the language model comes from (also a `.gguf` file), and how it is tuned."""

    prompt: PromptSettings | None = None
    """None: what an earlier stage had; a decoder-only model reads its begin token at least."""
    lora: LoraSettings | None = None
    """Train small matrices in the place of the model's own weights."""
    random_init: bool = False
    """Take the pre-trained model's shape but not its weights (FLa-LLM, Table 10)."""

    @model_validator(mode="after")
    def _random_init_fits(self) -> LanguageModelSettings:
        if self.random_init and self.source == "build":
            raise ValueError("random_init is for a source of weights; a built model is random")
        return self


class OptimizerSettings(Settings):
    """The optimiser of a stage; learning rates are given per part."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    momentum: Share = 0.9
    nesterov: bool = True
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(ge=0)] = 0.0
    """Gradients are scaled down to this norm; 0 leaves them."""

    @model_validator(mode="after")
    def _momentum_fits(self) -> OptimizerSettings:
        if self.name == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class ScheduleSettings(Settings):
    """How learning rates go from their start to `min_ratio` of it."""

    name: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.0
    """Share of all steps over which the rates rise from 0."""
    min_ratio: Share = 0.0
    """Of the cosine alone: a line goes to 0, a constant stays."""

    @model_validator(mode="after")
    def _min_ratio_fits(self) -> ScheduleSettings:
        if self.min_ratio and self.name != "cosine":
            raise ValueError(f"min_ratio is for the cosine schedule, not for {self.name}")
        return self


class StageSettings(Settings):
    """One stage: its parts, what is frozen, its objective, optimiser and schedule."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    objective: Literal["translation", "denoising"] = "translation"
    encoder: PartSettings | None = None
    adapter: PartSettings | None = None
    language_model: LanguageModelSettings
    frozen: tuple[Literal["encoder", "adapter", "language_model"], ...] = ()
    learning_rates: dict[Literal["encoder", "adapter", "language_model"], PositiveFloat]
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    epochs: PositiveInt
    batch_size: PositiveInt
    label_smoothing: Share = 0.0
    feature_views: Annotated[int, Field(ge=0)] = 0
    """With a frozen encoder: how many augmented views of each clip are encoded, once, and trained
    from in turn; 0 encodes each clip anew in every epoch."""
    evaluate_every: PositiveInt = 1
    """Epochs between two scores on the dev split."""
    dev_beams: PositiveInt = 1
    """Beam width of the scores on dev that choose the best checkpoint."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 where the processor has it."""

    @model_validator(mode="after")
    def _consistent(self) -> StageSettings:
        present = {name for name in PARTS if getattr(self, name) is not None}
        needed = {"language_model"} if self.objective == "denoising" else set(PARTS)
        if present != needed:
            raise ValueError(
                f"objective {self.objective} needs {sorted(needed)}, not {sorted(present)}"
            )
        trained = present - set(self.frozen)
        if set(self.learning_rates) != trained:
            raise ValueError(f"learning_rates must name what is trained: {sorted(trained)}")
        if self.feature_views and "encoder" not in self.frozen:
            raise ValueError("feature_views needs a frozen encoder")
        return self


class Recipe(Settings):
    """Everything about a training run but its corpus and its output folder."""

    description: str = ""
    seed: int = 0
    tokenizer: TokenizerSettings = TokenizerSettings()
    generated_text: GeneratedText | None = None
    video: VideoSettings = VideoSettings()
    audio: AudioSettings | None = None
    """Set for speech: the clips' sound is read, and `video` counts for nothing."""
    stages: Annotated[tuple[StageSettings, ...], Field(min_length=1)]
    beams: PositiveInt = 5
    max_new_tokens: PositiveInt = 150
    num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read frames beside the training."""

    @property
    def max_seconds(self) -> float:
        """Longest clip that training uses whole."""
        if self.audio is not None:
            return self.audio.max_seconds
        return self.video.max_frames / self.video.sampling_rate / FRAME_RATE

    @model_validator(mode="after")
    def _stages_known(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages: two have the same name: {names}")
        earlier = ["build"]
        for stage in self.stages:
            for part in PARTS:
                settings: PartSettings | None = getattr(stage, part)
                if settings is None or settings.source in earlier:
                    continue
                # Only a language model is loaded whole from elsewhere (a backbone: by its config).
                if part != "language_model" or settings.source in names:
                    raise ValueError(
                        f"stages.{stage.name}.{part}.source: found {settings.source!r},"
                        f" expected one of {earlier}"
                    )
            earlier.append(stage.name)
        return self


RECIPES_FOLDER = "recipes"


def find_recipe(name: str | Path) -> Path:
    """A recipe's file: a path, or the name of a shipped recipe without `.yaml`.

    Raises:
        InputError: neither is there; the shipped names are listed.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = Path(__file__).parent.parent / RECIPES_FOLDER
    if not folder.is_dir():  # an editable install: the recipes lie at the repository's root
        folder = Path(__file__).parents[3] / RECIPES_FOLDER
    shipped = folder / f"{path.name.removesuffix('.yaml')}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise InputError(f"recipe {name}: no such file; the shipped recipes are: {names}")


def load_recipe(name: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe from its file or shipped name, with `key=value` overrides.

    Raises:
        InputError: names the file and the field that is wrong.
    """
    return read_settings(Recipe, find_recipe(name), overrides)
