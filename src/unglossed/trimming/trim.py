"""Cuts a language model's vocabulary to what a text needs, tokenizer and weights together.

FLa-LLM trims mBART and its tokenizer to the training text. `vocabulary` says which tokens stay;
here the model is cut, compared with the whole one and saved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from unglossed import hub
from unglossed.errors import InputError
from unglossed.files import bind_folder, check_new_folder, may_be_on_hub, whole_folder, write_text
from unglossed.models.processing import encode_texts, restore_rules
from unglossed.trimming import (
    MARK,
    MOST_UNKNOWN,
    Selection,
    check_supported,
    cut_state,
    is_written_in,
    pieces_of,
    select_tokens,
    tell_unknown,
)

REPORT_FILE = "trim.json"
"""What was cut, beside the trimmed model."""
_ID_FIELDS = ("_token_id", "_token_ids", "bad_words_ids", "suppress_tokens")
"""Ends of the names of those fields of a configuration that hold ids of tokens."""
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
    scripts: tuple[str, ...]
    """Whose characters are kept for safety."""
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
        return (
            f"tokens      {self.tokens_before} -> {self.tokens_after},"
            f" {self.num_safety} of them for safety: {', '.join(self.scripts) or 'no letters'}\n"
            f"parameters  {before:.2f} M -> {after:.2f} M\n"
            f"weights     {self.megabytes_before:.1f} MB -> {self.megabytes_after:.1f} MB\n"
            f"texts       {self.num_texts} checked: same pieces; unchanged by encoding and"
            f" decoding: {self.round_trip_before:.2%} -> {self.round_trip_after:.2%}\n"
            f"words       {self.num_words} dropped pieces checked: no new <unk>\n"
            f"logits      {self.num_logit_texts} texts checked: the same on every kept token"
        )


def trim_model(
    model: str | Path, texts: Sequence[str], output: Path, *, safety_texts: Sequence[str] = ()
) -> TrimReport:
    """Cut an encoder-decoder's vocabulary to what texts need plus a safety set.

    `vocabulary.select_tokens` says what is kept, in its old order, and why every text that kept
    pieces write is cut into the same pieces as before. Each time the result is the same, byte by
    byte. Before the folder appears, tokenizer and model are loaded from it and compared with the
    whole ones, on every text, on every dropped piece as an unseen word, and by the logits of a few
    texts.

    Args:
        model: folder or hub name of an encoder-decoder with a SentencePiece tokenizer.
        texts: the training texts.
        output: new or empty folder for the model, its tokenizer and `trim.json`.
        safety_texts: texts whose scripts are kept like those of `texts`, though not their words.

    Returns:
        What was cut; also written to `trim.json`.

    Raises:
        InputError: there are no texts, `output` is in use, the model cannot be loaded, its
            tokenizer is not SentencePiece's or does not know the texts' characters, or a comparison
            fails, which names the text.
    """
    if not any(text.strip() for text in texts):
        raise InputError(f"{model}: found no texts to trim it to, expected at least one")
    check_new_folder(output)
    tokenizer, state, whole = _load_whole(model)
    num_rows = int(whole.get_input_embeddings().weight.shape[0])
    config_ids = _config_ids(whole)
    _check_rows(state, config_ids, num_rows, model)

    encoded = encode_texts(tokenizer, texts)
    _check_known(texts, encoded, tokenizer, model)
    used = {token for ids in encoded for token in ids}
    selection = select_tokens(state, used, config_ids, [*texts, *safety_texts])
    probes = [ids[:_PROBE_TOKENS] for ids in encoded if ids][:_NUM_PROBES]
    logits = [logits_of(whole, ids)[:, list(selection.ids)] for ids in probes]
    sizes = _size_of(whole, "before")
    _cut_weights(whole, selection, model)
    sizes |= _size_of(whole, "after")

    with whole_folder(output) as folder:
        whole.save_pretrained(folder)
        del whole  # before the trimmed one is loaded: large ones fit only once
        tokenizer.save_pretrained(folder)
        cut = Tokenizer.from_str(json.dumps(cut_state(state, selection)))
        cut.save(str(folder / "tokenizer.json"))
        try:
            trimmed = _load(AutoTokenizer, folder, "a tokenizer")
            check_tokens(state, trimmed, selection)
            round_trip_before, round_trip_after = check_texts(tokenizer, trimmed, texts, selection)
            num_words = check_words(state, tokenizer, trimmed, selection)
            reloaded = hub.load(
                AutoModelForSeq2SeqLM, folder, "the trimmed model cannot be loaded", dtype="auto"
            )
            check_logits(reloaded.eval(), probes, logits, selection)
        except InputError as error:
            raise InputError(f"{model}: {error}") from None
        report = TrimReport(
            model=str(model),
            tokens_before=num_rows,
            tokens_after=len(selection.ids),
            num_safety=selection.num_safety,
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


def _load_whole(
    model: str | Path,
) -> tuple[PreTrainedTokenizerBase, dict[str, Any], PreTrainedModel]:
    """Tokenizer, its state as its JSON file says it, and model: such as can be trimmed."""
    if not Path(model).exists() and "/" in str(model) and not may_be_on_hub(model):
        raise InputError(f"{model}: no such folder, expected a model folder or a hub name")
    config = _load(AutoConfig, model, "a model")
    if type(config) not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        raise InputError(
            f"{model}: found a model of the type {config.model_type!r}, expected an encoder-decoder"
            " with a SentencePiece tokenizer (mBART, mBART-50, T5, mT5, NLLB)"
        )
    tokenizer = _load(AutoTokenizer, model, "a tokenizer")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            f"{model}: found {type(tokenizer).__name__}, expected a tokenizer of the tokenizers"
            " library (mBART, mBART-50, T5, mT5, NLLB)"
        )
    state: dict[str, Any] = json.loads(backend.to_str())
    check_supported(state, str(model))
    whole = _load(AutoModelForSeq2SeqLM, model, "an encoder-decoder", dtype="auto")
    return tokenizer, state, whole.eval()


def _load(kind: Any, model: str | Path, what: str, **settings: Any) -> Any:
    loaded = hub.load(kind, model, f"{model}: cannot be loaded as {what}", **settings)
    if kind is AutoTokenizer:
        restore_rules(loaded, model)
    return loaded


def _check_rows(
    state: Mapping[str, Any], config_ids: set[int], num_rows: int, model: str | Path
) -> None:
    ids = set(pieces_of(state).values())
    if max(ids) >= num_rows:
        raise InputError(
            f"{model}: found a tokenizer with token {max(ids)} and a model of {num_rows} tokens,"
            " expected a row of the model for each token"
        )
    if unknown := config_ids - ids:
        raise InputError(
            f"{model}: found token {min(unknown)} in the model's configuration, which the tokenizer"
            " does not have"
        )


def _check_known(
    texts: Sequence[str],
    encoded: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    model: str | Path,
) -> None:
    counts = [list(ids).count(tokenizer.unk_token_id) for ids in encoded]
    share = sum(counts) / max(1, sum(map(len, encoded)))
    if share > MOST_UNKNOWN:
        number = next(i for i, count in enumerate(counts) if count)
        raise InputError(
            f"{model}: found {share:.1%} of the texts' tokens to be <unk>, as in text {number + 1}:"
            f" {texts[number][:60]!r}, expected {MOST_UNKNOWN:.0%} at most: the model lacks"
            f" {tell_unknown(tokenizer, texts)}"
        )


def _configurations(model: PreTrainedModel) -> list[Any]:
    return [one for one in (model.config, model.generation_config) if one is not None]


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


def _cut_weights(model: PreTrainedModel, selection: Selection, name: str | Path) -> None:
    """Renumber the configurations' tokens and cut the others out of all weights.

    A weight's side belongs to the vocabulary when it is another one in an empty model of the same
    configuration with the new vocabulary: embeddings, heads, and biases such as mBART's.
    """
    kept = torch.tensor(selection.ids)
    for settings in _configurations(model):
        for key, value in settings.to_dict().items():
            changed = _change_ids(value, selection.new_ids.__getitem__, key)
            if changed != value:
                setattr(settings, key, changed)
    model.config.vocab_size = len(kept)
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


def check_tokens(
    state: Mapping[str, Any], trimmed: PreTrainedTokenizerBase, selection: Selection
) -> None:
    """Check that the trimmed tokenizer, as its class loads it, gives kept tokens their new ids.

    `state` is that of the whole tokenizer.
    """
    new_ids = selection.new_ids
    wanted = {token: new_ids[i] for token, i in pieces_of(state).items() if i in new_ids}
    found = trimmed.get_vocab()
    for token in sorted(wanted.keys() | found.keys()):
        if found.get(token) != wanted.get(token):
            raise InputError(
                f"{type(trimmed).__name__} cannot be trimmed: found {token!r} at"
                f" {found.get(token)}, expected {wanted.get(token)}"
            )


def check_texts(
    whole: PreTrainedTokenizerBase,
    trimmed: PreTrainedTokenizerBase,
    texts: Sequence[str],
    selection: Selection,
) -> tuple[float, float]:
    """Check that texts have the same pieces as before and decode to the same.

    Returns:
        Share of the texts that encoding and decoding give back, with the whole tokenizer and with
        the trimmed one. Space at either end does not count.
    """
    new_ids = selection.new_ids
    before, after = encode_texts(whole, texts), encode_texts(trimmed, texts)
    decoded = whole.batch_decode(before, skip_special_tokens=True)
    decoded_after = trimmed.batch_decode(after, skip_special_tokens=True)
    for i, text in enumerate(texts):
        if after[i] != [new_ids.get(token) for token in before[i]]:
            found, wanted = trimmed.tokenize(text), whole.tokenize(text)
            raise InputError(f"text {i + 1}: {text!r}: found pieces {found}, expected {wanted}")
        if decoded_after[i] != decoded[i]:
            raise InputError(
                f"text {i + 1}: {text!r}: decodes to {decoded_after[i]!r}, expected {decoded[i]!r}"
            )

    def unchanged(rows: Sequence[str]) -> float:
        pairs = zip(rows, texts, strict=True)
        return sum(one.strip() == text.strip() for one, text in pairs) / len(texts)

    return unchanged(decoded), unchanged(decoded_after)


def check_words(
    state: Mapping[str, Any],
    whole: PreTrainedTokenizerBase,
    trimmed: PreTrainedTokenizerBase,
    selection: Selection,
) -> int:
    """Check that no dropped piece, read as a word, brings an `<unk>` that was not there before.

    Returns:
        How many there are: dropped pieces of the scripts that the safety set covers.
    """
    new_ids = selection.new_ids
    words = [
        piece.replace(MARK, " ").strip()
        for piece, i in pieces_of(state).items()
        if i not in new_ids and is_written_in(piece, selection.scripts)
    ]
    rows = zip(words, encode_texts(whole, words), encode_texts(trimmed, words), strict=True)
    for word, before, after in rows:
        if trimmed.unk_token_id in after and whole.unk_token_id not in before:
            raise InputError(f"the word {word!r} would become {trimmed.unk_token}")
    return len(words)


@torch.no_grad()
def logits_of(model: PreTrainedModel, token_ids: Sequence[int]) -> Tensor:
    """Logits (tokens, vocabulary) of a text that encoder and decoder both read."""
    tokens = torch.tensor([list(token_ids)])
    logits: Tensor = model(input_ids=tokens, decoder_input_ids=tokens, use_cache=False).logits[0]
    return logits.float()


def check_logits(
    trimmed: PreTrainedModel,
    probes: Sequence[Sequence[int]],
    wanted: Sequence[Tensor],
    selection: Selection,
) -> None:
    """Check that kept tokens have the logits (tokens, kept tokens) that the whole model gives them.

    `probes` are token ids of texts, in the whole vocabulary.
    """
    new_ids = selection.new_ids
    # Rounding of the last product only: all that comes before it is the same.
    tolerance = min(64 * torch.finfo(trimmed.dtype).eps, 0.02)
    for ids, logits in zip(probes, wanted, strict=True):
        difference = (logits_of(trimmed, [new_ids[i] for i in ids]) - logits).abs().max().item()
        if not difference <= tolerance * max(logits.abs().max().item(), 1.0):
            raise InputError(
                f"{type(trimmed).__name__} cannot be trimmed: the logits of kept tokens change by"
                f" {difference:.2g}"
            )
