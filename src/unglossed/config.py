"""YAML files to frozen, checked settings, with `key=value` overrides and exact error paths."""

from __future__ import annotations

import re
import reprlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from unglossed.errors import InputError, InputErrors, Mistakes
from unglossed.files import write_text

MOST_LEVELS = 50
MOST_NODES = 100_000
"""Keys and values, of which those behind an alias count at each place where it stands."""


class YamlError(ValueError):
    """The message says in one line what is wrong."""


def parse_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        YamlError: it is no YAML, or something in it is refused, see above.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise YamlError(f"is not YAML: {' '.join(str(error).split())}") from None
    except YamlError:
        raise
    except ValueError as error:  # of numbers and dates that only look like such
        raise YamlError(f"is not YAML: {' '.join(str(error).split())[:200]}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's, with a bound on how deep it goes."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node and all below it."""
        self.depth += 1
        if self.depth > MOST_LEVELS:
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise YamlError(f"line {line}: nested deeper than {MOST_LEVELS} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _check(node: Node, sizes: dict[int, int]) -> int:
    """Refuse what does not do; gives the number of nodes, aliases written out.

    Args:
        node: with all below it.
        sizes: of nodes that are known; 0 is one that is being counted.
    """
    known = sizes.get(id(node))
    if known == 0:
        raise YamlError(f"line {_line(node)}: an alias stands within what it stands for")
    if known is not None:
        return known
    sizes[id(node)] = 0
    below: list[Node] = []
    if isinstance(node, SequenceNode):
        below = node.value
    elif isinstance(node, MappingNode):
        below = [each for pair in node.value for each in pair]
        _refuse_twice(node)
    elif isinstance(node, ScalarNode):
        _refuse_odd_number(node)
    size = 1 + sum(_check(each, sizes) for each in below)
    if size > MOST_NODES:
        raise YamlError(
            f"line {_line(node)}: found more than {MOST_NODES:,} keys and values, with aliases"
            " written out"
        )
    sizes[id(node)] = size
    return size


def _refuse_twice(node: MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            continue
        name = (key.tag, key.value)
        if name in lines:
            first, again = lines[name], _line(key)
            where = f"line {again}" if first == again else f"the lines {first} and {again}"
            raise YamlError(f"the key {key.value!r} stands twice, in {where}, expected it once")
        lines[name] = _line(key)


def _refuse_odd_number(node: ScalarNode) -> None:
    value = node.value.lstrip("+-").replace("_", "")
    is_octal = node.tag.endswith(":int") and value.isdigit() and value[0] == "0" and len(value) > 1
    if is_octal or (":" in value and node.tag.endswith((":int", ":float"))):
        base = 8 if is_octal else 60
        raise YamlError(
            f"line {_line(node)}: found {node.value}, which YAML reads in base {base}: write the"
            " number in base 10, or a text in quotes"
        )


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused, fields described by what follows.

    A value is of its field's type: `yes` is no number, "3" is a text, and numbers are finite.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        strict=True,
        allow_inf_nan=False,
    )


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Of an integer: it may be written as 1e6. Comes last, so that bounds stay in the JSON schema."""
AS_LIST = Field(strict=False)
"""Of a tuple: YAML has lists alone."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
SettingsType = TypeVar("SettingsType", bound=Settings)


def read_settings(
    kind: type[SettingsType], path: Path, overrides: Sequence[str] = ()
) -> SettingsType:
    """Read a YAML file as `kind`.

    Args:
        kind: the settings class to build.
        path: the YAML file.
        overrides: see `override`.

    Raises:
        InputError: no such file, no YAML, a key that does not exist, a value of the wrong kind.
    """
    data = read_yaml(path)
    override(data, overrides)
    return check_settings(kind, data, path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds keys with values.

    Raises:
        InputError: no such file, no YAML, or something else than keys.
    """
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except YamlError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected keys with values, found {type(data).__name__}")
    return data


def override(data: dict[str, Any], items: Sequence[str]) -> None:
    """Change values of a YAML file's content, in place.

    Args:
        data: the content.
        items: `key.path=value`; a list's item is named by its number from 0 or by the `name` it
            holds: `stages.visual_initialing.epochs=3`. Values are YAML.

    Raises:
        InputError: items have no such form or fit nowhere.
    """
    mistakes = Mistakes()
    for item in items:
        with mistakes.collected():
            _override(data, item)
    mistakes.tell()


def merge(base: Any, changes: Any) -> Any:
    """One content of a YAML file on top of another: what `changes` does not name stays.

    Keys are merged one by one. So are lists whose items all have a `name`: an item of `changes`
    changes the one of the same name, or else comes in after the item before it (the first: at the
    front). Anything else takes the place of what was there.
    """
    if isinstance(base, dict) and isinstance(changes, dict):
        merged = dict(base)
        for key, value in changes.items():
            merged[key] = merge(base[key], value) if key in base else value
        return merged
    if not (_are_named(base) and _are_named(changes)):
        return changes
    items, place = list(base), 0
    for change in changes:
        names = [item["name"] for item in items]
        if change["name"] in names:
            place = names.index(change["name"])
            items[place] = merge(items[place], change)
        else:
            items.insert(place, change)
        place += 1
    return items


def check_settings(kind: type[SettingsType], data: dict[str, Any], path: Path) -> SettingsType:
    """Make settings of a YAML file's content.

    Args:
        kind: the settings class to build.
        data: the content.
        path: the file, for errors.

    Raises:
        InputError: keys that do not exist, values of the wrong kind; all of them.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise InputErrors(_explain(error, data, kind), str(path)) from None


def write_settings(settings: Settings, path: Path) -> None:
    """Write settings as YAML, whole or not at all."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path, text)


def _are_named(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "name" in item for item in value)
    )


