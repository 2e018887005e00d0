"""YAML's safe loader within limits: depth, values that aliases repeat, keys given twice, tags, numbers, characters."""

import math
from typing import Any, Final

import yaml

MAX_DEPTH: Final = 64  # of JSON too
TOO_DEEP: Final = f"nested more than {MAX_DEPTH} deep"
_MAX_NODES = 20_000  # of a document, with every alias written out
_TOO_MANY = f"more than {_MAX_NODES:,} values, with those that aliases repeat"
_SHOWN = 80  # characters of a value in a message


class BoundedLoader(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word, and a few aliases of aliases fill any memory."""

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return self.construct_document(node)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth, self._nodes = getattr(self, "_depth", 0) + 1, getattr(self, "_nodes", 0) + 1
        if self._depth > MAX_DEPTH:
            raise ValueError(TOO_DEEP)
        if self._nodes > _MAX_NODES:
            raise ValueError(_TOO_MANY)
        if tag := getattr(self.peek_event(), "tag", None):  # type: ignore[no-untyped-call]
            raise ValueError(f"the tag {str(tag)[:_SHOWN]!r}; plain values are expected")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"key {str(key)[:_SHOWN]!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        value: str = super().construct_yaml_str(node)
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("half a character (a lone surrogate)")
        return value

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > 80 or not -(1 << 63) <= (value := super().construct_yaml_int(node)) < 1 << 64:
            raise ValueError("a whole number of more than 64 bits")
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise ValueError(f"{node.value[:_SHOWN]} is no finite number")
        return value


BoundedLoader.add_constructor("tag:yaml.org,2002:str", BoundedLoader.construct_yaml_str)
BoundedLoader.add_constructor("tag:yaml.org,2002:int", BoundedLoader.construct_yaml_int)
BoundedLoader.add_constructor("tag:yaml.org,2002:float", BoundedLoader.construct_yaml_float)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes of a document, an aliased one as often as it is named.

    Raises:
        ValueError: more than a config has, or a node that holds itself.
    """
    count = known.get(id(node))
    if count is None:
        known[id(node)] = _MAX_NODES + 1  # until it is counted: whoever meets it inside itself finds it too large
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        count = 1
        for part in inner if isinstance(node, yaml.CollectionNode) else ():
            count += _count(part, known)
            if count > _MAX_NODES:
                break
        known[id(node)] = count
    if count > _MAX_NODES:
        raise ValueError(_TOO_MANY)
    return count
