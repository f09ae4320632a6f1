"""What a stage's language model reads beside the features, and what says which language to write.

It is told by the language's name in the prompt, or by the token with which a text starts. Here are
token ids only; `models/language_model.py` puts them where they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unglossed.config import FieldError
from unglossed.corpora.languages import language_name
from unglossed.models.language_model import language_model_config
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.settings import PromptSettings

LANGUAGE = "{language}"
"""Stands in a prompt for the English name of the language that is to be written."""


def plan_prompt(
    settings: PromptSettings | None,
    inherited: dict[str, Any] | None,
    config: Mapping[str, Any],
    processor: TranslatorProcessor,
) -> dict[str, Any] | None:
    """The prompt of a language model, see `LanguageModel`; None: it reads features alone.

    Args:
        settings: what the recipe says.
        inherited: what the stage had that it comes from; counts where the recipe says nothing.
        config: of the language model.
        processor: gives the tokens, and says which languages are written.

    Raises:
        InputError: a language that the prompt is to name has no name here.
    """
    if settings is None and inherited is not None:
        return inherited
    prompt = prompt_ids(settings, processor) if settings else default_prompt(config, processor)
    starts = processor.start_ids()
    if not starts:
        return prompt
    if not language_model_config(dict(config)).is_encoder_decoder:
        starts = {code: [] for code in starts}
    plain = {"before": [], "after": [], **(prompt or {})}
    each = {
        code: {**(prompt_ids(settings, processor, code) if settings else plain), "start": start}
        for code, start in starts.items()
    }
    return {**each[processor.language], "languages": each}


def check_languages(prompt: Mapping[str, Any] | None) -> None:
    """Refuse a prompt that asks for two languages in the same way.

    Raises:
        FieldError: it does.
    """
    each = (prompt or {}).get("languages", {})
    asked: dict[str, str] = {}
    for code, one in each.items():
        other = asked.setdefault(str([one[side] for side in ("before", "after", "start")]), code)
        if other != code:
            raise FieldError(
                "prompt",
                f"found nothing that tells {code} from {other}, expected {LANGUAGE} in it, or a"
                " token of its own for each in tokenizer.start_tokens",
            )


def prompt_ids(
    prompt: PromptSettings, processor: TranslatorProcessor, language: str | None = None
) -> dict[str, list[int]]:
    """Token ids of a prompt; names of special tokens in it count as those tokens.

    Args:
        prompt: the texts.
        processor: gives the tokens.
        language: what `LANGUAGE` stands for; None: what the model usually writes.
    """
    code = language or processor.language
    sides = {"before": prompt.before, "after": prompt.after}
    for side, text in sides.items():
        if LANGUAGE not in text:
            continue
        name = language_name(code)
        if name is None:
            told = f"found {LANGUAGE}, which stands for no name of {code!r}: write its name instead"
            raise FieldError(f"prompt.{side}", told)
        sides[side] = text.replace(LANGUAGE, name)
    tokenize = processor.tokenizer
    return {
        side: list(tokenize(text, add_special_tokens=False)["input_ids"])
        for side, text in sides.items()
    }


def default_prompt(
    config: Mapping[str, Any], processor: TranslatorProcessor
) -> dict[str, list[int]] | None:
    """A decoder-only model reads its begin token first, if it has one; others have no prompt."""
    begin = processor.tokenizer.bos_token_id
    if language_model_config(dict(config)).is_encoder_decoder or begin is None:
        return None
    return {"before": [begin], "after": []}
