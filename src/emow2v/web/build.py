"""Building the page: a folder of files that any web server for plain files can serve, below any path."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import emow2v
from emow2v import cards
from emow2v._version import __version__
from emow2v.cards import Card
from emow2v.errors import FormatError, ModelError
from emow2v.prediction.one_pass import one_pass_facts
from emow2v.prediction.speech import speech_facts
from emow2v.storage import kind_of, shown
from emow2v.storage.folders import atomic_folder
from emow2v.web import runtime

BUILD_FILE = "build.json"  # what a built folder holds, with sizes and hashes
FORMAT = 1  # of that file
WIDTH = 1024  # of a frame of the model
MODEL = "lite-frames"
# Scripts are files of the page, apart from the module of wasm; plotly.js adds styles to elements. `frame-ancestors` is for
# servers to send: browsers ignore it in pages.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; worker-src 'self' blob:; form-action 'none'; base-uri 'none'"
)

_STATIC = Path(__file__).parent / "static"
_SHARED = Path(emow2v.__file__).parent / "server" / "static"  # files of the server's pages, in every installation
_FIRST = ("page.js", "worker.js", "worklet.js", "style.css", "icon.svg")  # scripts bring what they import
_IMPORT = re.compile(r'^import [^;]*?"\./([\w.-]+)";', re.MULTILINE)
_PLOTLY = "plotly.min.js"


def build(folder: Path, content: Mapping[str, bytes], *, model: str = MODEL) -> dict[str, bytes]:
    """Write the page into a folder, which appears whole or not at all.

    Args:
        folder: a new or empty folder, or one that this function wrote, which is replaced
        content: files of onnxruntime-web by name, of `runtime.parts`
        model: name or folder of a model of frames

    Returns:
        the content of all files, by their paths in the folder

    Raises:
        ModelError: the model cannot run in a browser, or plotly.js is not installed
        FormatError: the folder holds other files, or cannot be written
    """
    card = _card(model)
    check_folder(folder)
    files = {f"runtime/{name}": part for name, part in content.items()}
    files |= {
        f"model/{name}": (card.folder / name).read_bytes() for name in (card.graph, card.readout, cards.CARD_FILE)
    }
    files |= {f"scripts/{name}": text for name, text in _scripts().items()}
    files |= _plotly()
    files |= _licences(card)
    page = (_STATIC / "index.html").read_text("utf-8")
    for name, text in {"policy": POLICY, "version": __version__, "model": f"{card.name} {card.version}"}.items():
        page = page.replace(f"{{{name}}}", text)
    files["index.html"] = page.encode()
    files[BUILD_FILE] = _description(card, files)
    with atomic_folder(folder, replace=True) as new:
        for path, data in files.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_bytes(data)
    return files


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds other files than those that `build` wrote: replacing it would remove them.

    Raises:
        FormatError: with the name of such a file
    """
    kind = kind_of(folder)
    if kind is None:
        return
    if kind != "folder":
        raise FormatError(f"{shown(folder)} is no folder; expected a new folder, or one that emow2v web build wrote.")
    here = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    )
    if not here:
        return
    known = {*built_files(folder), BUILD_FILE} if (folder / BUILD_FILE).is_file() else set()
    if foreign := [name for name in here if name not in known]:
        raise FormatError(
            f"{shown(folder)} holds a file that emow2v web build did not write ({shown(foreign[0])}); "
            "choose another folder, or move the file away."
        )


def built_files(folder: Path) -> dict[str, tuple[int, str]]:
    """Sizes and SHA-256 of the files of a built folder, by their paths.

    Raises:
        FormatError: the folder was not written by `build`, or by one of another version
    """
    content: object = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads((folder / BUILD_FILE).read_bytes())
    if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] != FORMAT:
        raise FormatError(
            f"{shown(folder)} was built by another version of emow2v; build it again with: emow2v web build"
        )
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(map(_is_described, files.values())):
        raise FormatError(f"{shown(folder)} has no page for browsers; expected a folder that emow2v web build wrote.")
    return {path: (one["size"], one["sha256"]) for path, one in files.items()}


def _is_described(one: object) -> bool:
    return isinstance(one, dict) and isinstance(one.get("size"), int) and isinstance(one.get("sha256"), str)


def _card(model: str) -> Card:
    card = cards.find(model)
    if not card.one_pass or not (card.folder / card.graph).is_file():
        raise ModelError(
            f"{card.name} computes each window anew, which a browser cannot do in real time; expected a model of frames, "
            f"such as {MODEL}."
        )
    card.verify_files()
    return card


def _scripts() -> dict[str, bytes]:
    """The scripts that the page and its worker import, and the files that they load by name."""
    found: dict[str, bytes] = {}
    wanted = list(_FIRST)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        path = _STATIC / name if (_STATIC / name).is_file() else _SHARED / name
        found[name] = path.read_bytes()
        if name.endswith(".js"):
            wanted += _IMPORT.findall(found[name].decode())
    return found


def plotly_js() -> Path | None:
    """plotly.js, with its licence, in the package plotly, which is not imported; None if it is not installed."""
    spec = find_spec("plotly")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    paths = [Path(folder) / "package_data" / _PLOTLY for folder in folders]
    return next((path for path in paths if path.is_file()), None)


def _plotly() -> dict[str, bytes]:
    path = plotly_js()
    if path is None:
        raise ModelError(
            "The page draws its curves with plotly.js, which is not installed; run: pip install 'emow2v[server]'"
        )
    return {f"scripts/{_PLOTLY}": path.read_bytes()}


def _licences(card: Card) -> dict[str, bytes]:
    """The licences of all that is in the folder, and a notice that says what each is for."""
    texts = {f"licences/{path.name}": path.read_bytes() for path in sorted((_STATIC / "licences").iterdir())}
    notice = texts.pop("licences/NOTICE.txt").decode()
    facts = {
        "version": __version__,
        "model": f"{card.name} {card.version}",
        "licence": card.licence,
        "citation": card.citation,
        "onnxruntime_web": runtime.VERSION,
    }
    for name, text in facts.items():
        notice = notice.replace(f"{{{name}}}", text)
    return {**texts, "NOTICE.txt": notice.encode()}


def _description(card: Card, files: Mapping[str, bytes]) -> bytes:
    described = {path: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for path, data in files.items()}
    uses = {
        "wasm": "runtime/onnxruntime-web.wasm",
        "step": f"model/{card.graph}",
        "readout": f"model/{card.readout}",
    }
    content = {
        "format": FORMAT,
        "onnxruntime_web": runtime.VERSION,
        "fetched": {use: {"path": path, **described[path]} for use, path in uses.items()},
        "model": {
            "hop": card.frame_hop,
            "delay": card.delay,
            "width": WIDTH,
            "min_samples": card.min_samples,
            "states": {name: list(size) for name, size in card.states.items()},
        },
        "provenance": {
            "model": card.name,
            "model_version": card.version,
            "weights_sha256": card.sha256,
            "licence": card.licence,
            "citation": card.citation,
            "software": f"emow2v {__version__}",
        },
        "one_pass": one_pass_facts(card),
        "speech": speech_facts(card),
        "files": described,
    }
    return json.dumps(content, indent=1).encode()
