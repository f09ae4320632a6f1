"""The generated corpus that a plan is run on where none is given: made once, in the output folder.

It is drawn by `unglossed_synth`, which is imported when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.files import exclusive, write_text
from unglossed.reproduce.plan import GeneratedCorpus
from unglossed.training.checkpoint import read_json

CORPUS, EXTRA_TEXTS = "corpus", "extra_texts.txt"
_SETTINGS = "corpus.json"
_TEXTS_SEED = 7


def generate(folder: Path, wanted: GeneratedCorpus, tell: Callable[[str], None]) -> str:
    """Draw a corpus and the sentences beside it, or find them there.

    Args:
        folder: of the plan's output.
        wanted: what to draw.
        tell: is given a line when it has to wait.

    Returns:
        The corpus's spec.

    Raises:
        InputError: another one is there, or see `write_corpus`.
    """
    from unglossed_synth.corpus import write_corpus
    from unglossed_synth.layouts import LAYOUTS
    from unglossed_synth.saying import draw_texts

    if wanted.layout not in LAYOUTS:
        raise InputError(f"layout: found {wanted.layout!r}, expected one of {', '.join(LAYOUTS)}")
    spec = f"{LAYOUTS[wanted.layout].reader or wanted.layout}:{folder / CORPUS}"
    with exclusive(folder / ".corpus.lock", lambda: tell("waiting: another call draws the corpus")):
        described = folder / _SETTINGS
        if described.is_file():
            found = read_json(described)
            if found != wanted.model_dump():
                raise InputError(
                    f"{described}: found another generated corpus than the plan has; choose"
                    " another --output"
                )
            return spec
        if not (folder / CORPUS).is_dir():
            tell("the corpus is generated")
            write_corpus(
                folder / CORPUS,
                wanted.num_sentences,
                wanted.seed,
                width=wanted.width,
                height=wanted.height,
                level=wanted.level,
                language=wanted.language,
                layout=wanted.layout,
            )
        corpus = read_corpus(spec)
        if wanted.extra_texts:
            said = {sample.text for samples in corpus.splits.values() for sample in samples}
            texts = draw_texts(
                corpus.language, wanted.level, wanted.extra_texts, _TEXTS_SEED, exclude=said
            )
            write_text(folder / EXTRA_TEXTS, "\n".join(texts) + "\n")
        write_text(described, json.dumps(wanted.model_dump(), indent=2) + "\n")
    return spec
