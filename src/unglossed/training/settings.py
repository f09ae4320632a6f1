"""The settings of a stage: its parts, what trains them and how.

A `recipe.py` is a list of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from unglossed.config import AS_LIST, WHOLE, Count, Factor, Settings, Share, Weight
from unglossed.training.added_settings import (
    ContextSettings,
    MaskedFeaturesSettings,
    RewardSettings,
    TextContrastSettings,
)
from unglossed.training.objectives import OBJECTIVES, OURS, check_objective

MOST_LAYERS = 1000
MOST = 100_000_000


def find_unsound(config: Any, where: str = "") -> Iterator[str]:
    """Find what is wrong in a part's configuration: `.key: found 3, expected ...`.

    Args:
        config: the configuration, or a value within it.
        where: its key, each after a dot; empty: the whole.
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from find_unsound(value, f"{where}.{key}")
        return
    key = where.rpartition(".")[2]
    if isinstance(config, (list, tuple)):
        for value in config:
            yield from find_unsound(value, where)
        return
    is_number = isinstance(config, (int, float)) and not isinstance(config, bool)
    if isinstance(config, float) and not math.isfinite(config):
        yield f"{where}: found {config}, expected a finite number"
    elif "dropout" in key or "layerdrop" in key:
        if config is not None and not (is_number and 0 <= config <= 1):
            yield f"{where}: found {config!r}, expected a number from 0 to 1"
    elif is_number and ("layers" in key or key == "depths") and config > MOST_LAYERS:
        yield f"{where}: found {config}, expected at most {MOST_LAYERS:,}: more is taken for a slip"
    elif isinstance(config, int) and abs(config) > MOST:
        yield f"{where}: found {config}, expected at most {MOST:,}: more is taken for a slip"


class PartSettings(Settings):
    """Where a part of the translator comes from.

    `source` is "build" (from `config`), the name of an earlier stage, or a folder or hub name with
    pre-trained weights: of a language model, of a speech model, or of another run's translator
    whose encoder or adapter is taken (the last two with a slash: `./folder`). `config` is read by
    the part's class in `models/`.
    """

    source: str = "build"
    """See above."""
    config: dict[str, Any] = {}
    """Read by the part's class; null takes away what a recipe that it starts from has there."""

    @field_validator("config", mode="before")
    @classmethod
    def _nothing_left(cls, config: Any) -> Any:
        return {} if config is None else config

    @field_validator("config")
    @classmethod
    def _config_is_sound(cls, config: dict[str, Any]) -> dict[str, Any]:
        if unsound := "; ".join(find_unsound(config)):
            raise ValueError(unsound)
        return config


class PromptSettings(Settings):
    """Text around the features that a language model reads; may name special tokens.

    `{language}` stands for the English name of the language that is to be written, as German.
    """

    before: str = ""
    """In front of the features."""
    after: str = ""
    """Behind them."""


class LoraSettings(Settings):
    """LoRA beside the language model's frozen weights (LST's variant: r 16, alpha 32, 0.05)."""

    r: Annotated[int, Field(gt=0, le=65_536), WHOLE] = 16
    """Rank of the matrices."""
    alpha: Factor = 32.0
    """Their product counts alpha / r times."""
    dropout: Share = 0.05
    """Of what they read."""
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], AS_LIST] = "all-linear"
    """Layers by name; `all-linear` finds those of the architecture, but for the output head."""


class LanguageModelSettings(PartSettings):
    """Where the language model comes from (also a `.gguf` file), and how it is tuned."""

    prompt: PromptSettings | None = None
    """None: what an earlier stage had; a decoder-only model reads its begin token at least. Not for
    denoising, which has no features."""
    lora: LoraSettings | None = None
    """Train small matrices instead of the model's own weights."""
    random_init: bool = False
    """Take the pre-trained model's shape but not its weights (FLa-LLM, Table 10)."""
    quantization: Literal["4bit"] | None = None
    """Hold the weights beside which LoRA or the adapter trains in 4 bits; needs bitsandbytes."""

    @model_validator(mode="after")
    def _random_init_fits(self) -> LanguageModelSettings:
        if self.random_init and self.source == "build":
            raise ValueError("random_init is for a source of weights; a built model is random")
        return self


