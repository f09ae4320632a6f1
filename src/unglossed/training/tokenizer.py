"""Tokenizers for a run: a published one, or byte-pair encoding trained on the run's own text."""

from __future__ import annotations

import heapq
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from unglossed import hub
from unglossed.config import field
from unglossed.corpora.languages import base_language, has_spaces, language_of
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.evaluation.metrics import score_by_language
from unglossed.models.processing import CONTROL, TranslatorProcessor, encode_texts, pad_labels
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.plan import StagePlan
from unglossed.training.recipe import Recipe, TokenizerSettings
from unglossed.training.sources import GGUF, load
from unglossed.trimming import MOST_UNKNOWN, tell_unknown

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_VOCABULARY_FILES = (
    *("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model"),
    *("sentencepiece.model", "vocab.json", "vocab.txt"),
)
_MANY = 100_000
"""Texts, of which and of more only some are learnt or encoded: all would cost minutes."""
_MOST_TEXTS = 20_000
"""Train texts that are decoded, and of very many those that are encoded, spread over the split."""
_BATCH_SIZE = 1_000
_Item = TypeVar("_Item")
_MOST_TOKENS_A_BYTE = 3
"""Normalisation, such as NFD, makes a text at most three times as long; a byte is a token then."""


def build_tokenizer(
    settings: TokenizerSettings, texts: Sequence[str], language: str, others: Sequence[str] = ()
) -> tuple[PreTrainedTokenizerBase, str]:
    """Load or train the tokenizer of a run.

    Args:
        settings: where it comes from.
        texts: what a trained one is trained on.
        language: of the texts; a trained tokenizer's start token is `<language>`.
        others: further languages of the texts, see `find_start`.

    Returns:
        The tokenizer and the token with which the decoder starts.

    Raises:
        InputError: it cannot be loaded, has a new token already, lacks the start token, or that is
            another language's code though there is one of the texts' own.
    """
    if settings.pretrained is None:
        tokenizer = train_tokenizer(texts, language, settings.vocab_size, others)
        _add_tokens(tokenizer, settings.new_tokens)
        return tokenizer, f"<{language}>"
    with field("tokenizer.pretrained"):
        tokenizer = load(AutoTokenizer, settings.pretrained)
    _add_tokens(tokenizer, settings.new_tokens)
    if tokenizer.pad_token is None:  # as many decoder-only models: nothing is ever padded with it
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if others:
        return tokenizer, find_start(settings, tokenizer, language)
    start = settings.start_token or tokenizer.bos_token or tokenizer.pad_token
    _check_start(start, tokenizer, settings, language, "tokenizer.start_token")
    return tokenizer, start


def find_start(
    settings: TokenizerSettings, tokenizer: PreTrainedTokenizerBase, language: str
) -> str:
    """With which token texts in one of several languages start.

    A trained tokenizer's is `<language>`; another one's what `start_tokens` says, else its code of
    the language, or its begin token where it has none.

    Raises:
        InputError: there are several codes, as NLLB has for the scripts of a language, or see
            `build_tokenizer`.
    """
    if settings.pretrained is None:
        return f"<{language}>"
    key = f"tokenizer.start_tokens.{language}"
    start, codes = settings.start_tokens.get(language), _codes_of(language, tokenizer)
    if start is None and len(codes) > 1:
        raise InputError(f"{key}: is missing, expected one of {', '.join(codes)}")
    start = start or next(iter(codes), None) or tokenizer.bos_token or tokenizer.pad_token
    _check_start(start, tokenizer, settings, language, key)
    return start


