"""Reads XML as settings: elements and attributes by name; what repeats is a list.

Namespaces are taken as they are written. A document type is refused: what its entities mean depends on who reads it. Comments, processing
instructions and white space around an element's text do not count.
"""

from __future__ import annotations

from xml.parsers import expat

from headgated.core.formats.node import Documents, Node, UnclearError

_DEPTH = 100
_ELEMENTS = 100_000
_TEXT = "#text"
_ATTRIBUTE = "@"


def read_xml(text: str) -> Documents:
    """Return the one document of an XML file, by its root's name. An element with neither attributes nor children is its text.

    Raises:
        UnclearError: it is none, has a document type, or is too large or too deep.
    """
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.begin
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.take
    parser.StartDoctypeDeclHandler = builder.refuse_document_type
    try:
        parser.Parse(text.encode(), True)  # noqa: FBT003 - the library's own signature
    except expat.ExpatError as error:
        raise UnclearError(str(error)[:200]) from error
    return [builder.root]


class _Element:
    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.parts: dict[str, Node] = {_ATTRIBUTE + key: value for key, value in attributes.items()}
        self.repeated: dict[str, list[Node]] = {}
        self.text: list[str] = []

    def add(self, name: str, node: Node) -> None:
        if name in self.repeated:
            self.repeated[name].append(node)
        elif name in self.parts:
            self.repeated[name] = [self.parts[name], node]
            self.parts[name] = self.repeated[name]
        else:
            self.parts[name] = node

    def node(self) -> Node:
        text = "".join(self.text).strip()
        if not self.parts:
            return text
        return self.parts | {_TEXT: text} if text else self.parts


class _Builder:
    def __init__(self) -> None:
        self.root: dict[str, Node] = {}
        self._open: list[_Element] = []
        self._count = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= _DEPTH or self._count > _ELEMENTS:
            raise UnclearError("too much in one file, or nested too deep")
        self._open.append(_Element(name, attributes))

    def end(self, _name: str) -> None:
        element = self._open.pop()
        if self._open:
            self._open[-1].add(element.name, element.node())
        else:
            self.root = {element.name: element.node()}

    def take(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)

    def refuse_document_type(self, *_told: object) -> None:
        raise UnclearError("has a document type")
