"""Cuts a language model's vocabulary to what a text needs, tokenizer and weights together.

FLa-LLM trims mBART and its tokenizer to the training text. `vocabulary` says which tokens stay,
`trimming_proof` that nothing is read or written otherwise; this module cuts and saves the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from unglossed.files import check_new_folder, may_be_on_hub, whole_folder, write_text
from unglossed.model_folders import bind_folder
from unglossed.models.processing import encode_texts, restore_rules
from unglossed.trimming.vocabulary import (
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

_ID_FIELDS = ("_token_id", "_token_ids", "bad_words_ids", "suppress_tokens")
"""Ends of the names of those fields of a configuration that hold ids of tokens."""


def num_rows_of(model: PreTrainedModel) -> int:
    """Tokens for which a model has an embedding."""
    return int(model.get_input_embeddings().weight.shape[0])


def config_ids_of(model: PreTrainedModel) -> set[int]:
    """Ids of all tokens that the model's configurations name."""
    found: set[int] = set()

    def note(token_id: int) -> int:
        found.add(token_id)
        return token_id

    for settings in _configurations(model):
        _change_ids(settings.to_dict(), note)
    return found


def cut_weights(model: PreTrainedModel, selection: Selection, name: str | Path) -> None:
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
    if num_rows_of(empty) != len(kept):
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


def size_of(model: PreTrainedModel) -> tuple[int, float]:
    """Number of parameters, and what they take in units of 10**6 bytes."""
    weights = list(model.parameters())
    num_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
    return sum(weight.numel() for weight in weights), num_bytes / 1e6


def _configurations(model: PreTrainedModel) -> list[Any]:
    return [one for one in (model.config, model.generation_config) if one is not None]


def _change_ids(value: Any, change: Callable[[int], int], name: str = "") -> Any:
    """A configuration's value with each id of a token changed; a negative number is none."""
    if isinstance(value, dict):
        return {key: _change_ids(one, change, str(key)) for key, one in value.items()}
    if not name.endswith(_ID_FIELDS):
        return value
    if isinstance(value, list):
        return [_change_ids(one, change, name) for one in value]
    return change(value) if isinstance(value, int) and value >= 0 else value


def check_tokens(
    state: Mapping[str, Any], trimmed: PreTrainedTokenizerBase, selection: Selection
) -> None:
    """Check that the trimmed tokenizer, as its class loads it, gives kept tokens their new ids.

    Args:
        state: the whole tokenizer as its JSON file says it.
        trimmed: loaded from the new folder.
        selection: what was kept.
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
    return _share_unchanged(texts, decoded), _share_unchanged(texts, decoded_after)


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
    """Check that kept tokens have the logits that the whole model gives them.

    Args:
        trimmed: loaded from the new folder.
        probes: token ids of texts, in the whole vocabulary.
        wanted: the whole model's logits of each, (tokens, kept tokens).
        selection: what was kept.
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


def _share_unchanged(texts: Sequence[str], decoded: Sequence[str]) -> float:
    unchanged = [one.strip() == text.strip() for one, text in zip(decoded, texts, strict=True)]
    return sum(unchanged) / len(texts)


REPORT_FILE = "trim.json"
"""What was cut, beside the trimmed model."""

_NUM_PROBES, _PROBE_TOKENS = 4, 64
"""Texts, and tokens of each, on which the logits of the whole and the trimmed model are compared.
Nothing but the rows of the vocabulary changes, so that a few show whether the right ones stayed."""