def _override(data: dict[str, Any], item: str) -> None:
    key, separator, text = item.partition("=")
    item = item if len(item) <= 100 else f"{item[:97]}..."
    if not separator:
        raise InputError(f"override {item!r}: expected key=value")
    try:
        value = parse_yaml(text)
    except YamlError as error:
        reason = str(error)
        if reason.startswith("is not YAML"):
            reason = f"{_SHORT.repr(text)} is not a YAML value"
        raise InputError(f"override {item!r}: {reason}") from None
    *parents, last = key.split(".")
    node: Any = data
    for name in parents:
        node = _child(node, name, item)
    if not isinstance(node, dict):
        raise InputError(f"override {item!r}: {'.'.join(parents)} holds no keys")
    node[last] = value


def _child(node: Any, name: str, item: str) -> Any:
    if isinstance(node, dict):
        if node.get(name) is None:
            node[name] = {}
        return node[name]
    if isinstance(node, list):
        names = [entry.get("name") for entry in node if isinstance(entry, dict)]
        if name in names:
            return node[names.index(name)]
        if name.isdigit() and int(name) < len(node):
            return node[int(name)]
        raise InputError(f"override {item!r}: found {name!r}, expected one of {names}")
    raise InputError(f"override {item!r}: nothing lies under {name!r}")


def _explain(error: ValidationError, data: dict[str, Any], kind: type[BaseModel]) -> Sequence[str]:
    """Each fault in one line: where, what was found, what was expected."""
    faults = error.errors()
    # Where items of a list are wrong, the list itself seems to be too short as well.
    within = [fault["loc"] for fault in faults]
    own = [
        fault
        for fault in faults
        if not any(
            loc != fault["loc"] and loc[: len(fault["loc"])] == fault["loc"] for loc in within
        )
    ]
    told: dict[str, str] = {}
    for fault in own:  # of the types that a field may have, the first is told of
        where = ".".join(_readable(fault["loc"], data))
        told.setdefault(where, _explain_one(fault, data, kind))
    return [
        text
        for where, text in told.items()
        if "." not in where or where.rpartition(".")[0] not in told
    ]


def _explain_one(fault: Any, data: dict[str, Any], kind: type[BaseModel]) -> str:
    location = fault["loc"]
    is_key = location[-1:] == ("[key]",)
    where = ".".join(_readable(location[: -1 if is_key else None], data))
    found, reason = _SHORT.repr(fault["input"]), fault["msg"]
    if is_key and fault["type"] == "literal_error":
        return f"{where}: no such key, expected {fault['ctx']['expected']}"
    if fault["type"] == "extra_forbidden":
        name, known = str(location[-1]), _keys_of(kind)
        if name in known:
            return f"{where}: no such key, did you mean {known[name]}?"
        return f"{where}: no such key{suggest(name, known)}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    if fault["type"] == "value_error":  # of a validator: it says itself what it found
        told = str(fault["ctx"]["error"])
        return f"{where}{told}" if told.startswith(".") or not where else f"{where}: {told}"
    if fault["type"] == "less_than_equal":
        most = f"{fault['ctx']['le']:,}"
        return f"{where}: found {found}, expected at most {most}: more is taken for a slip"
    if isinstance(fault["input"], bool):
        found += " (YAML reads yes, no, on and off as true and false)"
    elif isinstance(fault["input"], str) and fault["type"] in ("int_type", "float_type"):
        found += " (a text)"
    return f"{where}: found {found}: {reason}"


def suggest(name: str, known: Iterable[str]) -> str:
    """The rest of a message about an unknown name: those that look like it, if any do."""
    near = get_close_matches(name, known, n=2)
    return f", did you mean {' or '.join(near)}?" if near else ""


def _keys_of(kind: type[BaseModel]) -> dict[str, str]:
    """Keys of settings and of all settings within them, each with where it stands at first."""
    schema = kind.model_json_schema()
    defined = schema.get("$defs", {})
    found: dict[str, str] = {}
    parts, seen = deque([("", schema)]), set()
    while parts:
        where, part = parts.popleft()
        for key, field in part.get("properties", {}).items():
            found.setdefault(key, where + key)
            for name, of_list in _parts_of(field):
                if name not in seen:
                    seen.add(name)
                    parts.append((f"{where}{key}.{'NAME.' if of_list else ''}", defined[name]))
    return found


def _parts_of(field: Any, of_list: bool = False) -> Iterator[tuple[str, bool]]:
    """The settings that a field of a JSON schema refers to, and whether they stand in a list."""
    if isinstance(field, list):
        for one in field:
            yield from _parts_of(one, of_list)
    elif isinstance(field, dict):
        for key, value in field.items():
            if key == "$ref":
                yield value.rpartition("/")[2], of_list
            elif key in ("anyOf", "oneOf", "allOf", "items", "prefixItems"):
                yield from _parts_of(value, of_list or key.lower().endswith("items"))


def _readable(location: tuple[int | str, ...], data: Any) -> list[str]:
    parts = []
    for step in location:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            data = None
        if data is None and "[" in str(step):  # which of a field's types was tried
            continue
        named = isinstance(step, int) and isinstance(data, dict) and "name" in data
        parts.append(str(data["name"]) if named else str(step))
    return parts
