"""What the verbs of the command line share: options, output, errors, and a quick start.

The verbs that translate import what they need and nothing that they do not: they neither compile
nor distribute a model, while transformers and torch import what both take, a third of a short
translation's time.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Annotated, Any

import typer

from unglossed.errors import one_line

FAULTS_FOUND = 1
INPUT_WRONG = 2

CORPUS = "Corpus, e.g. phoenix14t:/data/PT."
CorpusSpec = Annotated[str, typer.Option("--corpus", metavar="SPEC", help=CORPUS)]
ModelName = Annotated[str, typer.Argument(help="Run folder, model folder or hub name.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Values to set in the recipe."),
]
PrecisionName = Annotated[
    str, typer.Option("--precision", metavar="NAME", help="float32, bfloat16 or int8 (on the CPU).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")]


def show(result: Any, as_json: bool) -> None:
    """Print a result as text, or its `to_dict()` as JSON."""
    print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) if as_json else result)


def fail(message: str) -> None:
    """Print one `error:` line to stderr."""
    print(f"error: {one_line(message)}", file=sys.stderr)


def is_first_process() -> bool:
    """Whether this is the one of several processes of a training that talks to the user."""
    return os.environ.get("RANK", "0") in ("", "0")


def given(**options: Any) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in options.items() if value is not None}


def silence_loading() -> None:
    """Keep transformers' progress bars and reports out of the output: we say what is wrong."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


_MASKS = "torch._dynamo._trace_wrapped_higher_order_op"


own_process = False
"""Whether the process is the command's own, so that what torch and transformers see may change."""


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without garbage collection and, in a process of our own, without what is not needed.

    torch's compiler is imported when something asks for more than `STAND_INS` has. transformers
    takes the process's torch for one that was built without distributed training.
    """
    gc.disable()
    try:
        with _without_distributed() if own_process else nullcontext():
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _without_distributed() -> Iterator[None]:
    import torch

    if not any(isinstance(finder, _PartFinder) for finder in sys.meta_path):
        _put_stand_ins()
        _draw_nothing_on_meta()
    found = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        from transformers.utils import is_torch_distributed_available

        is_torch_distributed_available()  # it remembers the answer
        yield
    finally:
        torch.distributed.is_available = found


class StandIn(ModuleType):
    """Stands where a module would, until a name is asked for that it does not have.

    Args:
        name: of the module.
        content: what it has.
    """

    def __init__(self, name: str, content: Mapping[str, Any]) -> None:
        super().__init__(name)
        vars(self).update(content, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` asks every module for some
            raise AttributeError(name)
        return getattr(_import_really(self.__name__), name)


def _put_stand_ins() -> None:
    for name, content in STAND_INS.items():
        if name not in sys.modules:
            sys.modules[name] = StandIn(name, content)
            package, _, own = name.rpartition(".")
            if package in sys.modules:
                setattr(sys.modules[package], own, sys.modules[name])
    sys.meta_path.insert(0, _PartFinder())


def _draw_nothing_on_meta() -> None:
    """Skip drawing weights that have no values: torch would import sympy, which takes as long."""
    import torch

    draw = torch.nn.init.normal_

    def normal_(tensor: Any, *settings: Any, **more: Any) -> Any:
        return tensor if tensor.is_meta else draw(tensor, *settings, **more)

    torch.nn.init.normal_ = normal_


def _import_really(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), StandIn):
        del sys.modules[name]
    return import_module(name)


class _PartFinder:
    """Finds a module within one that a stand-in stands for, which is then imported first."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if not isinstance(sys.modules.get(name.rpartition(".")[0]), StandIn):
            return None
        _import_really(name.rpartition(".")[0])
        self.module = import_module(name)
        self.spec = self.module.__spec__
        return spec_from_loader(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def _unchanged(function: Any = None, *settings: object, **more: object) -> Any:
    """Decorate nothing: what is never compiled needs no exception from it."""
    return _unchanged if function is None else function


STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "torch._dynamo": dict.fromkeys(
        ("allow_in_graph", "assume_constant_result", "disable"), _unchanged
    ),
    _MASKS: {"TransformGetItemToIndex": lambda: _import_really(_MASKS).TransformGetItemToIndex()},
}
"""What is asked of each module while a model is imported, loaded and used."""
