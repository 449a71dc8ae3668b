"""Checks that a built documentation site loads nothing from other servers and has no dead links: check_site.py FOLDER"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes that a browser loads by itself; it loads the target of <a href> only when a reader follows the link
_LOADED = {
    "audio": "src", "iframe": "src", "img": "src", "input": "src", "link": "href", "object": "data",
    "script": "src", "source": "src", "track": "src", "video": "src",
}  # fmt: skip


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag in _LOADED and _LOADED[tag] in values and values.get("rel") != "canonical":
            self.loaded.append(values[_LOADED[tag]])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])


def faults(site: Path) -> Iterator[str]:
    """A sentence for each page that loads something from another server or has a dead link."""
    pages = {path.resolve(): _Page() for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        page.feed(path.read_text("utf-8"))
    for path, page in pages.items():
        for address in page.loaded:
            if urlsplit(address).netloc or urlsplit(address).scheme not in ("", "data"):
                yield f"{path.relative_to(site.resolve())} loads {address} from elsewhere"
        for address in page.links:
            if fault := _broken(path, address, pages):
                yield f"{path.relative_to(site.resolve())} links to {address}: {fault}"
    for path in sorted(site.rglob("*.css")):
        text = path.read_text("utf-8")
        if "url(http" in text or "url(//" in text or "@import" in text:
            yield f"{path.relative_to(site)} loads from elsewhere"


def _broken(page: Path, address: str, pages: dict[Path, _Page]) -> str:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or page.name == "404.html":  # the server shows it at any depth
        return ""
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "no such heading"
    return ""


def main() -> None:
    site = Path(sys.argv[1])
    if not (site / "index.html").is_file():
        raise SystemExit(f"{site} is not a built site; expected index.html in it; run: make site")
    found = list(faults(site))
    for sentence in found:
        print(sentence)
    if found:
        raise SystemExit(1)
    print(f"{len(list(site.rglob('*.html')))} pages load nothing from elsewhere, and have no dead links")


if __name__ == "__main__":
    main()