BelowOne = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(Settings):
    """The optimiser of a stage; learning rates are given per part."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    """PyTorch's, each with momentum or betas as below."""
    momentum: Share = 0.9
    """Of SGD."""
    nesterov: bool = True
    """Of SGD."""
    betas: Annotated[tuple[BelowOne, BelowOne], AS_LIST] = (0.9, 0.999)
    """Of Adam and AdamW."""
    weight_decay: Weight = 0.0
    """Added to the gradient by SGD and Adam, decoupled in AdamW; not of biases and norms."""
    max_grad_norm: Weight = 0.0
    """Gradients are scaled down to this norm; 0 leaves them."""
    momentum_dtype: Literal["float32", "bfloat16"] = "float32"
    """How SGD's momentum, and Adam's and AdamW's mean of gradients, are held from one step to the
    next: bfloat16 takes half of the memory. The mean of squares stays float32: it moves by less
    than bfloat16 can tell."""
    in_backward: bool | None = None
    """Each weight is moved in the backward pass, as soon as its gradient is there, which is then
    let go: the same numbers with less memory. Not of an image backbone, nor where a batch is
    trained in parts. None: on a CPU, unless `max_grad_norm` or `norms_every` need all gradients at
    once."""

    @model_validator(mode="after")
    def _momentum_fits(self) -> OptimizerSettings:
        if self.name == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.name == "sgd" and self.momentum_dtype != "float32" and not self.momentum:
            raise ValueError("momentum_dtype needs a momentum above 0")
        return self

    @model_validator(mode="after")
    def _gradients_stay_for_clipping(self) -> OptimizerSettings:
        if self.in_backward and self.max_grad_norm:
            raise ValueError(
                "in_backward: found true beside max_grad_norm, expected one of them: the norm is"
                " known when the backward pass is over"
            )
        return self


class ScheduleSettings(Settings):
    """How learning rates go from their start to `min_ratio` of it."""

    name: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the way down."""
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
    mean_span: Weight = 3.5
    """Mean length of a hidden span; each leaves one mask token, and hides at least one token."""


class AlignmentSettings(Settings):
    """Token-level contrast beside the translation loss; see `models/token_alignment.py`.

    `alignment: tokens` alone stands for all defaults.
    """

    kind: Literal["tokens"] = "tokens"
    """What is compared: each position of a clip with each token of a text."""
    weight: Factor = 0.5
    """How much it counts beside the translation."""
    temperature: Annotated[float, Field(ge=0.03, le=100)] = 0.07
    """Of the softmax by which a position chooses tokens, and a token positions."""
    smoothing: BelowOne = 0.0
    """Share of the target that is spread over all clips, or texts."""
    words: Weight = 0.0
    """How much it counts beside the translation to tell, for each token of the batch, the clips
    whose texts have it from the others: each token as much as any other, so that rare ones are
    learned, too. 0: not at all."""
    near_texts: Annotated[int, Field(ge=0, le=1_000), WHOLE] = 0
    """Further texts of train that each clip is told apart from, drawn in each epoch among the
    fourfold number that share most tokens with its own: a word that is wrong shows in them."""
    source: str | None = None
    """The model whose view of the texts the clips are to resemble: an earlier stage, a folder or a
    hub name, with the recipe's tokenizer; it is frozen. None: the stage's own language model's word
    embeddings, as they are being trained."""
    states: bool = False
    """Take the states of the source's encoder, or of a decoder-only source, instead of its word
    embeddings."""
    both_ways: bool = False
    """Let each token of a decoder-only source see those behind it, too: for one that was tuned so
    as a reader of texts, as LLM2CLIP's are (arXiv 2411.04997)."""

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _states_have_a_source(self) -> AlignmentSettings:
        if self.states and self.source is None:
            raise ValueError("states needs a source, whose encoder reads the texts")
        if self.both_ways and not self.states:
            raise ValueError("both_ways is for the states of a decoder-only source: set states")
        if self.states and self.words:
            raise ValueError("words does not go with states, of which each text has its own")
        return self


