"""The page of all keys of a recipe, `docs/recipe-keys.md`, made of the settings themselves.

Written by `python -m docs.recipe_keys > docs/recipe-keys.md`.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from unglossed.config import Settings
from unglossed.training.recipe import GeneratedText, Recipe

_HEAD = """\
# The keys of a recipe

All keys that a recipe can have, made of the settings in the code by
`python -m docs.recipe_keys`. On the command line they are set as `key=value`, a stage
being named by its `name`: `stages.visual_initialing.epochs=3 video.crop=112`. Any other key is an
error.

Two keys are of the file and not of the settings: `base`, the recipe that this one starts from, and
of a stage `skip: true`, which leaves it out. What stands under `config` of a part is read by that
part: [`VisualEncoder`](../src/unglossed/models/visual.py),
[`SpeechEncoder`](../src/unglossed/models/speech.py),
[adapters](../src/unglossed/models/adapter.py), [`LightT`](../src/unglossed/models/light_t.py), or
the configuration of a language model of transformers.
"""
_TABLE = "| key | value | when not given | meaning |\n|---|---|---|---|\n"
_NONE = re.compile(r"\bNone\b")
_LIST = "stages"
_ITEM = "stages.NAME"


def render_page() -> str:
    """The page, in Markdown."""
    return _HEAD + "".join(_sections(Recipe, ""))


def list_keys(kind: type[Settings] = Recipe, within: str = "") -> Iterator[str]:
    """The names of all keys of settings, joined by dots; a stage is `stages.NAME`.

    Args:
        kind: the settings.
        within: the key that they stand under; empty: none.
    """
    for name, field in kind.model_fields.items():
        key = _join(within, name)
        inner = _inner(field)
        yield key
        if inner is not None:
            yield from list_keys(inner, _ITEM if key == _LIST else key)


def _sections(kind: type[Settings], within: str) -> Iterator[str]:
    """A heading and a table for settings, then for those within them."""
    title = f"`{within}`" if within else "The recipe"
    about = inspect.cleandoc(kind.__doc__ or "").replace("\n\n", "\n")
    yield f"\n## {title}\n\n{about}\n\n{_TABLE}"
    properties = kind.model_json_schema()["properties"]
    nested: list[tuple[type[Settings], str]] = []
    for name, field in kind.model_fields.items():
        inner = _inner(field)
        if inner is None:
            value, meaning = _value(properties[name]), field.description or ""
        else:
            key = _join(within, name)
            key = _ITEM if key == _LIST else key
            nested.append((inner, key))
            value = "keys, or null" if type(None) in get_args(field.annotation) else "keys"
            value = "a list of keys" if key == _ITEM else value
            meaning = " ".join([field.description or "", f"See `{key}`."]).strip()
        cells = (
            f"`{name}`",
            value,
            _default(field, inner),
            _NONE.sub("`null`", " ".join(meaning.split())),
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
    for inner, key in nested:
        yield from _sections(inner, key)


def _join(within: str, name: str) -> str:
    return f"{within}.{name}" if within else name


def _inner(field: FieldInfo) -> type[Settings] | None:
    """The settings that a field holds, or a list of; those that recipes had before do not count."""
    waiting: list[Any] = [] if GeneratedText in _kinds(field.annotation) else [field.annotation]
    while waiting:
        found = waiting.pop()
        if isinstance(found, type) and issubclass(found, Settings):
            return found
        waiting += get_args(found)
    return None


def _kinds(annotation: Any) -> Iterator[Any]:
    """A type and all types within it."""
    yield annotation
    for inner in get_args(annotation):
        yield from _kinds(inner)


def _default(field: FieldInfo, inner: type[Settings] | None) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if inner is not None:
        return "`null`" if value is None else "its defaults"
    return f"`{json.dumps(value)}`"


def _value(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(_value(part) for part in schema["anyOf"])
    if "oneOf" in schema:
        return _value(schema["oneOf"][0])
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "")
    if kind == "array":
        items = schema.get("items") or schema["prefixItems"][0]
        return f"list of {_value(items)}"
    if kind == "object":
        names = schema.get("propertyNames")
        return f"keys ({_value(names)}) with values" if names else "keys with values"
    words = {"boolean": "true or false", "number": "number", "integer": "integer"}
    limits = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
    }
    said = [f"{word} {schema[limit]:,.12g}" for limit, word in limits.items() if limit in schema]
    return " ".join([words.get(kind, "text" if kind == "string" else str(kind)), *said])


if __name__ == "__main__":
    print(render_page(), end="")
