"""YAML files to frozen, checked settings, with `key=value` overrides and exact error paths."""

from __future__ import annotations

import re
import reprlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from yaml.nodes import MappingNode, Node, ScalarNode

from unglossed.errors import InputError, InputErrors, Mistakes
from unglossed.files import write_text

MOST = {
    "beams": (256, "every beam is a row of the model's batch"),
    "n_best": (256, "every text is a beam or a draw of its own"),
    "batch_size": (4096, "the clips of a batch are in memory together"),
    "read_ahead": (65536, "the features of so many clips are in memory together"),
    "max_new_tokens": (16384, "no language model has positions for more"),
    "trials": (1_000_000, "no more digits of a p value are of use"),
}
"""The largest value of each, and why."""

MOST_LEVELS = 50
MOST_NODES = 100_000
"""Keys and values; those behind an alias count wherever it stands."""


class YamlError(ValueError):
    """The message says in one line what is wrong."""


def parse_yaml(text: str) -> Any:
    """The content of a YAML text, without what YAML reads in another way than it looks.

    Raises:
        YamlError: The text is not YAML, is nested too deeply or too large with its aliases written
            out, has a key twice, or a number that YAML does not read in base 10.
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
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what only looks like a number
        raise YamlError(f"is not YAML: {' '.join(str(error).split())[:400]}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with bounded depth, which reads 1e-3 as a number."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
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
    """Refuse what is not safe or not clear; return the number of nodes, aliases written out.

    Args:
        node: With all below it.
        sizes: Sizes of the nodes seen so far, by id; 0 while a node is being counted.
    """
    line = node.start_mark.line + 1
    known = sizes.get(id(node))
    if known == 0:
        raise YamlError(f"line {line}: an alias stands within what it stands for")
    if known is not None:
        return known
    sizes[id(node)] = 0
    if isinstance(node, ScalarNode):
        _refuse_odd_number(node, line)
        below: list[Node] = []
    elif isinstance(node, MappingNode):
        _refuse_twice(node)
        below = [each for pair in node.value for each in pair]
    else:
        below = node.value
    size = 1 + sum(_check(each, sizes) for each in below)
    if size > MOST_NODES:
        raise YamlError(
            f"line {line}: found more than {MOST_NODES:,} keys and values, with aliases written out"
        )
    sizes[id(node)] = size
    return size


def _refuse_twice(node: MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key in (key for key, _ in node.value if isinstance(key, ScalarNode)):
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            first = lines[name]
            where = f"line {line}" if first == line else f"the lines {first} and {line}"
            raise YamlError(f"the key {key.value!r} stands twice, in {where}, expected it once")
        lines[name] = line


def _refuse_odd_number(node: ScalarNode, line: int) -> None:
    value = node.value.lstrip("+-").replace("_", "")
    is_octal = node.tag.endswith(":int") and value.isdigit() and value[0] == "0" and len(value) > 1
    if is_octal or (":" in value and node.tag.endswith((":int", ":float"))):
        raise YamlError(
            f"line {line}: found {node.value}, which YAML reads in base {8 if is_octal else 60}:"
            " write the number in base 10, or a text in quotes"
        )


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused, fields described by what follows.

    A value has its field's type: `yes` is not a number, "3" is a text, and numbers are finite.
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
"""Of a tuple: YAML has lists only."""

Share = Annotated[float, Field(ge=0, le=1)]
# The bounds below are far beyond what anybody needs: what exceeds them would end in want of memory,
# hours later or with the whole process.
Count = Annotated[int, Field(gt=0, le=1_000_000), WHOLE]
Factor = Annotated[float, Field(gt=0, le=1e6)]
Weight = Annotated[float, Field(ge=0, le=1e6)]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
SettingsType = TypeVar("SettingsType", bound=Settings)


def read_settings(
    kind: type[SettingsType], path: Path, overrides: Sequence[str] = ()
) -> SettingsType:
    """Read a YAML file as settings, with `key.path=value` overrides (see `override`).

    Raises:
        InputError: No such file, not YAML, a key that does not exist, a value of the wrong type.
    """
    data = read_yaml(path)
    override(data, overrides)
    return check_settings(kind, data, path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds keys with values.

    Raises:
        InputError: No such file, not YAML, or something else than keys.
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


def check_settings(kind: type[SettingsType], data: dict[str, Any], path: Path) -> SettingsType:
    """Make settings of a YAML file's content; the path is for errors.

    Raises:
        InputError: Keys that do not exist and values of the wrong type, all of them.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise InputErrors(_explain(error, data, kind), str(path)) from None