PARTS = ("encoder", "adapter", "language_model", "text_encoder")
"""Parts that a stage's settings can have; an objective's model may add further ones."""
NAMING = (*PARTS, "alignment", "context")
"""Settings of a stage that can name an earlier one, in their `source`."""
NEW_TOKENS = "new_tokens"
"""Has a learning rate where the embeddings of `tokenizer.new_tokens` alone are trained (LST)."""
TrainedPart = Literal[
    "encoder",
    "adapter",
    "language_model",
    "text_encoder",
    "ctc_head",
    "segment_head",
    "alignment",
    "context",
    "new_tokens",
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
    """By which later stages and changes on the command line name it."""
    objective: Annotated[
        str, AfterValidator(check_objective), WithJsonSchema({"enum": list(OURS)})
    ] = "translation"
    """Of an encoder alone: CTC on glosses (video) or on the letters of transcripts (audio), with
    the rates `encoder` and `ctc_head`, or segmentation of long videos into sentences, with the rate
    `segment_head`; vlp is the visual-language pre-training of GFSLT-VLP; reward tunes what has
    learned to translate on the scores of its own texts; text_contrast, of a language model
    alone, brings the references of a clip together. An installed package can add further
    ones."""
    encoder: PartSettings | None = None
    """From frames, audio or arrays to features."""
    adapter: PartSettings | None = None
    """From the features to the width of the language model."""
    language_model: LanguageModelSettings | None = None
    """From adapted features to text."""
    text_encoder: PartSettings | None = None
    """Of vlp: the encoder-decoder whose encoder reads the sentences."""
    features: Literal["frame_wise", "sign_wise", "text_encoder"] | None = None
    """What the encoder hands on (FLa-LLM, Table 8): the features before its temporal module, those
    after it, or the states of the text encoder of the stage that it comes from. None: as there."""
    masking: MaskingSettings | None = None
    """None: mBART's, where sentences are masked."""
    alignment: AlignmentSettings | None = None
    """Of the translation: a contrast of clips and texts beside it, with a learning rate of its own
    and all clips of a step compared at once."""
    context: ContextSettings | None = None
    """Of the translation: texts that the language model reads beside the features, with a learning
    rate `context` for what marks them."""
    masked_features: MaskedFeaturesSettings | None = None
    """Of the translation by a decoder-only model: clips are read once more with some of their
    features hidden."""
    unlikelihood: Weight = 0.0
    """Of the translation into several languages: how much it counts that a text is unlikely where
    another language is asked for (arXiv 2403.14399: 0.05); it costs a second pass through the
    language model. 0: nothing."""
    reward: RewardSettings | None = None
    """Of the objective reward. None: its defaults."""
    text_contrast: TextContrastSettings | None = None
    """Of the objective text_contrast. None: its defaults."""
    restoration_weight: Weight = 1.0
    """Of vlp: how much the restoring of sentences counts beside the alignment."""
    frozen: Annotated[tuple[FrozenPart, ...], AS_LIST] = ()
    """Parts, or modules in them, such as `encoder.backbone` (FLa-LLM, Table 9). Not for denoising,
    whose one part is trained."""
    learning_rates: dict[TrainedPart, Factor]
    """Of each part that is trained, and of no other."""
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    epochs: Count
    """Passes over the training split."""
    batch_size: Count
    """Clips of a step."""
    frame_budget: Annotated[int, Field(gt=0, le=10**9), WHOLE] | None = None
    """Most frames of a step that are held in memory at once: pictures in a trained encoder (see
    `VisualEncoder`); on top of a frozen one, positions that a language model reads and writes of a
    part of the batch (see `cut_batch`). None leaves it to machine and size of the pictures."""
    label_smoothing: Share = 0.0
    """Share of the target that is spread over all tokens."""
    feature_views: Annotated[int, Field(ge=0, le=1_000_000), WHOLE] = 0
    """With a frozen encoder: how many augmented views of each clip are encoded, once, and trained
    from in turn; 0 encodes each clip anew in every epoch."""
    evaluate_every: Count = 1
    """Epochs between two scores on the dev split."""
    patience: Annotated[int, Field(gt=0, le=1_000_000), WHOLE] | None = None
    """Scores on dev without a better one after which the stage ends; the schedule of the learning
    rates is that of all epochs. None trains them all."""
    dev_beams: Annotated[int, Field(gt=0, le=256), WHOLE] = 1
    """Beam width of the scores on dev that choose the best checkpoint."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 where the processor has it."""
    norms_every: Annotated[int, Field(ge=0, le=10**9), WHOLE] = 0
    """Steps between two rows of `norms.jsonl`, see `training/callbacks.py`; 0 writes none."""

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
        if not trained and "encoder" in objective.parts:
            raise ValueError("frozen: found all parts, expected one that is trained")
        if self.alignment is not None and "alignment" in objective.settings:
            trained.add("alignment")
        if self.context is not None and "context" in objective.settings:
            trained.add("context")
            self._check_context(self.context)
        if set(self.learning_rates) != trained:
            raise ValueError(f"learning_rates must name what is trained: {sorted(trained)}")
        quantized = writer is not None and writer.quantization and writer.lora is None
        if quantized and "language_model" in trained:
            raise ValueError("language_model.quantization needs lora, or the part frozen")
        if self.feature_views and "encoder" not in self.frozen:
            raise ValueError("feature_views needs a frozen encoder")
        if self.optimizer.in_backward and self.norms_every:
            raise ValueError(
                "optimizer.in_backward: found true beside norms_every, expected one of them: norms"
                " are taken of all gradients before any weight moves"
            )
        return self

    def _check_context(self, context: ContextSettings) -> None:
        """Refuse an encoder whose features are not those that the context's source reads."""
        encoder = self.encoder
        same = encoder is not None and encoder.source == context.source and not encoder.config
        whole = self.features in (None, "sign_wise")
        if not (same and whole and "encoder" in self.frozen):
            raise ValueError(
                f"context.source: found {context.source!r}, expected the stage whose encoder this"
                " one takes over as it is, frozen: both read its features"
            )

    @model_validator(mode="after")
    def _nothing_is_without_effect(self) -> StageSettings:
        objective = OBJECTIVES[self.objective]
        for name, means_something in (
            ("features", "encoder" in objective.parts),
            ("frozen", "encoder" in objective.parts),
            ("masking", objective.masks_text),
            ("label_smoothing", objective.smooths),
            ("alignment", "alignment" in objective.settings),
            ("context", "context" in objective.settings),
            ("masked_features", "masked_features" in objective.settings),
            ("unlikelihood", "unlikelihood" in objective.settings),
            ("reward", "reward" in objective.settings),
            ("text_contrast", "text_contrast" in objective.settings),
            ("restoration_weight", "restoration_weight" in objective.settings),
            ("dev_beams", "dev_beams" in objective.settings),
            ("patience", objective.best is not None),
        ):
            default = type(self).model_fields[name].default
            if not means_something and getattr(self, name) != default:
                raise ValueError(f"{name} means nothing to the objective {self.objective}")
        if missing := set(objective.frozen) - set(self.frozen):
            told = f"found none of {sorted(missing)}, expected it frozen by the objective"
            raise ValueError(f"frozen: {told} {self.objective}")
        writer = self.language_model
        alone = "encoder" not in objective.parts
        if alone and writer is not None and writer.prompt is not None:
            told = "language_model.prompt means nothing to the objective"
            raise ValueError(f"{told} {self.objective}")
        if (not objective.sums or self.alignment is not None) and self.batch_size < 2:
            raise ValueError("batch_size: found 1, expected clips to compare")
        return self
