"""ONNX Runtime for browsers: two files of the npm package onnxruntime-web, of one version whose bytes are known.

They are not part of emow2v. They come from the package's archive, downloaded from the npm registry or given by the user, or
from a folder of the package (node_modules/onnxruntime-web).
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from emow2v.errors import ModelError
from emow2v.modelstore.download import fetch
from emow2v.storage import kind_of, shown, unreadable
from emow2v.storage.home import home

VERSION = "1.30.0"
REGISTRY = "https://registry.npmjs.org"
# The registry's "integrity" of this version in hex, and the archive's size
SHA512 = "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
SIZE = 33_106_585
_ROOT = "package"  # the folder in every archive of npm


@dataclass(frozen=True)
class Part:
    """A file of the package.

    Attributes:
        path: in the package
        size: bytes
        sha256: of its content
    """

    path: str
    size: int
    sha256: str


PARTS: Mapping[str, Part] = {  # by their names in the built folder
    "onnxruntime-web.js": Part(
        "dist/ort.wasm.bundle.min.mjs", 73_054, "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"
    ),
    "onnxruntime-web.wasm": Part(
        "dist/ort-wasm-simd-threaded.wasm",
        14_239_897,
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}

Progress = Callable[[int, int | None], None]


def parts(
    source: Path | None = None, *, registry: str = "", progress: Progress = lambda done, total: None
) -> dict[str, bytes]:
    """The files of onnxruntime-web by their names in the built folder.

    Args:
        source: the package's archive (.tgz) or folder; None downloads the archive, once
        registry: address of an npm registry; "" for `EMOW2V_NPM_REGISTRY`, then npm's own `npm_config_registry`, then npm's
        progress: of the download, as for `modelstore.download.fetch`

    Raises:
        ModelError: the files are not there, or of another version; the archive cannot be downloaded
        PathError: the source cannot be read
    """
    if source is None:
        source = _downloaded(registry, progress)
    try:
        found = _from_folder(source) if kind_of(source) == "folder" else _from_archive(source)
    except OSError as error:
        raise unreadable(str(source), error) from None
    for name, part in PARTS.items():
        content = found.get(name)
        if content is None or hashlib.sha256(content).hexdigest() != part.sha256:
            state = "has no" if content is None else "has another"
            raise ModelError(
                f"{shown(source)} {state} {part.path} of onnxruntime-web {VERSION}; expected the npm package of exactly that "
                f"version: npm pack onnxruntime-web@{VERSION}"
            )
    return found


def registry_address(named: str = "") -> str:
    """The address of the npm registry: that of the option, of the environment, or npm's own."""
    variables = ("EMOW2V_NPM_REGISTRY", "npm_config_registry", "NPM_CONFIG_REGISTRY")
    found = [named, *(os.environ.get(name, "") for name in variables)]
    return next((one.strip() for one in found if one.strip()), REGISTRY).rstrip("/")


def _downloaded(registry: str, progress: Progress) -> Path:
    """The archive in emow2v's own folder, where a later build finds it."""
    path = home() / "downloads" / f"onnxruntime-web-{VERSION}.tgz"
    if not _is_whole(path):
        url = f"{registry_address(registry)}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
        fetch(url, path, size=SIZE, checksum=f"sha512:{SHA512}", progress=progress)
    return path


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha512").hexdigest() == SHA512
    except OSError:
        return False


def _from_folder(folder: Path) -> dict[str, bytes]:
    found = {}
    for name, part in PARTS.items():
        path = folder / part.path
        if kind_of(path) == "file":
            with path.open("rb") as file:
                found[name] = _content(file, part)
    return found


def _from_archive(path: Path) -> dict[str, bytes]:
    names = {f"{_ROOT}/{part.path}": name for name, part in PARTS.items()}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:  # nothing is extracted by name, so no name in it can lead elsewhere
                name = names.get(member.name)
                file = archive.extractfile(member) if name and member.isfile() else None
                if name and file:
                    found[name] = _content(file, PARTS[name])
                if len(found) == len(PARTS):
                    break
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ModelError(
            f"{shown(path)} is no archive of an npm package ({error}); expected the file that this command makes: "
            f"npm pack onnxruntime-web@{VERSION}"
        ) from None
    return found


def _content(file: IO[bytes], part: Part) -> bytes:
    """The content, or the beginning of a longer one, which then has another hash."""
    return file.read(part.size + 1)
