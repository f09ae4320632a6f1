"""Cuts a language model's vocabulary to what a text needs, tokenizer and weights together.

FLa-LLM trims mBART and its tokenizer to the training text. `vocabulary` says which tokens stay,
`trimming_proof` that nothing is read or written otherwise; this module cuts and saves the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from unglossed import hub
from unglossed.errors import InputError
from unglossed.files import check_new_folder, may_be_on_hub, whole_folder, write_text
from unglossed.model_folders import bind_folder
from unglossed.models.plain_text import encode_texts
from unglossed.models.tokenizer_rules import restore_rules
from unglossed.models.trimming_proof import (
    check_logits,
    check_texts,
    check_tokens,
    check_words,
    logits_of,
)
from unglossed.models.trimming_weights import config_ids_of, cut_weights, num_rows_of, size_of
from unglossed.models.unknown import tell_unknown
from unglossed.models.vocabulary import (
    MOST_UNKNOWN,
    check_supported,
    cut_state,
    pieces_of,
    select_tokens,
)

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