def write_settings(settings: Settings, path: Path) -> None:
    """Write settings as YAML, whole or not at all."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path, text)


def merge(base: Any, changes: Any) -> Any:
    """Put one content of a YAML file on top of another: what `changes` does not name stays.

    Keys are merged one by one. So are lists whose items all have a `name`: an item of `changes`
    changes the one of the same name, or else is inserted after the item before it (the first: at
    the front). Anything else replaces what was there.
    """
    if isinstance(base, dict) and isinstance(changes, dict):
        both = {key: merge(base[key], changes[key]) for key in changes if key in base}
        return base | changes | both
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


def _are_named(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "name" in item for item in value)
    )


def override(data: dict[str, Any], items: Sequence[str]) -> None:
    """Change values of a YAML file's content, in place.

    Args:
        data: The content.
        items: `key.path=value`; a list's item is named by its number from 0 or by the `name` it
            holds: `stages.visual_initialing.epochs=3`. Values are YAML.

    Raises:
        InputError: Items have no such form or fit nowhere.
    """
    mistakes = Mistakes()
    for item in items:
        with mistakes.collected():
            _override(data, item)
    mistakes.tell()


def _override(data: dict[str, Any], item: str) -> None:
    key, separator, text = item.partition("=")
    told = f"override {item if len(item) <= 100 else item[:97] + '...'!r}"
    if not separator:
        raise InputError(f"{told}: expected key=value")
    try:
        value = parse_yaml(text)
    except YamlError as error:
        reason = str(error)
        if reason.startswith("is not YAML"):
            reason = f"{_SHORT.repr(text)} is not a YAML value"
        raise InputError(f"{told}: {reason}") from None
    *parents, last = key.split(".")
    node: Any = data
    for name in parents:
        node = _child(node, name, told)
    if not isinstance(node, dict):
        raise InputError(f"{told}: {'.'.join(parents)} holds no keys")
    node[last] = value


def _child(node: Any, name: str, told: str) -> Any:
    if isinstance(node, dict):
        if node.get(name) is None:
            node[name] = {}
        return node[name]
    if not isinstance(node, list):
        raise InputError(f"{told}: nothing lies under {name!r}")
    names = [entry.get("name") for entry in node if isinstance(entry, dict)]
    if name in names:
        return node[names.index(name)]
    if name.isdigit() and int(name) < len(node):
        return node[int(name)]
    raise InputError(f"{told}: found {name!r}, expected one of {names}")


def _explain(error: ValidationError, data: dict[str, Any], kind: type[BaseModel]) -> Sequence[str]:
    """Each fault in one line: where, what was found, what was expected."""
    faults = error.errors()
    places = [fault["loc"] for fault in faults]
    told: dict[str, str] = {}
    for fault in faults:
        place = fault["loc"]
        # Where items of a list are wrong, the list itself seems to be too short as well.
        if not any(len(one) > len(place) and one[: len(place)] == place for one in places):
            # Of the types that a field may have, the first is the one to explain.
            where = ".".join(_readable(place, data))
            told.setdefault(where, _explain_one(fault, data, kind))
    return [
        text
        for where, text in told.items()
        if "." not in where or where.rpartition(".")[0] not in told
    ]


def _explain_one(fault: Any, data: dict[str, Any], kind: type[BaseModel]) -> str:
    location, type_, context = fault["loc"], fault["type"], fault.get("ctx", {})
    is_key = location[-1:] == ("[key]",)
    where = ".".join(_readable(location[: -1 if is_key else None], data))
    if is_key and type_ == "literal_error":
        return f"{where}: no such key, expected {context['expected']}"
    if type_ == "extra_forbidden":
        name, known = str(location[-1]), _keys_of(kind)
        hint = f", did you mean {known[name]}?" if name in known else suggest(name, known)
        return f"{where}: no such key{hint}"
    if type_ == "missing":
        return f"{where}: is missing"
    if type_ == "value_error":  # of a validator: it says itself what it found
        text = str(context["error"])
        return f"{where}{text}" if text.startswith(".") or not where else f"{where}: {text}"
    found = f"{where}: found {_SHORT.repr(fault['input'])}"
    if type_ == "less_than_equal":
        return f"{found}, expected at most {context['le']:,}: more is taken for a slip"
    if isinstance(fault["input"], bool):
        found += " (YAML reads yes, no, on and off as true and false)"
    elif isinstance(fault["input"], str) and type_ in ("int_type", "float_type"):
        found += " (a text)"
    return f"{found}: {fault['msg']}"


def suggest(name: str, known: Iterable[str]) -> str:
    """The rest of a message about an unknown name: those that look like it, if any do."""
    near = get_close_matches(name, known, n=2)
    return f", did you mean {' or '.join(near)}?" if near else ""


def _keys_of(kind: type[BaseModel]) -> dict[str, str]:
    """Keys of settings and of all settings within them, each with its first place."""
    found: dict[str, str] = {}
    parts, seen = deque([("", kind)]), {kind}
    while parts:
        where, part = parts.popleft()
        for key, field in part.model_fields.items():
            found.setdefault(key, where + key)
            for inner, in_list in _settings_in(field.annotation):
                if inner not in seen:
                    seen.add(inner)
                    parts.append((f"{where}{key}.{'NAME.' if in_list else ''}", inner))
    return found


def _settings_in(type_: Any, in_list: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """The settings classes that a field's type refers to, and whether they stand in a list."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        yield type_, in_list
    elif (origin := get_origin(type_)) is not dict:
        for part in get_args(type_):
            yield from _settings_in(part, in_list or origin in (list, tuple))


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


