"""Cuts a language model's vocabulary to what a text needs, tokenizer and weights together.

FLa-LLM trims mBART and its tokenizer to the training text; decoder-only models (Llama, Qwen,
Gemma) go the same way. The package says which tokens stay; here the model is cut, compared with the
whole one (`checks.py`) and saved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, TemplateSyntaxError
from tokenizers import Tokenizer
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from unglossed import hub
from unglossed.errors import InputError
from unglossed.files import bind_folder, check_new_folder, may_be_on_hub, whole_folder, write_text
from unglossed.models.processing import encode_texts, restore_rules
from unglossed.trimming import (
    MOST_UNKNOWN,
    Selection,
    check_supported,
    cut_state,
    own_pieces,
    pieces_of,
    processor_ids,
    select_tokens,
    tell_unknown,
    unknown_characters,
)
from unglossed.trimming.checks import (
    check_logits,
    check_texts,
    check_tokens,
    check_words,
    logits_of,
)

REPORT_FILE = "trim.json"
"""What was cut, beside the trimmed model."""
_ID_FIELDS = ("_token_id", "_token_ids", "_token_index", "bad_words_ids", "suppress_tokens")
"""Ends of the names of those fields of a configuration that hold ids of tokens."""
_IDS_ELSEWHERE = ("sequence_bias", "forced_decoder_ids")
"""Fields of generation settings that hold ids among other numbers."""
_ROLES = ("system", "user", "assistant", "model", "tool")
"""Who speaks in a chat."""
_NUM_PROBES, _PROBE_TOKENS = 4, 64
"""Texts, and tokens of each, on which the logits of the whole and the trimmed model are compared.
Nothing but the rows of the vocabulary changes, so that a few show whether the right ones stayed."""


@dataclass(frozen=True, slots=True)
class TrimReport:
    """What a trimming cut, kept and checked; prints itself."""

    model: str
    """Folder or hub name of the whole model."""
    tokens_before: int
    tokens_after: int
    num_safety: int
    """Kept tokens that the texts do not need."""
    without_row: tuple[str, ...]
    """Tokens left out because the model has no row for them, as Gemma 3's for images."""
    lacking: str
    """What of the texts the whole tokenizer cannot write, in words; empty: nothing."""
    scripts: tuple[str, ...] | None
    """Whose characters are kept for safety; None: of all, as every byte stays that there is."""
    parameters_before: int
    """Tied ones counted once."""
    parameters_after: int
    megabytes_before: float
    """What they take, in units of 10**6 bytes."""
    megabytes_after: float
    num_texts: int
    """Texts checked to have the same pieces, and the same text after decoding."""
    round_trip_before: float
    """Share of the texts that encoding and decoding give back."""
    round_trip_after: float
    num_words: int
    """Dropped pieces of these scripts, checked to bring no new `<unk>` as words."""
    num_logit_texts: int
    """Texts on which kept tokens were checked to have the same logits."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A line for each thing that was cut or checked."""
        before, after = self.parameters_before / 1e6, self.parameters_after / 1e6
        letters = "every byte" if self.scripts is None else ", ".join(self.scripts) or "no letters"
        told = ""
        if self.without_row:
            told += f"\nleft out    {', '.join(self.without_row)}: no row in the model"
        if self.lacking:
            told += f"\nnot written {self.lacking}: the whole tokenizer lacks it, too"
        return (
            f"tokens      {self.tokens_before} -> {self.tokens_after},"
            f" {self.num_safety} of them for safety: {letters}\n"
            f"parameters  {before:.2f} M -> {after:.2f} M\n"
            f"weights     {self.megabytes_before:.1f} MB -> {self.megabytes_after:.1f} MB\n"
            f"texts       {self.num_texts} checked: same pieces; unchanged by encoding and"
            f" decoding: {self.round_trip_before:.2%} -> {self.round_trip_after:.2%}\n"
            f"words       {self.num_words} dropped pieces checked: each can still be written\n"
            f"logits      {self.num_logit_texts} texts checked: the same on every kept token{told}"
        )


