"""XML of other programs, read without entities, with the place of each element in the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from emow2v.errors import FormatError

_DEEPEST = 32  # elements within elements; .eaf files have six


@dataclass(eq=False)
class Element:
    """An element.

    Attributes:
        text: all text directly within it
        begin: byte at which its first tag begins
        close: byte at which its last tag begins, or behind it where both are one tag (`<A/>`)
    """

    name: str
    attributes: dict[str, str]
    begin: int
    children: list[Element] = field(default_factory=list)
    text: str = ""
    close: int = 0

    def all(self, name: str) -> list[Element]:
        """Its children of a name."""
        return [child for child in self.children if child.name == name]

    def first(self, name: str) -> Element | None:
        """Its first child of a name."""
        return next(iter(self.all(name)), None)

    def required(self, name: str) -> str:
        """An attribute.

        Raises:
            FormatError: there is none of that name
        """
        if name not in self.attributes:
            raise FormatError(f"an element {self.name} has no {name}; expected one; save the file again in its program")
        return self.attributes[name]


def parse(content: bytes, root: str) -> Element:
    """The elements of a file.

    Args:
        root: name of the outermost element

    Raises:
        FormatError: no XML, another root, a file that is cut off, a DOCTYPE (whose entities may grow without end or read
            other files), or elements within elements without end
    """
    parser = expat.ParserCreate()
    parser.buffer_text, parser.buffer_size = True, 1 << 20
    stack = [Element("", {}, 0)]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > _DEEPEST:
            raise FormatError(f"its elements lie more than {_DEEPEST} deep; expected <{root}>; choose another file")
        element = Element(name, attributes, parser.CurrentByteIndex)
        stack[-1].children.append(element)
        stack.append(element)

    def end(name: str) -> None:
        stack.pop().close = parser.CurrentByteIndex

    def text(value: str) -> None:
        stack[-1].text += value

    def doctype(*_: object) -> None:
        raise FormatError(f"it holds a DOCTYPE; expected <{root}> alone; remove the DOCTYPE")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, UnicodeError, ValueError) as error:  # LookupError: the encoding is unknown
        if isinstance(error, expat.ExpatError) and error.code in _CUT_OFF:
            raise FormatError(
                f"it is cut off; expected <{root}> to its end; save the file again in its program"
            ) from None
        raise FormatError(f"it is no XML ({error}); expected <{root}>; save the file again in its program") from None
    (element,) = stack[0].children
    if element.name != root:
        raise FormatError(f"it holds <{element.name[:40]}>; expected <{root}>; choose another file")
    return element


_CUT_OFF = {
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
}
