"""YAML without what is read in another way than it looks, or costs more than it seems to.

Refused are keys that stand twice, aliases that grow or hold themselves, what is nested too deep,
and whole numbers that YAML 1.1 reads in base 8 or 60. Numbers as 1e-3 are numbers, as in YAML 1.2.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

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
