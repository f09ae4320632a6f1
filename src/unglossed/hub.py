"""The one place that finds and loads what transformers reads: configurations, tokenizers, models.

Code that comes with a model never runs, and nothing is asked on standard input. What cannot be
loaded is one line that says why. It knows neither recipes nor our own kinds of model.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Container, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants, get_session, is_offline_mode
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
from transformers.utils import cached_file

from unglossed.errors import InputError
from unglossed.files import (
    CHECKSUMS,
    CONFIG,
    RUN_FILE,
    as_path,
    may_be_on_hub,
    read_checksums,
    verify_folder,
)
from unglossed.torch_files import check_pickle

OFFLINE_SECONDS = 2.0
"""How long the hub is waited for before a name is looked up in this machine's cache alone."""

_CODE = "auto_map"
"""Key under which a folder names Python code of its own."""
_MAY_NAME_CODE = (
    *(CONFIG, "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"),
    "generation_config.json",
)
_MOST_MODULES = 10_000
"""Most layers, experts or the like that a configuration may ask for; each takes time to make."""
_COUNTS = re.compile(r"(num_|n_)?(\w*_)?(layers?|depths?|blocks|experts|codebooks|stages)")
_LARGEST = 2**31
"""What no size in a configuration reaches: kernels count with 32 bits."""
_WITHOUT_WEIGHTS = (AutoConfig, AutoFeatureExtractor, AutoTokenizer)


def find_model(model: str | Path) -> str:
    """The folder or hub name from which a model is loaded, given a run or model folder or a name.

    Raises:
        InputError: a folder without a model, or neither a folder nor like a hub name.
    """
    folder = as_path(model, "model")
    for candidate in (folder / "model", folder):
        if (candidate / CONFIG).is_file():
            return str(candidate)
    if (folder / RUN_FILE).is_file():
        raise InputError(f"{model}: the run is not finished: `unglossed train --resume` goes on")
    if folder.is_dir():
        fault = "found neither model/config.json nor config.json"
        raise InputError(f"{model}: {fault}, expected a run folder or a model folder")
    if not may_be_on_hub(model):
        raise InputError(
            f"{model}: no such folder, expected a run folder, a model folder or a hub name"
        )
    return str(model)


def load(kind: Any, source: str | Path, fault: str, **settings: Any) -> Any:
    """Load a configuration, tokenizer, feature extractor, processor or model.

    A name on the hub is asked for there, or, where the hub does not answer within
    `OFFLINE_SECONDS`, looked up in this machine's cache. A folder that has checksums is compared
    with them first. Weights are found to be numbers, and as many as their configuration says.

    Args:
        kind: a class with `from_pretrained`, such as one of the Auto classes.
        source: folder, or name on the hub.
        fault: begins the error's line where it cannot be loaded: "x cannot be loaded".
        settings: further ones of `from_pretrained`.

    Returns:
        What `from_pretrained` gives.

    Raises:
        InputError: it cannot be loaded, would need code of its own, was changed or damaged, asks
            for absurd sizes, or has weights that are NaN or infinite.
    """
    source = str(source)
    verify(source)
    if kind is AutoTokenizer or issubclass(kind, ProcessorMixin):
        _refuse_tokenizer_of_its_own(source, fault)
    is_model = issubclass(kind, nn.Module) or (
        hasattr(kind, "from_config") and kind not in _WITHOUT_WEIGHTS
    )
    if is_model and "gguf_file" not in settings and Path(source).is_dir():
        _refuse_harmful_weights(Path(source), fault)
        _check_sizes(kind, Path(source), fault, settings.get("config"))
    here = _only_here(source)
    try:
        found = kind.from_pretrained(
            source, trust_remote_code=False, local_files_only=here, **settings
        )
    except InputError:
        raise
    except Exception as error:  # of files that are wrong, any of any library
        raise InputError(f"{fault}: {_explain(error, source, offline=here)}") from error
    tokenizer = getattr(found, "tokenizer", found)
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        _refuse_lost_unknown(tokenizer, fault)
    if is_model:
        model, told = found if isinstance(found, tuple) else (found, {})
        misfits = {name for name, *_ in told.get("mismatched_keys", ())}
        _refuse_no_numbers(model, misfits.union(told.get("missing_keys", ())), fault)
    return found


def build(kind: Any, config: PreTrainedConfig) -> Any:
    """A model with random weights, of the Auto class that knows the configuration."""
    vars(config).pop(_CODE, None)  # a model with code of its own leaves it behind
    return kind.from_config(config, trust_remote_code=False)


