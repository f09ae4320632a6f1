"""Sign language video (and speech) to text, without glosses, by factorized training.

    import unglossed
    translator = unglossed.load("runs/demo")
    print(translator.translate(["clip.mp4"])[0].text)

Names are imported when they are first used, so that `import unglossed` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unglossed.corpora.registry import read_corpus
    from unglossed.corpora.sample import Sample
    from unglossed.errors import InputError
    from unglossed.evaluation.evaluate import evaluate
    from unglossed.evaluation.metrics import score
    from unglossed.inference.live import LiveTranslator
    from unglossed.inference.output import Translation
    from unglossed.inference.sentences import SentenceTranslator
    from unglossed.inference.translator import (
        SignTranslator,
        load,
        stream,
        translate,
        translate_frames,
    )
    from unglossed.models.processing import TranslatorProcessor
    from unglossed.models.translator import Translator
    from unglossed.training.recipe import load_recipe
    from unglossed.training.train import train_recipe as train

__version__ = "0.1.0"

_MODULES = {
    "InputError": "errors",
    "LiveTranslator": "inference.live",
    "Sample": "corpora.sample",
    "SentenceTranslator": "inference.sentences",
    "SignTranslator": "inference.translator",
    "Translation": "inference.output",
    "Translator": "models.translator",
    "TranslatorProcessor": "models.processing",
    "evaluate": "evaluation.evaluate",
    "load": "inference.translator",
    "load_recipe": "training.recipe",
    "read_corpus": "corpora.registry",
    "score": "evaluation.metrics",
    "stream": "inference.translator",
    "train": "training.train",
    "translate": "inference.translator",
    "translate_frames": "inference.translator",
}
_NAMES_THERE = {"train": "train_recipe"}

__all__ = [
    "InputError",
    "LiveTranslator",
    "Sample",
    "SentenceTranslator",
    "SignTranslator",
    "Translation",
    "Translator",
    "TranslatorProcessor",
    "__version__",
    "evaluate",
    "load",
    "load_recipe",
    "read_corpus",
    "score",
    "stream",
    "train",
    "translate",
    "translate_frames",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), _NAMES_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
