"""Reads YAML from its events: nothing is constructed, so tags run nothing, and recursion, aliases and depth are ours to bound.

An alias is read as what it stands for. A merge (`<<`) is read as a setting of that name. Values are read by YAML 1.1, as most
programs do; a scalar with a tag of its own (`!vault`) is shown as a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from headgated.core.formats.node import Documents, Node, Scalar, UnclearError, json_text

try:
    from yaml import CSafeLoader as _Loader

    _CHARACTERS = 1024 * 1024
except ImportError:  # PyYAML was built without libyaml, and is some twenty times slower.
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

    _CHARACTERS = 64 * 1024

_EVENTS = 200_000
_DEPTH = 100
_LONGEST_NUMBER = 1000
_RESOLVER = yaml.resolver.Resolver()
_TAG = "tag:yaml.org,2002:"
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")
_BOOLEANS = {"yes": "true", "true": "true", "on": "true", "no": "false", "false": "false", "off": "false"}


def read_yaml(text: str) -> Documents:
    """Return every document of a YAML file.

    Raises:
        UnclearError: it is none, has a key twice or one that is no scalar, is too long or nested too deep.
    """
    if len(text) > _CHARACTERS:
        raise UnclearError(f"longer than {_CHARACTERS} characters")
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.YAMLError as error:
        raise UnclearError(str(error)[:200]) from error
    return builder.documents


def _events(text: str) -> Iterator[yaml.Event]:
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if count > _EVENTS:
            raise UnclearError("too much in one file")
        yield event


@dataclass(slots=True)
class _Open:
    """A mapping or list that has begun and not ended."""

    mapping: dict[str, Node] | None
    items: list[Node]
    key: str | None = None

    @property
    def wants_key(self) -> bool:
        return self.mapping is not None and self.key is None


class _Builder:
    """Puts nodes together without recursion."""

    def __init__(self) -> None:
        self.documents: Documents = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise UnclearError(f"alias of nothing: {event.anchor:.80}")
            self._add(self._anchors[event.anchor])
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        node = _scalar(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if self._open and self._open[-1].wants_key:
            self._open[-1].key = event.value
        else:
            self._add(node)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) >= _DEPTH:
            raise UnclearError("nested too deep")
        opened = _Open({} if isinstance(event, yaml.MappingStartEvent) else None, [])
        node: Node = opened.items if opened.mapping is None else opened.mapping
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._add(node)
        self._open.append(opened)

    def _add(self, node: Node) -> None:
        if not self._open:
            self.documents.append(node)
            return
        top = self._open[-1]
        if top.mapping is None:
            top.items.append(node)
            return
        if top.key is None:
            raise UnclearError("a key is no scalar")
        if top.key in top.mapping:
            raise UnclearError(f"a key is given twice: {top.key:.80}")
        top.mapping[top.key], top.key = node, None


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    value: str = event.value
    tag = event.tag
    if tag == "!" or (tag is None and len(value) > _LONGEST_NUMBER):
        return Scalar(json_text(value))
    if tag is None:
        tag = _RESOLVER.resolve(yaml.ScalarNode, value, event.implicit)  # type: ignore[no-untyped-call]
    kind = str(tag).removeprefix(_TAG)
    if kind == "str":
        return Scalar(json_text(value))
    if kind == "null":
        return Scalar("null")
    if kind == "bool" and value.lower() in _BOOLEANS:
        return Scalar(_BOOLEANS[value.lower()])
    if kind in ("int", "float") and _JSON_NUMBER.fullmatch(value):
        return Scalar(value)
    return Scalar(json_text(value), kind)