def _codes_of(language: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    wanted = base_language(language)
    return sorted(token for token in tokenizer.get_vocab() if language_of(token) == wanted)


def _add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> None:
    """Add tokens behind all others; one that is there already would lose what its embedding is."""
    for token in tokens:
        if token in tokenizer.get_vocab():
            raise InputError(f"tokenizer.new_tokens: found {token!r}, which the tokenizer has")
        tokenizer.add_tokens(token, special_tokens=True)


def _check_start(
    start: str,
    tokenizer: PreTrainedTokenizerBase,
    settings: TokenizerSettings,
    language: str,
    key: str,
) -> None:
    """Refuse a token that is not there, or the code of another language.

    The latter is noted where the tokenizer has none of this one.
    """
    known = tokenizer.convert_tokens_to_ids(start) not in (None, tokenizer.unk_token_id)
    if not known and start != tokenizer.unk_token:  # GPT-2 has one token for all of these
        raise InputError(f"{key}: {settings.pretrained} has no token {start!r}")
    if language_of(start) in (None, base_language(language)):
        return
    codes = _codes_of(language, tokenizer)
    fault = f"{key}: found {start!r}, but the corpus is in {language!r}"
    if codes:
        raise InputError(f"{fault}: expected {' or '.join(codes)}")
    note(f"{fault}, for which {settings.pretrained} has no code")


def train_tokenizer(
    texts: Sequence[str], language: str, vocab_size: int, others: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Train byte-pair encoding whose decoding gives every text of `texts` back, NFC-normalised.

    Spaces are kept as part of the tokens, repeated ones included, so that nothing is lost. What
    looks like a control token is learned letter by letter, so that none is ever made of a text.
    Each language has a token, such as `<de>`. Where a language writes no spaces between its words,
    each Chinese character is a token, as in BERT: of a small corpus whole sentences would become
    tokens otherwise, which no other sentence has.
    """
    codes = (language, *others)
    language_tokens = [f"<{code}>" for code in codes]
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    cuts = [
        pre_tokenizers.Split(Regex(" "), "merged_with_next"),
        pre_tokenizers.Metaspace(split=False),
    ]
    if not all(map(has_spaces, codes)):
        cuts.append(pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.decoder = decoders.Metaspace()
    learnt, letters = _spread(texts, _MANY), set[str]()
    if len(learnt) < len(texts):  # a letter that is seldom has to be known as well
        for text in texts:
            letters.update(unicodedata.normalize("NFC", text))
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *language_tokens],
        initial_alphabet=sorted(letters - {" "}),
        show_progress=False,
    )
    plain = (unicodedata.normalize("NFC", text) for text in learnt)
    spelt = (CONTROL.sub(lambda found: " ".join(found[0]), text) for text in plain)
    tokenizer.train_from_iterator(spelt, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens=language_tokens,
        clean_up_tokenization_spaces=False,
    )


def most_tokens(tokenizer: PreTrainedTokenizerBase, texts: Collection[str]) -> int:
    """Tokens of the text that has most, without those that begin or end it.

    Of very many texts only those are encoded whose words, each encoded alone, have most.
    """
    if len(texts) >= _MANY:
        words = list({word for text in texts for word in text.split(" ")})
        counts = (max(1, len(row)) for row in _encoded(tokenizer, words))
        of_word = dict(zip(words, counts, strict=True)).__getitem__
        texts = heapq.nlargest(
            _BATCH_SIZE, texts, key=lambda text: sum(map(of_word, text.split(" ")))
        )
    return max(map(len, _encoded(tokenizer, list(texts))))


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of each text, some texts at a time: those of all would fill memory."""
    for start in range(0, len(texts), _BATCH_SIZE):
        yield from encode_texts(tokenizer, texts[start : start + _BATCH_SIZE])


def _spread(items: Sequence[_Item], most: int) -> Sequence[_Item]:
    """Fewer than so many items, at least half as many, spread evenly; all, if there are fewer."""
    return items[:: 1 + len(items) // most]


def check_texts(tokenizer: PreTrainedTokenizerBase, samples: Sequence[Sample]) -> None:
    """Refuse a tokenizer that knows too little of the train texts; note single `<unk>`.

    Raises:
        InputError: more than a tenth of the texts' tokens are `<unk>`.
    """
    if tokenizer.unk_token_id is None or not samples:
        return
    if len(samples) >= _MANY:
        samples = _spread(samples, _MOST_TEXTS)
    texts = [sample.text for sample in samples]
    counts, num_tokens = [], 0
    for row in _encoded(tokenizer, texts):
        counts.append(row.count(tokenizer.unk_token_id))
        num_tokens += len(row)
    num_unknown = sum(counts)
    if not num_unknown:
        return
    first = next(sample for sample, count in zip(samples, counts, strict=True) if count)
    example = f"train clip {first.id!r}: {first.text[:60]!r}"
    told = tell_unknown(tokenizer, texts)
    share = num_unknown / num_tokens
    if share > MOST_UNKNOWN:
        raise InputError(
            f"tokenizer.pretrained: found {share:.1%} of the train texts' tokens to be"
            f" {tokenizer.unk_token} ({example}), expected {MOST_UNKNOWN:.0%} at most: it lacks"
            f" {told}"
        )
    note(
        f"the tokenizer does not know everything in {sum(map(bool, counts)):,} of"
        f" {len(texts):,} train texts: {num_unknown:,} of {num_tokens:,} tokens are"
        f" {tokenizer.unk_token} ({example}); it lacks {told}"
    )


def tell_changed_texts(
    processor: TranslatorProcessor,
    train: Sequence[Sample],
    dev: Sequence[Sample],
    normalisation: str,
) -> str | None:
    """Tell how many texts the tokenizer does not give back as they were, and what that costs.

    Space at either end does not count.

    Returns:
        In words; None: all come back.
    """
    seen = [*_spread(train, _MOST_TEXTS), *dev]
    decoded: list[str] = []
    for start in range(0, len(seen), _BATCH_SIZE):
        texts = [sample.text for sample in seen[start : start + _BATCH_SIZE]]
        decoded += processor.decode(pad_labels(processor.encode_texts(texts)))
    changed = [
        (sample, text)
        for sample, text in zip(seen, decoded, strict=True)
        if unicodedata.normalize("NFC", sample.text).strip() != text
    ]
    if not changed:
        return None
    first, text = changed[0]
    share = 1 - len(changed) / len(seen)
    told = (
        f"{share:.1%} of {len(seen):,} texts of train and dev come back unchanged from the"
        f" tokenizer; that of clip {first.id!r}, {first.text[:60]!r}, as {text[:60]!r}"
    )
    if dev:
        texts, found = [sample.text for sample in dev], decoded[-len(dev) :]
        wanted = [(sample.text, *sample.references) for sample in dev]
        told_of = wanted, [sample.language for sample in dev], normalisation
        whole = score_by_language(texts, *told_of).bleu4
        if whole and whole > 0:  # not so where no text has four words
            most = score_by_language(found, *told_of).bleu4
            told += f"; a model that wrote every text of dev would score {most:.2f} BLEU-4"
    return told


def check_text_lengths(
    plans: Iterable[StagePlan], clips: Sequence[Sample], texts: Sequence[str]
) -> None:
    """Check that no text has more tokens than its stage's language model has positions.

    `texts` are those that a language model alone is trained on.

    Raises:
        InputError: names the first clip or text that is too long, its tokens and the limit.
    """
    of_clips = (clip.text for clip in clips)
    longest = max((len(text.encode()) for text in chain(of_clips, texts)), default=0)
    for plan in plans:
        alone = "encoder" not in OBJECTIVES[plan.settings.objective].parts
        aligned = plan.settings.alignment
        read = ("alignment",) if aligned is not None and aligned.states else ()
        for name in ("language_model", "text_encoder", *read):
            part = getattr(plan, name)
            limit = None if part is None else part.max_positions
            if limit is None or _MOST_TOKENS_A_BYTE * longest + 2 <= limit:
                continue
            every: Iterable[Sample | str] = chain(clips, texts if alone else ())
            for clip in every:
                text = clip if isinstance(clip, str) else clip.text
                if _MOST_TOKENS_A_BYTE * len(text.encode()) + 2 <= limit:
                    continue
                found = len(plan.processor.encode_text(text))
                if found > limit:
                    start = f"text {text[:30]!r}..."
                    what = start if isinstance(clip, str) else f"clip {clip.id!r}"
                    raise InputError(
                        f"{plan.where}.{name}: {what} has {found:,} tokens with the end token,"
                        f" expected at most the {limit:,} positions of the language model: shorten"
                        " the text or leave it out"
                    )


def check_own_tokenizers(recipe: Recipe, processor: TranslatorProcessor) -> None:
    """Check that pre-trained language models have the tokens that the run's tokenizer gives.

    One that comes without a tokenizer, or of which only the shape is taken, passes.

    Raises:
        InputError: a token of both has another id.
    """
    tokenizer, pretrained = processor.tokenizer, recipe.tokenizer.pretrained
    ours = {number: token for token, number in tokenizer.get_vocab().items()}
    for token in processor.new_tokens:
        ours.pop(tokenizer.convert_tokens_to_ids(token), None)
    elsewhere = {None, "build", pretrained, *(stage.name for stage in recipe.stages)}
    for stage in recipe.stages:
        for name in ("language_model", "text_encoder", "alignment"):
            part = getattr(stage, name)
            if part is None or part.source in elsewhere or getattr(part, "random_init", False):
                continue
            with field(f"stages.{stage.name}.{name}.source"):
                theirs = _own_vocabulary(part.source)
                differing = [i for i in sorted(ours.keys() & theirs) if ours[i] != theirs[i]]
                if differing:
                    one = differing[0]
                    other = (
                        "tokenizer.pretrained" if pretrained else "the run's, trained on its texts"
                    )
                    hint = "the model's own" if pretrained else "it in tokenizer.pretrained"
                    raise InputError(
                        f"its tokenizer differs from {other} (id {one} is {theirs[one]!r} here and"
                        f" {ours[one]!r} there): name {hint}"
                    )


def _own_vocabulary(source: str) -> dict[int, str]:
    """Tokens of a model's own tokenizer by id; none if it comes without."""
    # Without these files, transformers makes up a tokenizer of special tokens alone.
    if not source.endswith(GGUF) and not any(hub.find_file(source, n) for n in _VOCABULARY_FILES):
        return {}
    vocabulary = load(AutoTokenizer, source).get_vocab()
    return {number: token for token, number in vocabulary.items()}