def trim_model(
    model: str | Path,
    texts: Sequence[str],
    output: Path,
    *,
    safety_texts: Sequence[str] = (),
    kept_texts: Sequence[str] = (),
) -> TrimReport:
    """Cut a language model's vocabulary to what texts need plus a safety set.

    `select_tokens` says what is kept, in its old order, and why every text that kept pieces write
    is cut into the same pieces as before. A decoder-only model reads and writes more than the
    texts alone: the tokens of each word with and without a space before it are kept, too, and
    those of the words in its chat template. Each time the result is the same, byte by byte. Before
    the folder appears, tokenizer and model are loaded from it and compared with the whole ones, on
    every text, on every dropped piece as an unseen word, and by the logits of a few texts.

    Args:
        model: folder or hub name of an encoder-decoder or a decoder-only model, whose tokenizer is
            SentencePiece's or byte-level BPE.
        texts: the training texts.
        output: new or empty folder for the model, its tokenizer and `trim.json`.
        safety_texts: texts whose scripts are kept like those of `texts`, though not their words.
        kept_texts: further texts whose tokens are kept, such as prompts.

    Returns:
        What was cut; also written to `trim.json`.

    Raises:
        InputError: there are no texts, `output` is in use, the model cannot be loaded, its
            tokenizer is of another kind or does not know the texts' characters, or a comparison
            fails, which names the text.
    """
    if not any(text.strip() for text in texts):
        raise InputError(f"{model}: found no texts to trim it to, expected at least one")
    check_new_folder(output)
    tokenizer, state, whole = _load_whole(model)
    kind = _kind_of(whole.config)
    num_rows = int(whole.get_input_embeddings().weight.shape[0])
    config_ids = _config_ids(whole) | processor_ids(state)
    without_row = _check_rows(tokenizer, state, config_ids, num_rows, whole, model)

    encoded = encode_texts(tokenizer, texts)
    lacking = _check_known(texts, encoded, tokenizer, model)
    read = [*kept_texts, *(_words(texts) if kind is AutoModelForCausalLM else ())]
    used = {token for ids in chain(encoded, encode_texts(tokenizer, read)) for token in ids}
    fixed = {*config_ids, *_template_ids(tokenizer, model), *tokenizer.all_special_ids}
    selection = select_tokens(
        state, used, fixed, [*texts, *kept_texts, *safety_texts], without_row.values()
    )
    probes = [ids[:_PROBE_TOKENS] for ids in encoded if ids][:_NUM_PROBES]
    logits = [logits_of(whole, ids)[:, list(selection.ids)] for ids in probes]
    sizes = _size_of(whole, "before")

    with whole_folder(output) as folder:
        _cut_weights(whole, selection, folder, model)
        sizes |= _size_of(whole, "after")
        whole.save_pretrained(folder)
        del whole  # before the trimmed one is loaded: large ones fit only once
        tokenizer.save_pretrained(folder)
        cut = Tokenizer.from_str(json.dumps(cut_state(state, selection)))
        cut.save(str(folder / "tokenizer.json"))
        new_ids = selection.new_ids
        _forget(folder, {token for token, i in pieces_of(state).items() if i not in new_ids})
        try:
            trimmed = _load(AutoTokenizer, folder, "a tokenizer")
            check_tokens(state, trimmed, selection)
            round_trip_before, round_trip_after = check_texts(tokenizer, trimmed, texts, selection)
            if read:
                check_texts(tokenizer, trimmed, read, selection)
            num_words = check_words(state, tokenizer, trimmed, selection)
            reloaded = hub.load(kind, folder, "the trimmed model cannot be loaded", dtype="auto")
            check_logits(reloaded.eval(), probes, logits, selection)
        except InputError as error:
            raise InputError(f"{model}: {error}") from None
        report = TrimReport(
            model=str(model),
            tokens_before=num_rows,
            tokens_after=len(selection.ids),
            num_safety=selection.num_safety,
            without_row=tuple(without_row),
            lacking=lacking,
            scripts=selection.scripts,
            **sizes,
            num_texts=len(texts),
            round_trip_before=round_trip_before,
            round_trip_after=round_trip_after,
            num_words=num_words,
            num_logit_texts=len(probes),
        )
        content = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
        write_text(folder / REPORT_FILE, content + "\n")
        bind_folder(folder)
    return report


def _kind_of(config: PreTrainedConfig) -> Any:
    """The Auto class that loads a language model; None: it is of no kind that can be trimmed."""
    if config.is_encoder_decoder:
        fits, kind = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, AutoModelForSeq2SeqLM
    else:
        fits, kind = MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM
    return kind if type(config) in fits else None


