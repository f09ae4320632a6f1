"""Where the two streams of an encoder come from: each is new, or of a model that is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unglossed.config import FieldError, field, suggest
from unglossed.errors import InputError
from unglossed.media.two_streams import STREAMS
from unglossed.training.sources import load_trained

SOURCE = "source"
"""Key of a stream that is the encoder of a trained model."""


def plan_streams(
    config: Mapping[str, Any], plan_new: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """The configuration of an encoder of two streams, complete.

    Args:
        config: the recipe's: `video` and `array`, each the configuration of an encoder, or with
            `source` alone, the folder of a run or model that has a trained one.
        plan_new: completes the configuration of a new encoder.

    Raises:
        InputError: names the key that is wrong.
    """
    for key in config:
        if key not in ("kind", *STREAMS):
            raise FieldError(key, f"no such key{suggest(key, STREAMS)}")
    found: dict[str, Any] = {"kind": config["kind"]}
    for name in STREAMS:
        with field(name):
            given = config.get(name)
            if not isinstance(given, dict) or not given:
                raise InputError(f"found {given!r}, expected the configuration of an encoder")
            if SOURCE not in given:
                found[name] = plan_new(given)
                continue
            if others := sorted(given.keys() - {SOURCE}):
                raise FieldError(others[0], f"no such key beside {SOURCE}, which tells all of it")
            with field(SOURCE):
                found[name] = _trained(given).config.encoder
    return found


def trained_streams(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names of the streams that come from trained models, and these models.

    Args:
        config: the recipe's, see `plan_streams`.
    """
    for name in STREAMS:
        if SOURCE in config[name]:
            with field(f"encoder.config.{name}.{SOURCE}"):
                yield name, _trained(config[name])


def _trained(given: Mapping[str, Any]) -> Any:
    source = given[SOURCE]
    if not isinstance(source, str) or "/" not in source:
        raise InputError(f"found {source!r}, expected the folder of a run or model, such as ./run")
    model: Any = load_trained(source)
    if getattr(model, "encoder", None) is None:
        raise InputError(f"{source} has no encoder")
    return model