def find_file(source: str | Path, name: str) -> Path | None:
    """A file of a folder, or of a model on the hub; None where it has no such file."""
    path = cached_file(
        str(source),
        name,
        local_files_only=_only_here(str(source)),
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)


def read_fields(source: str | Path, name: str) -> dict[str, Any] | None:
    """Content of a JSON file of a folder or of a model on the hub; None if there is no such file.

    Raises:
        InputError: it is not JSON, or holds something else than keys with values.
    """
    try:
        path = find_file(source, name)
    except OSError as error:
        raise InputError(f"{source}: {_first_line(error)}") from None
    if path is None:
        return None
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON: {_first_line(error)}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path}: found {type(fields).__name__}, expected keys with values")
    return fields


def verify(source: str | Path) -> None:
    """Compare a model with its checksums, if it has any, whether in a folder or on the hub.

    Raises:
        InputError: see `verify_folder`.
    """
    folder = Path(source)
    if folder.is_dir():
        verify_folder(folder)
    elif not folder.exists() and (listing := _find_or_none(source, CHECKSUMS)) is not None:
        for name in read_checksums(listing.parent) or ():
            find_file(source, name)  # fetched, to lie where the others do
        verify_folder(listing.parent)


def weights_fault(path: Path) -> str | None:
    """What is wrong with a file of weights, in one line that begins with its path.

    None: it can be opened. A `.bin` is a pickle, of which only tensors are read.
    """
    try:
        if path.suffix == ".bin":
            check_pickle(path)
            torch.load(path, map_location="meta", weights_only=True)
        else:
            with safe_open(path, "pt"):
                pass
    except Exception as error:  # of bytes that can be anything
        told = _first_line(error)[:100]
        if path.suffix == ".bin":
            told = "its pickle is damaged or holds more than numbers, and such code never runs"
        return f"{path}: cannot be read: {told}; expected weights, best as model.safetensors"
    return None


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that hold a model's weights."""
    names = ("*.safetensors", "pytorch_model*.bin")
    return [path for name in names for path in sorted(folder.glob(name))]


def _find_or_none(source: str | Path, name: str) -> Path | None:
    try:
        return find_file(source, name)
    except (OSError, ValueError):  # no such model: loading says so
        return None


