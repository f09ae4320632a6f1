"""Writes the pages of this folder that are made of the code: python docs/reference/make.py.

`recipe-keys.md` comes from the settings, `command-line.md` from the commands.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from pydantic.fields import FieldInfo

from unglossed.cli import app
from unglossed.config import Settings
from unglossed.training.recipe import Recipe

FOLDER = Path(__file__).parent

_KEYS_HEAD = """\
# Recipe keys

All keys of a recipe, made from the settings in the code by `python docs/reference/make.py`. Set
them on the command line as `key=value`; name a stage by its `name`:
`stages.visual_initialing.epochs=3 video.crop=112`. Any other key is an error.

Two more keys are not in the tables: `base`, the recipe that this one starts from, in the file
alone; and `skip: true` in a stage, which leaves that stage out, on the command line as
`stages.NAME.skip=true`. The keys under `config` of a part belong to that part:
[`VisualEncoder`](../../src/unglossed/models/visual.py),
[`SpeechEncoder`](../../src/unglossed/models/speech.py),
[adapters](../../src/unglossed/models/adapter.py),
[`LightT`](../../src/unglossed/models/language_model.py), or the configuration of a language model
of transformers.
"""
_COMMANDS_HEAD = """\
# Command line

All commands and their options, made from the code by `python docs/reference/make.py`.
`unglossed COMMAND --help` prints the same.

Exit codes: 0 done; 1 a check found faults; 2 the input is wrong, and one line says what; 130, 143,
129 and 138 stopped by Ctrl-C, by `kill` (SIGTERM), because the terminal closed (SIGHUP) or by Slurm
(SIGUSR1). A stopped command cleans up and says in one line how to resume.
"""
_TABLE = "| key | value | when not given | meaning |\n|---|---|---|---|\n"
_NONE = re.compile(r"\bNone\b")
_TYPES = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
_LIST = "stages"
_ITEM = "stages.NAME"


def render_recipe_keys() -> str:
    """The page of all keys of a recipe, in Markdown."""
    return _KEYS_HEAD + "".join(_sections(Recipe, ""))


def render_command_line() -> str:
    """The page of all commands, in Markdown."""
    return _COMMANDS_HEAD + "".join(_commands(typer.main.get_command(app), "unglossed"))


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
        yield _row(*cells)
    for inner, key in nested:
        yield from _sections(inner, key)


def _commands(command: Any, name: str) -> Iterator[str]:
    """A section for each command below a group."""
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from _commands(inner, f"{name} {word}")
        return
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    options = [param for param in shown if param.param_type_name == "option"]
    words = [*(_argument(param) for param in arguments), "[OPTIONS]"]
    about = textwrap.dedent(command.help or "").strip()
    paragraphs = [textwrap.fill(part, 100) for part in about.split("\n\n")]
    yield f"\n## `{name}`\n\n```\n{name} {' '.join(words)}\n```\n\n"
    yield "\n\n".join(paragraphs) + "\n"
    if shown:
        yield "\n| | meaning | when not given |\n|---|---|---|\n"
    for param in arguments:
        yield _row(f"`{_argument(param)}`", _help(param), "")
    hints = get_type_hints(inspect.unwrap(command.callback))
    for param in options:
        names = ", ".join([*param.opts, *param.secondary_opts])
        yield _row(
            f"`{names}{_takes(param, hints[param.name])}`", _help(param), _given_default(param)
        )


def _argument(param: Any) -> str:
    name = (param.metavar or param.name.upper()).removesuffix("...").strip("[]")
    name += "..." if param.nargs == -1 else ""
    return name if param.required else f"[{name}]"


def _takes(param: Any, hint: Any) -> str:
    """What stands behind an option's name, as ` N` or ` a|b`; empty for a flag."""
    kinds = [kind for kind in _kinds(hint) if isinstance(kind, type) and not get_args(kind)]
    kind = next(kind for kind in kinds if kind is not type(None))
    if kind is bool:
        return ""
    if issubclass(kind, Enum):
        return " " + "|".join(str(one.value) for one in kind)
    return f" {param.metavar or _TYPES[kind]}"


def _help(param: Any) -> str:
    return " ".join((param.help or "").split())


def _given_default(param: Any) -> str:
    value = param.default.value if isinstance(param.default, Enum) else param.default
    if param.required:
        return "must be given"
    return "" if value is None or value is False or callable(value) else f"`{value}`"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _join(within: str, name: str) -> str:
    return f"{within}.{name}" if within else name


def _inner(field: FieldInfo) -> type[Settings] | None:
    """The settings that a field holds, or a list of; not where a plain text may stand instead."""
    waiting: list[Any] = [] if str in _kinds(field.annotation) else [field.annotation]
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
    if "$ref" in schema:
        return "keys"
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
    (FOLDER / "recipe-keys.md").write_text(render_recipe_keys(), encoding="utf-8")
    (FOLDER / "command-line.md").write_text(render_command_line(), encoding="utf-8")