class DecodingSettings(Settings):
    """How a text is searched for (FLa-LLM: 5 beams, 150 tokens; LST: 4 beams, 500 tokens)."""

    beams: Annotated[int, Field(ge=1, le=MOST["beams"][0])] = 5
    """Width of the beam search; 1 is greedy. No effect when texts are drawn."""
    max_new_tokens: Annotated[int, Field(ge=1, le=MOST["max_new_tokens"][0])] = 150
    """Longest text, in tokens."""
    length_penalty: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Beams are ranked by log-probability / length ** this: above 1 favours longer texts. No
    effect without beams."""
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=64)] = 0
    """No run of so many tokens stands twice in a text; 0: any may."""
    choice: Literal["best", "minimum_risk", "contrast"] = "best"
    """Which of the texts that were found is the translation: the one that the search ranks best;
    the one that the others agree with most, by chrF (minimum risk); or the one that resembles the
    clip most, by the alignment that was trained beside the translation (`alignment` of a stage)."""
    language_contrast: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Strength of language-contrastive decoding (LCD, arXiv 2408.04664); 0 is off."""
    sample: bool = False
    """Draw each token from the model's distribution instead of searching for the best text."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The log-probabilities are divided by this before a token is drawn."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the likeliest tokens alone, as few as have this probability together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the draws."""
    to: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] | None = None
    """Code of the language to write, of those that the model has; None: its first. Scores on dev
    ask for each text's own."""

    @model_validator(mode="after")
    def _for_drawing(self) -> DecodingSettings:
        for name in ("temperature", "top_p"):
            if getattr(self, name) != 1 and not self.sample:
                raise ValueError(f"{name} is for drawing texts: set sample as well")
        return self

    @model_validator(mode="after")
    def _among_several(self) -> DecodingSettings:
        if self.choice != "best" and self.beams == 1 and not self.sample:
            raise ValueError(f"choice {self.choice} is among several texts: found 1 beam")
        return self

    def change(self, **fields: Any) -> DecodingSettings:
        """These settings with other values for some fields.

        Raises:
            InputError: no such field, or a value out of range.
        """
        return check_settings(DecodingSettings, {**self.model_dump(), **fields}, Path("decoding"))


def check_count(name: str, value: object, told: str | None = None) -> None:
    """Refuse what is no whole number from 1 to the largest of its name.

    Args:
        name: key of `MOST`.
        value: what was given.
        told: how the message calls it; its name if not given.

    Raises:
        InputError: it is no such number.
    """
    most, why = MOST[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{told or name}: found {value!r}, expected a whole number from 1 on")
    if value > most:
        raise InputError(f"{told or name}: found {value}, expected at most {most}: {why}")


class FieldError(InputError):
    """A field is wrong: `NAME: REASON`; blocks of `field` around it put theirs in front.

    Args:
        name: the field, perhaps with keys within it: `config.dropout`.
        reason: what was found and expected.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name}: {reason}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, ...]]:
        return FieldError, (self.name, self.reason)


@contextmanager
def field(name: str) -> Iterator[None]:
    """Put a field in front of the InputErrors of a block: `stages.x.encoder.source: no such ...`.

    Blocks within one another join their names by dots.
    """
    try:
        yield
    except FieldError as error:
        raise FieldError(f"{name}.{error.name}", error.reason) from error.__cause__
    except InputErrors:
        raise
    except InputError as error:
        raise FieldError(name, str(error)) from error.__cause__
