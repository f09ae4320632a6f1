"""A recipe: the list of stages that a training run goes through, and what all stages share.

These are settings only, those of a stage in `settings.py`. `plan.py` works out what they describe,
`train.py` runs it. `docs/reference/recipe-keys.md` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from unglossed.config import (
    AS_LIST,
    WHOLE,
    DecodingSettings,
    Settings,
    check_settings,
    merge,
    override,
    read_yaml,
)
from unglossed.corpora.check_media import Needs
from unglossed.corpora.languages import check_language
from unglossed.errors import InputError, note
from unglossed.files import find_shipped
from unglossed.media.array_settings import ArraySettings
from unglossed.media.frames import FRAME_RATE
from unglossed.media.two_streams import StreamsSettings, fault_beside
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.settings import (
    NEW_TOKENS,
    PARTS,
    AlignmentSettings,
    PartSettings,
    StageSettings,
)
from unglossed.training.signal_settings import AudioSettings, VideoSettings

RENAMED = {
    "video.sampling_rate": "video.frame_share",
    "audio.sample_rate": "audio.audio_rate",
    "generated_text": "extra_texts",
}
"""Keys of earlier versions, which are still read, and their names now."""
_COMMAND_LINE = "key=value on the command line"


def find_recipe(name: str | Path) -> Path:
    """A recipe's file: a path, or the name of a shipped recipe without `.yaml`.

    Raises:
        InputError: neither is there; the shipped names are listed.
    """
    return find_shipped(name, "recipe")


def rename_keys(data: dict[str, Any], origin: str | Path) -> None:
    """Give the keys of an earlier version in a recipe's content their new names, and note each.

    Raises:
        InputError: a key is there under both names.
    """
    for old, new in RENAMED.items():
        parent, _, last = old.rpartition(".")
        holder = data.get(parent) if parent else data
        if not isinstance(holder, dict) or last not in holder:
            continue
        value, name = holder.pop(last), new.rpartition(".")[2]
        if name in holder:
            raise InputError(f"{origin}: found {old} and {new}, its new name: expected {new} alone")
        holder[name] = value
        note(f"{origin}: {old} is now called {new}")


def _override(data: dict[str, Any], overrides: Sequence[str], origin: str) -> None:
    """Change a recipe's content, in place, by `key=value` with keys new or old."""
    renamed = []
    for item in overrides:
        key, equals, value = item.partition("=")
        for old, new in RENAMED.items():
            if key == old or key.startswith(f"{old}."):
                note(f"{item}: {old} is now called {new}")
                key = new + key.removeprefix(old)
        renamed.append(key + equals + value)
    override(data, renamed)
    rename_keys(data, origin)  # of a value with keys, such as audio={sample_rate: 8000}