@dataclass(frozen=True, slots=True)
class TrimReport:
    """What a trimming cut, kept and checked; prints itself.

    Args:
        model: folder or hub name of the whole model.
        tokens_before: rows of the whole model's vocabulary.
        tokens_after: rows, and tokens of the tokenizer, that are kept.
        num_safety: kept tokens that the texts do not need: the safety set.
        scripts: whose characters are in the safety set.
        parameters_before: of the whole model, tied ones counted once.
        parameters_after: of the trimmed one.
        megabytes_before: what the whole model's parameters take, in units of 10**6 bytes.
        megabytes_after: what the trimmed one's take.
        num_texts: texts checked to have the same pieces, and the same text after decoding.
        round_trip_before: share of the texts that encoding and decoding with the whole tokenizer
            gives back.
        round_trip_after: the same with the trimmed one.
        num_words: dropped pieces of these scripts, checked to bring no new `<unk>` as words.
        num_logit_texts: texts on which kept tokens were checked to have the same logits.
    """

    model: str
    tokens_before: int
    tokens_after: int
    num_safety: int
    scripts: tuple[str, ...]
    parameters_before: int
    parameters_after: int
    megabytes_before: float
    megabytes_after: float
    num_texts: int
    round_trip_before: float
    round_trip_after: float
    num_words: int
    num_logit_texts: int

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A line for each thing that was cut or checked."""
        before, after = self.parameters_before / 1e6, self.parameters_after / 1e6
        return "\n".join(
            [
                f"tokens      {self.tokens_before} -> {self.tokens_after},"
                f" {self.num_safety} of them for safety: {', '.join(self.scripts) or 'no letters'}",
                f"parameters  {before:.2f} M -> {after:.2f} M",
                f"weights     {self.megabytes_before:.1f} MB -> {self.megabytes_after:.1f} MB",
                f"texts       {self.num_texts} checked: same pieces; unchanged by encoding and"
                f" decoding: {self.round_trip_before:.2%} -> {self.round_trip_after:.2%}",
                f"words       {self.num_words} dropped pieces checked: no new <unk>",
                f"logits      {self.num_logit_texts} texts checked: the same on every kept token",
            ]
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
        output: folder to write the model, its tokenizer and `trim.json` to. It must be new or
            empty.
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
    if not Path(model).exists() and "/" in str(model) and not may_be_on_hub(model):
        raise InputError(f"{model}: no such folder, expected a model folder or a hub name")
    config = _load(AutoConfig, model, "a model")
    if type(config) not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        raise InputError(
            f"{model}: found a model of the type {config.model_type!r}, expected an encoder-decoder"
            " with a SentencePiece tokenizer (mBART, mBART-50, T5, mT5, NLLB)"
        )
    tokenizer = _load(AutoTokenizer, model, "a tokenizer")
    state = _state_of(tokenizer, model)
    language_model = _load(AutoModelForSeq2SeqLM, model, "an encoder-decoder", dtype="auto").eval()
    num_rows = num_rows_of(language_model)
    config_ids = config_ids_of(language_model)
    _check_rows(state, config_ids, num_rows, model)

    encoded = encode_texts(tokenizer, texts)
    _check_known(texts, encoded, tokenizer, model)
    used = {token for ids in encoded for token in ids}
    selection = select_tokens(state, used, config_ids, [*texts, *safety_texts])
    probes = [ids[:_PROBE_TOKENS] for ids in encoded if ids][:_NUM_PROBES]
    logits = [logits_of(language_model, ids)[:, list(selection.ids)] for ids in probes]
    parameters_before, megabytes_before = size_of(language_model)
    cut_weights(language_model, selection, model)
    parameters_after, megabytes_after = size_of(language_model)

    with whole_folder(output) as folder:
        language_model.save_pretrained(folder)
        del language_model  # before the trimmed one is loaded: large ones fit only once
        tokenizer.save_pretrained(folder)
        cut = Tokenizer.from_str(json.dumps(cut_state(state, selection)))
        cut.save(str(folder / "tokenizer.json"))
        try:
            trimmed = _load(AutoTokenizer, folder, "a tokenizer")
            check_tokens(state, trimmed, selection)
            round_trips = check_texts(tokenizer, trimmed, texts, selection)
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
            parameters_before=parameters_before,
            parameters_after=parameters_after,
            megabytes_before=megabytes_before,
            megabytes_after=megabytes_after,
            num_texts=len(texts),
            round_trip_before=round_trips[0],
            round_trip_after=round_trips[1],
            num_words=num_words,
            num_logit_texts=len(probes),
        )
        content = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
        write_text(folder / REPORT_FILE, content + "\n")
        bind_folder(folder)
    return report


def _load(kind: Any, model: str | Path, what: str, **settings: Any) -> Any:
    loaded = hub.load(kind, model, f"{model}: cannot be loaded as {what}", **settings)
    if kind is AutoTokenizer:
        restore_rules(loaded, model)
    return loaded


def _state_of(tokenizer: PreTrainedTokenizerBase, model: str | Path) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            f"{model}: found {type(tokenizer).__name__}, expected a tokenizer of the tokenizers"
            " library (mBART, mBART-50, T5, mT5, NLLB)"
        )
    state: dict[str, Any] = json.loads(backend.to_str())
    check_supported(state, str(model))
    return state


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


def _check_rows(
    state: Mapping[str, Any], config_ids: Iterable[int], num_rows: int, model: str | Path
) -> None:
    ids = set(pieces_of(state).values())
    if max(ids) >= num_rows:
        raise InputError(
            f"{model}: found a tokenizer with token {max(ids)} and a model of {num_rows} tokens,"
            " expected a row of the model for each token"
        )
    unknown = set(config_ids) - ids
    if unknown:
        raise InputError(
            f"{model}: found token {min(unknown)} in the model's configuration, which the tokenizer"
            " does not have"
        )
