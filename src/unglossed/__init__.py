"""Sign language video (and speech) to text, without glosses, by factorized training.

    import unglossed
    translator = unglossed.load("runs/demo")
    print(translator.translate(["clip.mp4"])[0].text)

Names are imported when they are first used, so that `import unglossed` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unglossed.errors import InputError
    from unglossed.evaluation.evaluate import evaluate
    from unglossed.evaluation.metrics import score
    from unglossed.inference.output import Translation
    from unglossed.inference.translator import SignTranslator, load, translate
    from unglossed.models.processing import TranslatorProcessor
    from unglossed.models.translator import Translator
    from unglossed.training.recipe import load_recipe
    from unglossed.training.train import train_recipe as train

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "SignTranslator",
    "Translation",
    "Translator",
    "TranslatorProcessor",
    "__version__",
    "evaluate",
    "load",
    "load_recipe",
    "score",
    "train",
    "translate",
]

_HOMES = {
    "InputError": ("unglossed.errors", "InputError"),
    "SignTranslator": ("unglossed.inference.translator", "SignTranslator"),
    "Translation": ("unglossed.inference.output", "Translation"),
    "Translator": ("unglossed.models.translator", "Translator"),
    "TranslatorProcessor": ("unglossed.models.processing", "TranslatorProcessor"),
    "evaluate": ("unglossed.evaluation.evaluate", "evaluate"),
    "load": ("unglossed.inference.translator", "load"),
    "load_recipe": ("unglossed.training.recipe", "load_recipe"),
    "score": ("unglossed.evaluation.metrics", "score"),
    "train": ("unglossed.training.train", "train_recipe"),
    "translate": ("unglossed.inference.translator", "translate"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