def _read_with_base(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's content on top of its base's."""
    data = read_yaml(path)
    rename_keys(data, path)
    if "base" not in data:
        return data
    base = data.pop("base")
    if not isinstance(base, str):
        raise InputError(f"{path}: base: found {base!r}, expected the name of a recipe")
    beside = [path.parent / base, path.parent / f"{base}.yaml"]
    try:
        below = next((file for file in beside if file.is_file()), None) or find_recipe(base)
    except InputError as error:
        raise InputError(f"{path}: base: {error}") from None
    chain = (*seen, path.resolve())
    if below.resolve() in chain:
        names = " -> ".join(file.name for file in (*chain, below))
        raise InputError(f"{path}: base: found a circle, {names}, expected an end")
    merged: dict[str, Any] = merge(_read_with_base(below, chain), data)
    return merged


def _leave_out_skipped(data: dict[str, Any], path: Path) -> list[str]:
    """Drop the stages with `skip: true`, and this key of the others, in place; their names."""
    stages = data.get("stages")
    if not isinstance(stages, list):
        return []
    kept, skipped = [], []
    for stage in stages:
        skip = stage.pop("skip", False) if isinstance(stage, dict) else False
        if not isinstance(skip, bool):
            where = f"stages.{stage.get('name')}.skip"
            raise InputError(f"{path}: {where}: found {skip!r}, expected true or false")
        if skip:
            skipped.append(str(stage.get("name")))
        else:
            kept.append(stage)
    data["stages"] = kept
    return skipped


def _refuse_skipped_sources(data: dict[str, Any], skipped: Sequence[str], path: Path) -> None:
    """Refuse a part that comes from a stage which is skipped."""
    stages = data.get("stages")
    for stage in stages if isinstance(stages, list) else []:
        for part, settings in stage.items() if isinstance(stage, dict) else ():
            source = settings.get("source") if isinstance(settings, dict) else None
            if source in skipped:
                instead = "name a published model's folder or hub name"
                if part in ("encoder", "adapter"):  # no other run's language model is taken over
                    instead += f", or a run's that trained the stage, as RUN/1-{source}/model"
                raise InputError(
                    f"{path}: stages.{stage.get('name')}.{part}.source: the stage {source} is"
                    f" skipped: {instead}"
                )


Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$"), AfterValidator(check_language)]
"""The code of a written language."""
Seed = Annotated[int, Field(ge=0, lt=2**31), WHOLE]


class GeneratedText(Settings):
    """Sentences that the generator of `unglossed synth` draws, as recipes had them before files."""

    num_sentences: Annotated[int, Field(gt=0, le=10**8), WHOLE]
    """How many."""
    level: Annotated[int, Field(ge=1, le=3), WHOLE]
    """Of the grammar: 1 is the simplest."""
    seed: Seed = 0
    """Of the draws."""


ExtraTexts = Annotated[
    Annotated[str, Tag("[file]")] | Annotated[GeneratedText, Tag("[drawn]")],
    Discriminator(lambda value: "[file]" if isinstance(value, str) else "[drawn]"),
]


class TokenizerSettings(Settings):
    """Where the tokenizer comes from: a folder or hub name, or trained on the text.

    Trained means byte-pair encoding of the training split's sentences and of `extra_texts`; of
    100,000 sentences and more it learns from 50,000 to 100,000, spread evenly, and all letters.
    """

    pretrained: str | None = None
    """Folder or hub name; null: it is trained."""
    vocab_size: Annotated[int, Field(gt=0, le=10_000_000), WHOLE] = 2000
    """Of a trained one; fewer where the text does not give so many."""
    new_tokens: Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], AS_LIST] = ()
    """Tokens to add, such as those that mark a signal's begin and end in the prompt."""
    start_token: str | None = None
    """Token with which the decoder starts (mBART: `de_DE`); the language's own when trained."""
    start_tokens: dict[Language, str] = {}
    """The same for each of several `languages`; the tokenizer's code of it when not given."""


class Recipe(Settings):
    """Everything about a training run but its corpus and its output folder."""

    description: str = ""
    """One line about it."""
    seed: Seed = 0
    """Of everything that is drawn: initial weights, order, augmentation, dropout."""
    languages: Annotated[tuple[Language, ...], AS_LIST] = ()
    """Codes of the languages that one model learns to write, two or more; the first is written
    where none is asked for. Which is asked for says the prompt's `{language}`, or the token with
    which texts start. Empty: texts are in one language, the corpus's."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    extra_texts: ExtraTexts | None = None
    """File with further texts, UTF-8, one sentence a line, relative to the current folder. A
    tokenizer and the objective denoising are trained on them too, without those that a clip of the
    corpus says."""
    video: VideoSettings = VideoSettings()
    audio: AudioSettings | None = None
    """Set for speech: the clips' audio is read, and `video` counts for nothing."""
    array: ArraySettings | None = None
    """Set for poses or features: arrays are read, and `video` counts for nothing."""
    streams: StreamsSettings | None = None
    """Set for two streams: both `video` and `array` are read of a clip."""
    signal: str | None = None
    """Kind of signal of another package, which clips are read as instead of video or audio."""
    stages: Annotated[tuple[StageSettings, ...], Field(min_length=1), AS_LIST]
    decoding: DecodingSettings = DecodingSettings()
    """How texts are searched for: by the scores on dev (but for `dev_beams`), and by whoever uses
    the model, beside which these settings lie."""
    num_workers: Annotated[int, Field(ge=0, le=512), WHOLE] | None = None
    """Processes that read frames beside the training; left to the machine when not given."""

    @property
    def max_seconds(self) -> float:
        """Longest clip that training uses whole."""
        timed = self.audio or self.array
        own = [] if timed is None else [timed.max_seconds]
        frames = self.video.max_frames / self.video.frame_share / FRAME_RATE
        return min([*own, frames] if self.streams is not None or not own else own)

    @property
    def kind_of_signal(self) -> str:
        """What clips are read as."""
        found = {"streams": self.streams, "array": self.array, "audio": self.audio}
        return self.signal or next((kind for kind in found if found[kind] is not None), "video")

    @property
    def needs(self) -> Needs:
        """What a corpus must have to be trained on."""
        learns: dict[str, str] = {}
        for stage in self.stages:
            learns.setdefault(OBJECTIVES[stage.objective].learns, stage.name)
        return Needs(
            signal=self.kind_of_signal,
            array=self.array,
            glosses_for=learns.get("gloss"),
            transcripts_for=learns.get("transcript"),
            start_token=self.tokenizer.start_token if self.tokenizer.pretrained else None,
            languages=self.languages,
        )

    @model_validator(mode="after")
    def _languages_fit(self) -> Recipe:
        codes, tokenizer = self.languages, self.tokenizer
        if len(codes) == 1 or len(set(codes)) < len(codes):
            raise ValueError(f"languages: found {', '.join(codes)}, expected two or more, or none")
        if unknown := [code for code in tokenizer.start_tokens if code not in codes]:
            told = f"found {', '.join(unknown)}, expected some of `languages`"
            raise ValueError(f"tokenizer.start_tokens: {told}")
        if codes and tokenizer.start_token is not None:
            raise ValueError("tokenizer.start_token: found one beside languages: see start_tokens")
        if codes and self.extra_texts is not None:
            told = "found one beside several languages, expected none"
            raise ValueError(f"extra_texts: {told}: nothing says which its lines are in")
        for stage in self.stages:
            objective = OBJECTIVES[stage.objective]
            if codes and "language_model" in objective.parts and not objective.languages:
                told = f"{stage.objective} learns one language, found several `languages`"
                raise ValueError(f"stages.{stage.name}: {told}")
            for name in ("context", "masked_features") if codes else ():
                if getattr(stage, name) is not None:
                    told = "found beside several `languages`, expected one or neither"
                    raise ValueError(f"stages.{stage.name}.{name}: {told}")
            if stage.unlikelihood and not codes:
                told = f"found {stage.unlikelihood:g}, expected several `languages` beside it"
                raise ValueError(f"stages.{stage.name}.unlikelihood: {told}")
        return self

    @model_validator(mode="after")
    def _stages_known(self) -> Recipe:
        kinds = [kind for kind in ("signal", "array", "audio") if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise ValueError(f"found {' and '.join(kinds)}, expected one: a clip is read as one")
        if self.streams is not None and (told := fault_beside(self.array)):
            raise ValueError(told)
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages: two have the same name: {names}")
        earlier: dict[str, StageSettings] = {}
        for stage in self.stages:
            found, signals = self.kind_of_signal, OBJECTIVES[stage.objective].signals
            if self.signal is None and found not in signals:
                told = f"{stage.objective} is for {signals[0]}, not for {found}"
                raise ValueError(f"stages.{stage.name}: {told}")
            if NEW_TOKENS in stage.learning_rates and not self.tokenizer.new_tokens:
                where = f"stages.{stage.name}.learning_rates.new_tokens"
                raise ValueError(f"{where}: found no tokenizer.new_tokens, expected some to train")
            self._check_prompt(stage)
            for part in (*PARTS, "alignment"):
                self._check_source(stage, part, earlier, names)
            self._check_context(stage, earlier)
            self._check_reward(stage, earlier)
            earlier[stage.name] = stage
        self._check_choice()
        return self

    def _check_choice(self) -> None:
        """Refuse a choice by an alignment that the run's model will not have beside it."""
        if self.decoding.choice != "contrast":
            return
        kept = [one.alignment is not None and not one.alignment.states for one in self.stages]
        if True not in kept:
            raise ValueError(
                "decoding.choice: found contrast, expected a stage that has `alignment` without"
                " `states`"
            )
        last = len(kept) - 1 - kept[::-1].index(True)
        for stage in self.stages[last + 1 :]:
            if stage.encoder is not None and "encoder" not in stage.frozen:
                raise ValueError(
                    f"decoding.choice: found contrast, but the stage {stage.name} trains the"
                    f" encoder of {self.stages[last].name}'s alignment, expected it frozen"
                )

    @staticmethod
    def _check_reward(stage: StageSettings, earlier: dict[str, StageSettings]) -> None:
        """Refuse to tune without its texts a model that has learnt to read some."""
        writer = stage.language_model
        source = None if writer is None else earlier.get(writer.source)
        if stage.objective == "reward" and source is not None and source.context is not None:
            raise ValueError(
                f"stages.{stage.name}.language_model.source: found {source.name}, which reads texts"
                " beside the features (context), expected a stage without: reward reads none"
            )

    def _check_prompt(self, stage: StageSettings) -> None:
        """Refuse new tokens that are trained where a prompt does not have them."""
        prompt = stage.language_model.prompt if stage.language_model else None
        if prompt is None or NEW_TOKENS not in stage.learning_rates:
            return
        for token in self.tokenizer.new_tokens:
            if token not in prompt.before + prompt.after:
                raise ValueError(
                    f"stages.{stage.name}.language_model.prompt: found no {token!r}, expected all"
                    " of tokenizer.new_tokens, which learning_rates.new_tokens trains"
                )

    @staticmethod
    def _check_context(stage: StageSettings, earlier: dict[str, StageSettings]) -> None:
        """Refuse a context whose source cannot find what is asked for."""
        context = stage.context
        if context is None:
            return
        where = f"stages.{stage.name}.context.source: found {context.source!r}, expected"
        source = earlier.get(context.source)
        if source is None or source.objective != "translation" or source.context is not None:
            raise ValueError(f"{where} an earlier stage of translation without a context")
        if context.retrieved is not None and source.alignment is None:
            raise ValueError(f"{where} a stage with an alignment, by which texts are retrieved")

    @staticmethod
    def _check_source(
        stage: StageSettings, part: str, earlier: dict[str, StageSettings], names: list[str]
    ) -> None:
        settings: PartSettings | AlignmentSettings | None = getattr(stage, part)
        new = None if part == "alignment" else "build"
        source = new if settings is None else settings.source
        if source == new or source is None:
            return
        where = f"stages.{stage.name}.{part}.source: "
        reads_text = part in ("language_model", "text_encoder", "alignment")
        if source in earlier:
            wanted = "language_model" if reads_text else part
            if getattr(earlier[source], wanted) is None:
                raise ValueError(f"{where}the stage {source} has no {wanted}")
            return
        # A slash tells what lies elsewhere from a misspelt stage; a language model needs none.
        elsewhere = reads_text or "/" in source
        if not elsewhere or source in ("build", *names):
            known = [name for name in (new, *earlier) if name]
            raise ValueError(
                f"{where}found {source!r}, expected one of {known},"
                " or with a slash a folder, such as ./run, or a hub name"
            )


def load_recipe(
    name: str | Path, overrides: Sequence[str] = (), *, origin: str = _COMMAND_LINE
) -> Recipe:
    """Read a recipe from its file or shipped name, with `key=value` overrides.

    It may start from another (`base`) and leave out stages (`skip`); keys of earlier versions are
    renamed. The result shows none of this.

    Args:
        name: file, or name of a shipped recipe.
        overrides: the changes.
        origin: where they are from, in the words of an error.

    Raises:
        InputError: names the file, or else the overrides' origin, and the field that is wrong.
    """
    if isinstance(overrides, str) or not all(isinstance(one, str) for one in overrides):
        raise InputError(f"overrides: found {overrides!r}, expected a list of key=value texts")
    path = find_recipe(name)
    data = _read_with_base(path)
    skipped = _leave_out_skipped(data, path)  # so that no change is of a stage that is not there
    _override(data, overrides, origin)
    try:
        skipped += _leave_out_skipped(data, path)
        _refuse_skipped_sources(data, skipped, path)
        return check_settings(Recipe, data, path)
    except InputError as error:
        if not overrides or _fault_of(path) is not None:
            raise
        fault = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{origin}: {fault}") from None


def read_resolved(path: Path) -> Recipe:
    """Read the recipe of a run's folder, also one that an earlier version wrote.

    Raises:
        InputError: it cannot be read, or is wrong.
    """
    data = read_yaml(path)
    rename_keys(data, path)
    return check_settings(Recipe, data, path)


def _fault_of(path: Path) -> str | None:
    """What is wrong with a recipe's file itself."""
    try:
        load_recipe(path)
    except InputError as error:
        return str(error)
    return None


def find_unused(recipe: Recipe) -> Iterator[str]:
    """Find settings without effect because of others beside them: `key: has no effect: ...`.

    Those that no stage of their objective could use are errors in `settings.py`. These may come
    from a recipe that another one starts from, or wait for a change on the command line.
    """
    tokenizer, kind = recipe.tokenizer, recipe.kind_of_signal
    reads_texts = any("encoder" not in OBJECTIVES[stage.objective].parts for stage in recipe.stages)
    if recipe.extra_texts is not None and tokenizer.pretrained is not None and not reads_texts:
        yield (
            "extra_texts: has no effect: no stage has the objective denoising, and the tokenizer is"
            " not trained"
        )
    if tokenizer.pretrained is not None and "vocab_size" in tokenizer.model_fields_set:
        yield "tokenizer.vocab_size: has no effect: the tokenizer is not trained"
    if tokenizer.pretrained is None and tokenizer.start_tokens:
        yield "tokenizer.start_tokens: has no effect: a trained tokenizer has the languages' own"
    if tokenizer.pretrained is None and tokenizer.start_token is not None:
        yield "tokenizer.start_token: has no effect: a trained tokenizer has the language's own"
    if kind in ("audio", "array") and "video" in recipe.model_fields_set:
        yield f"video: has no effect: the recipe has {kind}, as which clips are read"
    augmentation = recipe.video.augmentation
    if augmentation is not None and augmentation.probability == 0 and kind in ("video", "streams"):
        for name in ("rotation_degrees", "resize_fraction", "shift_pixels"):
            if getattr(augmentation, name) and name in augmentation.model_fields_set:
                yield f"video.augmentation.{name}: has no effect: the probability is 0"
    for stage in recipe.stages:
        for fault in _find_unused_of_stage(stage, same_views=_same_views(recipe)):
            yield f"stages.{stage.name}.{fault}"


def _same_views(recipe: Recipe) -> str | None:
    """What the views of a clip do not differ in; None: they do differ."""
    if recipe.kind_of_signal == "array" and recipe.array and recipe.array.augmentation is None:
        return "arrays without augmentation"
    return "audio" if recipe.audio is not None else None


def _find_unused_of_stage(stage: StageSettings, *, same_views: str | None) -> Iterator[str]:
    optimizer = stage.optimizer
    is_sgd = optimizer.name == "sgd"
    for name, counts in (("momentum", is_sgd), ("nesterov", is_sgd), ("betas", not is_sgd)):
        if name in optimizer.model_fields_set and not counts:
            yield f"optimizer.{name}: has no effect with {optimizer.name}"
    if same_views is not None and stage.feature_views > 1:
        yield f"feature_views: {stage.feature_views} are as 1: views of {same_views} do not differ"
    if OBJECTIVES[stage.objective].best is not None:
        left = stage.epochs % stage.evaluate_every
        if stage.evaluate_every > stage.epochs:
            yield (
                f"evaluate_every: {stage.evaluate_every} is more than the {stage.epochs} epochs:"
                " dev is never scored, and the last epoch's model is kept"
            )
        elif left:
            yield (
                f"evaluate_every: the last {left} of {stage.epochs} epochs are trained in vain:"
                f" dev is scored every {stage.evaluate_every}, and one of those models is kept"
            )
    writer = stage.language_model
    trains_rows = NEW_TOKENS in stage.learning_rates
    if writer is not None and writer.lora and "language_model" in stage.frozen and not trains_rows:
        yield "language_model.lora: has no effect: language_model is frozen"