def _only_here(source: str) -> bool:
    """Whether a source is to be looked up on this machine alone."""
    return not Path(source).exists() and not _hub_answers(int(time.monotonic() // 60))


@cache
def _hub_answers(minute: int) -> bool:
    """Whether the hub can be reached, asked once a minute: its client tries for half a minute."""
    if is_offline_mode():
        return False
    try:
        answer = get_session().head(constants.ENDPOINT, timeout=OFFLINE_SECONDS)
    except Exception:  # of whatever network library the hub's client uses
        return False
    return answer.status_code < 500


def _refuse_tokenizer_of_its_own(source: str, fault: str) -> None:
    """Refuse a tokenizer whose class only the folder's code has: transformers takes another."""
    name = "tokenizer_config.json"
    fields = read_fields(source, name) if _find_or_none(source, name) else None
    told = (fields or {}).get("tokenizer_class")
    if fields and fields.get(_CODE) and told and tokenizer_class_from_name(str(told)) is None:
        raise InputError(f"{fault}: {_own_code(f'{source}/{name}', fields, 'tokenizer_class')}")


def _refuse_lost_unknown(tokenizer: PreTrainedTokenizerBase, fault: str) -> None:
    """Refuse an `unk_token` that is no token: transformers would look it up without end."""
    unknown, backend = tokenizer.unk_token, getattr(tokenizer, "backend_tokenizer", None)
    if unknown is not None and backend is not None and backend.token_to_id(unknown) is None:
        told = "expected a token of the tokenizer"
        raise InputError(f"{fault}: tokenizer_config.json: unk_token: found {unknown!r}, {told}")


def _explain(error: Exception, source: str, *, offline: bool) -> str:
    """Why something cannot be loaded, in one line that names the file if one is known."""
    if offline and isinstance(error, OSError):
        return (
            f"{constants.ENDPOINT} cannot be reached and the files are not all in this machine's"
            f" cache ({constants.HF_HUB_CACHE}): expected a connection, or a folder"
        )
    try:
        names = (*_MAY_NAME_CODE, "tokenizer.json")
        contents = {name: read_fields(source, name) or {} for name in names}
    except InputError as unreadable:
        return str(unreadable)
    reason = _first_line(error)
    if any(words in reason for words in ("custom code", "does not recognize", "model_type")):
        for name, fields in contents.items():
            if fields.get(_CODE):
                return _own_code(f"{source}/{name}", fields, "model_type")
        if told := contents[CONFIG].get("model_type"):
            return (
                f"{source}/{CONFIG}: model_type: found {told!r}, expected a type that transformers"
                f" {transformers.__version__} knows"
            )
    if "backend tokenizer" in reason and not contents["tokenizer.json"]:
        return f"{source}/tokenizer.json: missing"
    return next(filter(None, map(weights_fault, weight_files(Path(source)))), reason)


def _refuse_harmful_weights(folder: Path, fault: str) -> None:
    """Refuse pickled weights that torch could not open, or that could end the process."""
    files = weight_files(folder)
    if not all(path.suffix == ".bin" for path in files):
        return  # they are not opened
    if told := next(filter(None, map(weights_fault, files)), None):
        raise InputError(f"{fault}: {told}")


def _own_code(path: str, fields: Mapping[str, Any], key: str) -> str:
    told = f"{key} {fields[key]!r} and " if key in fields else ""
    return (
        f"{path}: {_CODE}: found {told}code of the model's own, which never runs here; expected a"
        f" model that transformers {transformers.__version__} knows itself"
    )


def _check_sizes(
    kind: Any, folder: Path, fault: str, config: PreTrainedConfig | None = None
) -> None:
    """Refuse a configuration that asks for far more than the weights beside it are.

    A number too many in it would otherwise end the process for want of memory. The model is built
    on the meta device to count its weights, which takes no memory.
    """
    path = folder / CONFIG
    fields = read_fields(folder, CONFIG)
    if fields is None:
        return  # loading says what is missing
    values = dict(_values(fields))
    numbers = {place: value for place, value in values.items() if type(value) is int}
    for place, value in numbers.items():
        is_count = _COUNTS.fullmatch(re.sub(r"\.\d+$", "", place).rpartition(".")[2])
        most = _MOST_MODULES if is_count else _LARGEST
        if abs(value) > most and not place.endswith(("_length", "theta")):
            raise InputError(f"{path}: {place}: found {value}, expected at most {most}")
    for place, value in values.items():
        if isinstance(value, float) and "dropout" in place and not 0 <= value <= 1:
            raise InputError(f"{path}: {place}: found {value}, expected a number from 0 to 1")
    held = sum(file.stat().st_size for file in weight_files(folder))
    if not held:
        return
    if config is None:
        config = load(AutoConfig, folder, fault)
    place, largest = max(numbers.items(), key=lambda item: item[1], default=("none", 0))
    hint = f"; its largest number is {place}: {largest}"
    try:
        with torch.device("meta"):
            model = build(kind, config) if hasattr(kind, "from_config") else kind(config)
            asked = sum(weight.numel() for weight in model.state_dict().values())
    except Exception as error:  # of values that do not go together, any
        reason = _first_line(error)
        reason += hint if "overflow" in reason else ""
        raise InputError(f"{path}: no model can be built from it: {reason}") from error
    # Four weights a byte: more than any format packs.
    if asked > 4 * held + 10**7:
        raise InputError(
            f"{path}: asks for {asked:,} weights, but its files hold {held:,} bytes of them{hint}"
        )


def _values(fields: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Single values in a configuration, with the place of each: `language_model.d_model`."""
    if isinstance(fields, list):
        fields = dict(enumerate(fields))
    if not isinstance(fields, dict):
        yield place, fields
        return
    for key, value in fields.items():
        yield from _values(value, f"{place}.{key}" if place else str(key))


def _refuse_no_numbers(model: nn.Module, others: Container[str], fault: str) -> None:
    """Refuse weights that are NaN or infinite, but `others`, which are not from its files.

    A sum over each weight shows one, at 0.1 seconds a GB.
    """
    for name, weight in model.state_dict().items():
        if name in others or not weight.is_floating_point() or weight.is_meta:
            continue
        if not torch.isfinite(weight.sum()) and not torch.isfinite(weight).all():
            raise InputError(
                f"{fault}: the weight {name} has values that are NaN or infinite: the training that"
                " made it diverged, or the file is damaged"
            )


def _first_line(error: BaseException) -> str:
    told = " ".join((str(error) or type(error).__name__).split())
    return told.partition(" Should contain one of ")[0][:300]
