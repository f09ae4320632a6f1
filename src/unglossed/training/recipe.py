"""A recipe: the list of stages that a training run goes through, and what all stages share.

These are settings only; `stage.py` builds what they describe, `train.py` runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from unglossed.config import Settings, check_settings, override
from unglossed.corpora.needs import Needs
from unglossed.errors import InputError
from unglossed.inference.decoding import DecodingSettings
from unglossed.media.video import FRAME_RATE
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.recipe_files import (
    find_recipe,
    leave_out_skipped,
    read_recipe_file,
    refuse_skipped_sources,
)

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
    pre-trained weights: of a language model, of a speech model, or of another run's translator
    whose encoder or adapter is taken (the last two with a slash: `./folder`). `config` is read by
    the part's class in `models/`.
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
    """None: what an earlier stage had; a decoder-only model reads its begin token at least. Not for
    denoising, which has no features."""
    lora: LoraSettings | None = None
    """Train small matrices in the place of the model's own weights."""
    random_init: bool = False
    """Take the pre-trained model's shape but not its weights (FLa-LLM, Table 10)."""
    quantization: Literal["4bit"] | None = None
    """Hold the weights beside which LoRA or the adapter trains in 4 bits; needs bitsandbytes."""

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


class MaskingSettings(Settings):
    """How sentences are masked that a stage restores (mBART, arXiv 2001.08210: 0.35 and 3.5)."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.35
    """Of the tokens, hidden."""
    mean_span: Annotated[float, Field(ge=0)] = 3.5
    """Mean length of a hidden span; each leaves one mask token, and hides at least one token."""


PARTS = ("encoder", "adapter", "language_model", "text_encoder")
"""Parts that a stage's settings can have; an objective's model may add further ones."""
NEW_TOKENS = "new_tokens"
"""Has a learning rate where the embeddings of `tokenizer.new_tokens` alone are trained (LST)."""
TrainedPart = Literal[
    "encoder", "adapter", "language_model", "text_encoder", "gloss_head", "alignment", "new_tokens"
]


def _check_frozen(name: str) -> str:
    part, *modules = name.split(".")
    if part in PARTS and all(module.isidentifier() or module.isdigit() for module in modules):
        return name
    raise ValueError(
        f"found {name!r}, expected a part ({', '.join(PARTS)}) or a module in one, such as"
        " encoder.backbone"
    )


FrozenPart = Annotated[str, AfterValidator(_check_frozen)]


class StageSettings(Settings):
    """One stage: its parts, what is frozen, its objective, optimiser and schedule."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    objective: Literal["translation", "denoising", "gloss_ctc", "vlp"] = "translation"
    """See `objectives.py`; vlp is the visual-language pre-training of GFSLT-VLP."""
    encoder: PartSettings | None = None
    adapter: PartSettings | None = None
    language_model: LanguageModelSettings | None = None
    text_encoder: PartSettings | None = None
    """Of vlp: the encoder-decoder whose encoder reads the sentences."""
    features: Literal["frame_wise", "sign_wise", "text_encoder"] | None = None
    """What the encoder hands on (FLa-LLM, Table 8): the features before its temporal module, those
    after it, or the states of the text encoder of the stage that it comes from. None: as there."""
    masking: MaskingSettings | None = None
    """None: mBART's, where sentences are masked."""
    restoration_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of vlp: how much the restoring of sentences counts beside the alignment."""
    frozen: tuple[FrozenPart, ...] = ()
    """Parts, or modules in them, such as `encoder.backbone` (FLa-LLM, Table 9). Not for denoising,
    whose one part is trained."""
    learning_rates: dict[TrainedPart, PositiveFloat]
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    epochs: PositiveInt
    batch_size: PositiveInt
    """Clips of a step."""
    frame_budget: PositiveInt | None = None
    """Most frames of a step that are held in memory at once: pictures in a trained encoder (see
    `VisualEncoder`), features and tokens of a part of the batch on top of a frozen one (see
    `cut_batch`). None leaves it to the machine and the size of the pictures."""
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
    norms_every: Annotated[int, Field(ge=0)] = 0
    """Steps between two rows of `norms.jsonl`, see `diagnostics.py`; 0 writes none."""

    @model_validator(mode="after")
    def _consistent(self) -> StageSettings:
        objective = OBJECTIVES[self.objective]
        present = {name for name in PARTS if getattr(self, name) is not None}
        if present != set(objective.parts):
            raise ValueError(
                f"objective {self.objective} needs {sorted(objective.parts)}, not {sorted(present)}"
            )
        trained = present.union(objective.adds) - set(self.frozen)
        writer = self.language_model
        if NEW_TOKENS in self.learning_rates and "adapter" in present:
            if "language_model" in trained and (writer is None or writer.lora is None):
                raise ValueError("learning_rates.new_tokens needs language_model frozen, or lora")
            trained.add(NEW_TOKENS)
        if set(self.learning_rates) != trained:
            raise ValueError(f"learning_rates must name what is trained: {sorted(trained)}")
        quantized = writer is not None and writer.quantization and writer.lora is None
        if quantized and "language_model" in trained:
            raise ValueError("language_model.quantization needs lora, or the part frozen")
        if self.feature_views and "encoder" not in self.frozen:
            raise ValueError("feature_views needs a frozen encoder")
        return self

    @model_validator(mode="after")
    def _nothing_is_without_effect(self) -> StageSettings:
        objective = OBJECTIVES[self.objective]
        for name, means_something in (
            ("features", "encoder" in objective.parts),
            ("frozen", self.objective != "denoising"),
            ("masking", objective.masks_text),
            ("label_smoothing", objective.smooths),
            ("restoration_weight", self.objective == "vlp"),
            ("dev_beams", self.objective == "translation"),
        ):
            default = type(self).model_fields[name].default
            if not means_something and getattr(self, name) != default:
                raise ValueError(f"{name} means nothing to the objective {self.objective}")
        writer = self.language_model
        if self.objective == "denoising" and writer is not None and writer.prompt is not None:
            raise ValueError("language_model.prompt means nothing to the objective denoising")
        if self.objective == "vlp" and self.batch_size < 2:
            raise ValueError("batch_size: found 1, expected clips to compare")
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
    decoding: DecodingSettings = DecodingSettings()
    """How texts are searched for: by the scores on dev (but for `dev_beams`), and by whoever uses
    the model, beside which these settings lie."""
    num_workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that read frames beside the training; left to the machine when not given."""

    @property
    def max_seconds(self) -> float:
        """Longest clip that training uses whole."""
        if self.audio is not None:
            return self.audio.max_seconds
        return self.video.max_frames / self.video.sampling_rate / FRAME_RATE

    @property
    def needs(self) -> Needs:
        """What a corpus must have to be trained on."""
        learns_glosses = [stage.name for stage in self.stages if stage.objective == "gloss_ctc"]
        return Needs(
            signal="sound" if self.audio is not None else "video",
            glosses_for=learns_glosses[0] if learns_glosses else None,
            start_token=self.tokenizer.start_token if self.tokenizer.pretrained else None,
        )

    @model_validator(mode="after")
    def _stages_known(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages: two have the same name: {names}")
        earlier: dict[str, StageSettings] = {}
        for stage in self.stages:
            if stage.objective == "gloss_ctc" and self.audio is not None:
                raise ValueError(f"stages.{stage.name}: gloss_ctc is for video, not for audio")
            if NEW_TOKENS in stage.learning_rates and not self.tokenizer.new_tokens:
                where = f"stages.{stage.name}.learning_rates.new_tokens"
                raise ValueError(f"{where}: found no tokenizer.new_tokens, expected some to train")
            for part in PARTS:
                self._check_source(stage, part, earlier, names)
            earlier[stage.name] = stage
        return self

    @staticmethod
    def _check_source(
        stage: StageSettings, part: str, earlier: dict[str, StageSettings], names: list[str]
    ) -> None:
        settings: PartSettings | None = getattr(stage, part)
        if settings is None or settings.source == "build":
            return
        where = f"stages.{stage.name}.{part}.source: "
        reads_text = part in ("language_model", "text_encoder")
        if settings.source in earlier:
            wanted = "language_model" if reads_text else part
            if getattr(earlier[settings.source], wanted) is None:
                raise ValueError(f"{where}the stage {settings.source} has no {wanted}")
            return
        # A slash tells what lies elsewhere from a misspelt stage; a language model needs none.
        elsewhere = reads_text or "/" in settings.source
        if not elsewhere or settings.source in names:
            raise ValueError(
                f"{where}found {settings.source!r}, expected one of {['build', *earlier]},"
                " or with a slash a folder, such as ./run, or a hub name"
            )


def load_recipe(name: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe from its file or shipped name, with `key=value` overrides.

    A recipe may start from another and leave out stages, see `recipe_files.py`; the result does
    not tell.

    Raises:
        InputError: names the file, or else the command line, and the field that is wrong.
    """
    path = find_recipe(name)
    data, skipped = read_recipe_file(path)
    override(data, overrides)
    try:
        skipped += leave_out_skipped(data, path)
        refuse_skipped_sources(data, skipped, path)
        return check_settings(Recipe, data, path)
    except InputError as error:
        if not overrides or _fault_of(path) == str(error):
            raise
        fault = str(error).removeprefix(f"{path}: ")
        raise InputError(f"key=value on the command line: {fault}") from None


def _fault_of(path: Path) -> str | None:
    """What is wrong with a recipe's file itself."""
    try:
        load_recipe(path)
    except InputError as error:
        return str(error)
    return None
