"""What a tokenizer does not know of texts, told by its characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from unglossed.models.plain_text import encode_texts
from unglossed.models.vocabulary import script_of

_NUM_NAMED = 5


def tell_unknown(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> str:
    """Tell which characters of texts a tokenizer lacks: those of a script, or single ones.

    Args:
        tokenizer: of any kind.
        texts: some of whose tokens are unknown.

    Returns:
        In words, such as "the letters of GEORGIAN, '☂' (12 times)".
    """
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    characters = [one for one in sorted(counts) if not one.isspace()]
    rows = encode_texts(tokenizer, characters)
    unknown = {
        one
        for one, row in zip(characters, rows, strict=True)
        if not row or tokenizer.unk_token_id in row
    }
    lacking = {script_of(one) for one in unknown}
    lacking -= {script_of(one) for one in characters if one not in unknown} | {None}
    told = [f"the letters of {script}" for script in sorted(map(str, lacking))]
    single = [one for one, _ in counts.most_common() if one in unknown]
    single = [one for one in single if script_of(one) not in lacking]
    for one in single[:_NUM_NAMED]:
        told.append(f"{one!r} ({counts[one]:,} times)" if counts[one] > 1 else f"{one!r} (once)")
    if len(single) > _NUM_NAMED:
        told.append(f"{len(single) - _NUM_NAMED:,} more characters")
    return ", ".join(told) or "some of their words"