def _load_whole(
    model: str | Path,
) -> tuple[PreTrainedTokenizerBase, dict[str, Any], PreTrainedModel]:
    """Tokenizer, its state as its JSON file says it, and model: such as can be trimmed."""
    if Path(model).is_file():
        raise InputError(f"{model}: found a file, expected a model folder or a hub name")
    if not Path(model).exists() and "/" in str(model) and not may_be_on_hub(model):
        raise InputError(f"{model}: no such folder, expected a model folder or a hub name")
    config = _load(AutoConfig, model, "a model")
    kind = _kind_of(config)
    if kind is None:
        raise InputError(
            f"{model}: found a model of the type {config.model_type!r}, expected an encoder-decoder"
            " (mBART, mBART-50, T5, mT5, NLLB) or a decoder-only language model (Llama, Qwen,"
            " Gemma)"
        )
    if quantised := getattr(config, "quantization_config", None):
        fields = quantised if isinstance(quantised, dict) else quantised.to_dict()
        raise InputError(
            f"{model}: config.json: quantization_config: found quantised weights"
            f" ({fields.get('quant_method', 'of unknown method')}), expected plain ones, whose rows"
            " can be cut"
        )
    tokenizer = _load(AutoTokenizer, model, "a tokenizer")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            f"{model}: found {type(tokenizer).__name__}, expected a tokenizer of the tokenizers"
            " library (mBART, T5, NLLB, Llama, Qwen, Gemma)"
        )
    state: dict[str, Any] = json.loads(backend.to_str())
    check_supported(state, str(model))
    settings = hub.read_fields(model, "generation_config.json") or {}
    if unknown := [key for key in _IDS_ELSEWHERE if settings.get(key)]:
        raise InputError(
            f"{model}: generation_config.json: {unknown[0]}: found tokens by their ids, which"
            " trimming does not renumber there, expected none"
        )
    what = "a language model" if kind is AutoModelForCausalLM else "an encoder-decoder"
    whole, found = _load(kind, model, what, dtype="auto", output_loading_info=True)
    if missing := sorted(found["missing_keys"]):
        raise InputError(f"{model}: lacks weights: {len(missing)}, as {missing[0]}")
    return tokenizer, state, whole.eval()


def _load(kind: Any, model: str | Path, what: str, **settings: Any) -> Any:
    loaded = hub.load(kind, model, f"{model}: cannot be loaded as {what}", **settings)
    if kind is AutoTokenizer:
        restore_rules(loaded, model)
    return loaded


def _check_rows(
    tokenizer: PreTrainedTokenizerBase,
    state: Mapping[str, Any],
    config_ids: set[int],
    num_rows: int,
    whole: PreTrainedModel,
    model: str | Path,
) -> dict[str, int]:
    """Check that tokens and rows belong together.

    Returns:
        The tokens without a row, and their ids: such as only a decoder-only model may have, added
        behind all others and without a role. Gemma 3 is published with one for images.
    """
    tokens = pieces_of(state)
    above = {token: i for token, i in tokens.items() if i >= num_rows}
    added = {token["content"] for token in state["added_tokens"]}
    roles = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}
    spare = added - roles - set(own_pieces(state).values())
    if whole.config.is_encoder_decoder or not spare.issuperset(above):
        _refuse_above(above.values(), num_rows, model)
    if unknown := config_ids - set(tokens.values()):
        raise InputError(
            f"{model}: found token {min(unknown)} in the model's configuration, which the tokenizer"
            " does not have"
        )
    _refuse_above(config_ids.intersection(above.values()), num_rows, model)
    return above


def _refuse_above(ids: Collection[int], num_rows: int, model: str | Path) -> None:
    if ids:
        raise InputError(
            f"{model}: found a tokenizer with token {max(ids)} and a model of {num_rows} tokens,"
            " expected a row of the model for each token"
        )


def _check_known(
    texts: Sequence[str],
    encoded: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    model: str | Path,
) -> str:
    """Refuse a tokenizer that does not suit the texts, and tell what of them it lacks."""
    unknown = unknown_characters(tokenizer, texts)
    if not unknown:
        return ""
    if tokenizer.unk_token_id is None:  # what byte-level BPE has no bytes for is lost
        what = "characters to be lost"
        counts = [sum(map(unknown.__contains__, text)) for text in texts]
        share = sum(counts) / max(1, sum(map(len, texts)))
    else:
        what = "tokens to be <unk>"
        counts = [list(ids).count(tokenizer.unk_token_id) for ids in encoded]
        share = sum(counts) / max(1, sum(map(len, encoded)))
    lacking = tell_unknown(tokenizer, texts)
    if share > MOST_UNKNOWN:
        number = next(i for i, count in enumerate(counts) if count)
        raise InputError(
            f"{model}: found {share:.1%} of the texts' {what}, as in text {number + 1}:"
            f" {texts[number][:60]!r}, expected {MOST_UNKNOWN:.0%} at most: the model lacks"
            f" {lacking}"
        )
    return lacking


def _words(texts: Sequence[str]) -> list[str]:
    """The words of texts, each with and without a space before it."""
    words = dict.fromkeys(word for text in texts for word in text.split())
    return [start + word for word in words for start in ("", " ")]


