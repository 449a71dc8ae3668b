"""XML of other programs, read without entities, with the place of each element in the file, and changed there."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

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


class Edit:
    """Changes of a document, in its own encoding; all else stays as it is."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._changes: list[tuple[int, int, int, bytes]] = []  # begin, end, order, new
        if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            self._encoding = "utf-16-le" if content[:2] == codecs.BOM_UTF16_LE else "utf-16-be"
        else:
            declaration = re.match(rb"(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)", content)
            self._encoding = declaration[1].decode() if declaration else "utf-8"

    def _bytes(self, text: str) -> bytes:
        return text.encode(self._encoding, "xmlcharrefreplace")

    def _change(self, begin: int, end: int, text: str) -> None:
        self._changes.append((begin, end, len(self._changes), self._bytes(text)))

    def replace_text(self, element: Element, text: str) -> None:
        begin = self._behind(element.begin)
        self._change(begin, element.close, text)

    def replace_attribute(self, element: Element, name: str, value: str) -> None:
        """Another value for an attribute that the element has."""
        tag = self._content[element.begin : self._behind(element.begin)].decode(self._encoding)
        if found := re.search(rf"""\s{name}\s*=\s*("[^"]*"|'[^']*')""", tag):
            begin, end = (element.begin + len(tag[:place].encode(self._encoding)) for place in found.span(1))
            self._change(begin, end, quoteattr(value))

    def append(self, element: Element, text: str) -> None:
        """As its last children."""
        if not text:
            return
        if self._is_one_tag(element):  # <TIME_ORDER/>
            begin = self._content.rindex(self._bytes("/>"), element.begin, element.close)
            self._change(begin, element.close, f">\n{text}    </{element.name}>")
        else:
            tab = self._indented(element.close)
            self._change(tab, tab, text)

    def insert_behind(self, element: Element, text: str) -> None:
        if text:
            place = element.close if self._is_one_tag(element) else self._behind(element.close)
            self._change(place, place, "\n" + text.removesuffix("\n"))

    def _is_one_tag(self, element: Element) -> bool:
        return not element.children and not element.text and self._content[: element.close].endswith(self._bytes("/>"))

    def _behind(self, tag: int) -> int:
        """Where a tag that begins there ends; attributes may hold a >."""
        quote, place, unit = "", tag, len(self._bytes(">"))
        while True:
            sign = self._content[place : place + unit].decode(self._encoding, "replace")
            place += unit
            if quote:
                quote = "" if sign == quote else quote
            elif sign in "\"'":
                quote = sign
            elif sign == ">":
                return place

    def _indented(self, place: int) -> int:
        """The begin of the blanks before a tag on its line."""
        blank, tab = self._bytes(" "), self._bytes("\t")
        while self._content[place - len(blank) : place] in (blank, tab):
            place -= len(blank)
        return place

    def result(self) -> bytes:
        pieces, last = [], 0
        for begin, end, _, new in sorted(self._changes):
            pieces += [self._content[last:begin], new]
            last = end
        return b"".join([*pieces, self._content[last:]])