def _template_ids(tokenizer: PreTrainedTokenizerBase, model: str | Path) -> set[int]:
    """Tokens of what is written in chat templates, which are read and do not run."""
    templates = tokenizer.chat_template or {}
    sources = list(templates.values()) if isinstance(templates, dict) else [templates]
    if not sources:
        return set()
    if odd := [source for source in sources if not isinstance(source, str)]:
        raise InputError(
            f"{model}: tokenizer_config.json: chat_template: found {odd[0]!r}, expected a text"
        )
    written = [*_ROLES, *(f"{role}\n" for role in _ROLES)]
    for source in sources:
        try:
            parts = Environment(trim_blocks=True, lstrip_blocks=True).lexer.tokenize(source)
            written += [str(part.value) for part in parts if part.type in ("data", "string")]
        except TemplateSyntaxError:
            continue  # whoever uses it is told
    named = [token for token in tokenizer.get_added_vocab() if any(token in s for s in sources)]
    rows = tokenizer(written, add_special_tokens=False)["input_ids"]
    return {i for row in rows for i in row}.union(tokenizer.convert_tokens_to_ids(named))


def _forget(folder: Path, dropped: Collection[str]) -> None:
    """Take dropped tokens out of `tokenizer_config.json`: loading would add them again."""
    path = folder / "tokenizer_config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))

    def gone(token: Any) -> bool:
        return (token.get("content") if isinstance(token, dict) else token) in dropped

    kept = {}
    for key, value in fields.items():
        if key.endswith("special_tokens") and isinstance(value, dict):
            value = {name: token for name, token in value.items() if not gone(token)}
        elif key.endswith("special_tokens") and isinstance(value, list):
            value = [token for token in value if not gone(token)]
        elif key.endswith("_token") and gone(value):
            continue
        kept[key] = value
    if kept != fields:
        content = json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False)
        write_text(path, content + "\n")


def _configurations(model: PreTrainedModel) -> list[Any]:
    """All that hold ids of tokens: the model's, those inside it, and that of generation."""
    found: list[Any] = [model.config]
    for config in found:
        found += [one for one in vars(config).values() if isinstance(one, PreTrainedConfig)]
    return found if model.generation_config is None else [*found, model.generation_config]


def _config_ids(model: PreTrainedModel) -> set[int]:
    """Ids of all tokens that the model's configurations name."""
    found: set[int] = set()

    def note(token_id: int) -> int:
        found.add(token_id)
        return token_id

    for settings in _configurations(model):
        _change_ids(settings.to_dict(), note)
    return found


def _change_ids(value: Any, change: Callable[[int], int], name: str = "") -> Any:
    """A configuration's value with each id of a token changed; a negative number is none."""
    if isinstance(value, dict):
        return {key: _change_ids(one, change, str(key)) for key, one in value.items()}
    if not name.endswith(_ID_FIELDS):
        return value
    if isinstance(value, list):
        return [_change_ids(one, change, name) for one in value]
    return change(value) if isinstance(value, int) and value >= 0 else value


def _size_of(model: PreTrainedModel, when: str) -> dict[str, Any]:
    """The fields of the report about a model's parameters."""
    weights = list(model.parameters())
    num_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
    num = sum(weight.numel() for weight in weights)
    return {f"parameters_{when}": num, f"megabytes_{when}": num_bytes / 1e6}


def _cut_weights(
    model: PreTrainedModel, selection: Selection, folder: Path, name: str | Path
) -> None:
    """Renumber the configurations' tokens and cut the others out of all weights.

    A weight's side belongs to the vocabulary when it is another one in an empty model of the same
    configuration with the new vocabulary: embeddings, heads, and biases such as mBART's.
    """
    kept, num_rows = torch.tensor(selection.ids), model.config.get_text_config().vocab_size
    for settings in _configurations(model):
        for key, value in settings.to_dict().items():
            if isinstance(getattr(settings, key, None), PreTrainedConfig):
                continue  # comes itself
            changed = _change_ids(value, selection.new_ids.__getitem__, key)
            if changed != value:
                setattr(settings, key, changed)
        if vars(settings).get("vocab_size") == num_rows:
            settings.vocab_size = len(kept)
    if model.generation_config is not None:
        # A changed one is refused for faults that published ones have; a loaded one is not.
        model.generation_config.to_json_file(folder / "generation_config.json")
        model.generation_config = hub.load(
            GenerationConfig, folder, f"{name}: generation_config.json"
        )
    with torch.device("meta"):
        empty = type(model)(model.config)
    if len(empty.get_input_embeddings().weight) != len(kept):
        raise InputError(f"{name}: {type(model).__name__} cannot be trimmed")
    shapes = {
        key: weight.shape
        for key, weight in chain(
            empty.named_parameters(remove_duplicate=False),
            empty.named_buffers(remove_duplicate=False),
        )
    }
    for key, weight in chain(model.named_parameters(), model.named_buffers()):
        for side, (old, new) in enumerate(zip(weight.shape, shapes[key], strict=True)):
            if old != new:
                weight.data = weight.data.index_select(side, kept)
