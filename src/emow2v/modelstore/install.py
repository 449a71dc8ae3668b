"""Bringing a published model here: from Zenodo, from the model hub, or by hand; checked, proven, then offline."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emow2v import cards, storage
from emow2v.cards import Card
from emow2v.cards.published import PUBLISHED, Published
from emow2v.errors import Emow2vError, ModelError, is_own
from emow2v.modelstore import verify
from emow2v.modelstore.download import DownloadError, fetch
from emow2v.modelstore.hub import Progress, from_hub, object_of, objects_of
from emow2v.modelstore.verify import Row
from emow2v.storage import folders, locks
from emow2v.storage.folders import atomic_folder
from emow2v.storage.home import home, models_folder

ZENODO = "https://zenodo.org/api/records"
SOURCES = ("zenodo", "hub")
_KEPT = ("files", "graph", "weights", "features", "frames", "pytorch", "max_batch", "expected",
         "weights_precision", "normalisation", "normalisation_test", "batches", "origin", "export", "zip_sha256")  # fmt: skip
_MAX_GRAPH = 4 * 1024**3  # bytes; what claims to unpack to more is no model of ours


@dataclass(frozen=True)
class Pulled:
    """A model that is here now, and the rows that prove it."""

    card: Card
    rows: list[Row]


def pull(
    name: str,
    *,
    source: str = "zenodo",
    origin: str | Path | None = None,
    replace: bool = False,
    unverified: bool = False,
    progress: Progress = lambda what, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Pulled:
    """Install a published model under its name. The caller has shown the licence.

    Args:
        source: "zenodo", the ONNX package, which needs no PyTorch; "hub", the checkpoint, which does
        origin: instead of downloading from there: a zip, a folder, or the address of a zip
        replace: also where it is here already
        unverified: keep it although it does not give the published numbers
        progress: takes what is done, bytes done, bytes in all where known

    Raises:
        ModelError: unknown name, no network (with the ways by hand), not that model
    """
    known = lookup(name)
    target = models_folder() / known.name
    if source not in SOURCES:
        raise ModelError(f"Source '{source}' is unknown; expected {' or '.join(SOURCES)}.")
    downloads = home() / "downloads"
    try:
        with install_lock(target, replace), atomic_folder(target, replace=True) as folder:
            _install(known, folder / "package", source, origin, downloads, progress, say)
            for path in (folder / "package").iterdir():
                path.replace(folder / path.name)
            (folder / "package").rmdir()
            card = cards.read_card(folder)
            say("checking the published numbers")
            rows = verify.verify(card)
            if not unverified:
                _refuse_strangers(known, rows)
    except DownloadError as error:
        raise DownloadError(f"{error} {by_hand(known)}") from None
    card = cards.read_card(target)
    verify.record(card, rows)
    shutil.rmtree(downloads / known.name, ignore_errors=True)
    return Pulled(cards.read_card(target), rows)


@contextlib.contextmanager
def install_lock(target: Path, replace: bool) -> Iterator[None]:
    """The right to install or remove one model; the leftovers of killed installations are removed first.

    Raises:
        ModelError: another process installs it, it is installed already and `replace` is False, or the folder cannot be
            written
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.parent / f".{target.name}.lock"
        lock = locks.acquire(path, f"Model {target.name} is being installed", error=ModelError)
    except OSError as error:
        raise ModelError(
            f"{target.parent} cannot be written ({error.strerror}); set EMOW2V_HOME to a folder."
        ) from None
    with lock:
        folders.restore(target)
        if (target / cards.CARD_FILE).is_file() and not replace:
            raise ModelError(f"Model {target.name} is here already, in {target}; add --force to replace it.")
        _remove_unfinished(target)
        yield


def _remove_unfinished(target: Path) -> None:
    """Remove .NAME.xxxxxxxx, which a killed pull of version 0.1.0 left; `atomic_folder` removes those of later versions."""
    for path in target.parent.iterdir():
        if re.fullmatch(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}", path.name):
            shutil.rmtree(path, ignore_errors=True)


def remove(name: str) -> int:
    """Delete a pulled model; gives the bytes that are free again.

    Raises:
        ModelError: not here, or part of the package
    """
    folder = models_folder() / name
    here = {path.parent.name for path in models_folder().glob(f"[!.]*/{cards.CARD_FILE}")}  # also with a damaged card
    if name not in here:
        if any(card.name == name for card in cards.available()):
            raise ModelError(f"Model {name} is part of the package and stays.")
        raise ModelError(f"Model '{name}' was not pulled; pulled: {', '.join(sorted(here)) or 'none'}.")
    if folder.is_symlink():
        raise ModelError(f"{folder} is a link to a folder elsewhere; remove the link yourself.")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    with install_lock(folder, replace=True):  # not while it is being pulled; what a killed pull left goes too
        try:
            folders.remove(folder)
        except OSError as error:
            raise ModelError(f"{folder} cannot be removed ({error.strerror}); close what uses the model.") from None
    return size


def lookup(name: str) -> Published:
    """A published model by its name.

    Raises:
        ModelError: not one that can be pulled
    """
    if name not in PUBLISHED:
        raise ModelError(f"Model '{name}' cannot be pulled; expected {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]


def by_hand(known: Published) -> str:
    """The two ways to bring a model without a network here, as the end of a sentence."""
    return (
        f"By hand: get {known.zenodo_file} from https://zenodo.org/records/{known.zenodo} and run emow2v models pull "
        f"{known.name} --from ZIP, or get the files of https://huggingface.co/{known.hub} and run it with --from FOLDER."
    )


def _install(
    known: Published,
    output: Path,
    source: str,
    origin: str | Path | None,
    downloads: Path,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    here = downloads / known.name
    if origin is None and source == "hub":
        _need_pytorch(known)
        _from_folder(known, from_hub(known.hub, here, progress), output, say)
    elif origin is None:
        _from_zip(known, _from_zenodo(known, here, progress), output, say)
    elif str(origin).lower().startswith(("http://", "https://")):
        # in a folder of its own: what an address gave must never pass for Zenodo's
        path = here / "from-address" / known.zenodo_file
        shutil.rmtree(path.parent) if path.is_file() else None
        fetch(str(origin), path, progress=lambda done, total: progress(path.name, done, total))
        try:
            _from_zip(known, path, output, say)
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)
    elif storage.is_folder(origin):
        _from_folder(known, Path(origin), output, say)
    elif storage.is_file(origin):
        _from_zip(known, Path(origin), output, say)
    else:
        raise ModelError(f"{origin} does not exist; expected a folder, a zip, or the address of a zip.")


def _from_zenodo(known: Published, folder: Path, progress: Progress) -> Path:
    """The zip of the record, its size and checksum as Zenodo states them."""
    listing = folder / "record.json"
    listing.unlink(missing_ok=True)
    fetch(f"{ZENODO}/{known.zenodo}", listing)
    entries = [one for one in objects_of(object_of(listing), "files") if one.get("key") == known.zenodo_file]
    entry = entries[0] if len(entries) == 1 else {}
    links = entry.get("links")
    url, size, checksum = (
        links.get("self") if isinstance(links, dict) else None,
        entry.get("size"),
        entry.get("checksum"),
    )
    if not isinstance(url, str) or type(size) is not int or not isinstance(checksum, str):
        raise DownloadError(f"Zenodo's record {known.zenodo} does not list {known.zenodo_file} as it did.")
    path = folder / known.zenodo_file
    if not _is_whole(path, size, checksum):
        fetch(url, path, size=size, checksum=checksum, progress=lambda done, total: progress(path.name, done, total))
    return path


def _is_whole(path: Path, size: int, checksum: str) -> bool:
    """That very file is here from an earlier pull, which got no further."""
    kind, _, expected = checksum.partition(":")
    if not path.is_file() or path.stat().st_size != size or kind not in hashlib.algorithms_available:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == expected


def _from_zip(known: Published, path: Path, output: Path, say: Callable[[str], None]) -> None:
    """The ONNX graph in a zip, wherever it lies there; nothing else is unpacked."""
    say(f"unpacking {path.name}")
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        try:
            _unpack(known, path, Path(folder))
        except Emow2vError:
            raise
        except ImportError as error:  # a Python without that compression
            raise ModelError(f"{path} cannot be unpacked here ({error}); unpack it and give the folder.") from None
        except Exception as error:  # each part of zipfile has its own for data that make no sense; LZMAError no base
            if is_own(error) or (isinstance(error, OSError) and error.errno):
                raise
            raise ModelError(f"{path} is not a whole zip ({error}); expected {known.zenodo_file}.") from None
        try:
            _from_graph(known, Path(folder) / "model.onnx", output, say, {"zip_sha256": cards.file_sha256(path)})
        except ModelError as error:
            raise ModelError(str(error).replace(str(Path(folder) / "model.onnx"), str(path))) from None


def _unpack(known: Published, path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # Finder puts a shadow of each file into __MACOSX, named ._
        members = [
            one for one in archive.infolist() if not one.is_dir() and not Path(one.filename).name.startswith("._")
        ]
        graphs = [one for one in members if one.filename.endswith(".onnx")]
        if len(graphs) != 1:
            raise ModelError(f"{path} holds {len(graphs)} ONNX graphs; expected {known.zenodo_file} with one.")
        wanted = [*graphs, *(one for one in members if Path(one.filename).name == "model.yaml")]
        if sum(one.file_size for one in wanted) > _MAX_GRAPH:
            raise ModelError(f"{path} unpacks to more than {_MAX_GRAPH / 1e9:.0f} GB; expected {known.zenodo_file}.")
        for one in wanted:
            ending = "model.onnx" if one in graphs else "model.yaml"
            with archive.open(one) as packed, (folder / ending).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)


def _from_folder(known: Published, folder: Path, output: Path, say: Callable[[str], None]) -> None:
    if (folder / cards.CARD_FILE).is_file():
        _copy(known, cards.read_card(folder), output)
    elif (folder / "config.json").is_file():
        _need_pytorch(known)
        from emow2v.modelstore.export import export

        say("exporting the checkpoint to ONNX")
        export(cards.checkpoint_card(folder), output, identity=_identity(known))
    else:
        graphs = sorted(path for path in folder.glob("*.onnx") if path.is_file() and not path.name.startswith("._"))
        if len(graphs) != 1:
            raise ModelError(
                f"{folder} holds {len(graphs)} ONNX graphs and no config.json; expected a checkpoint's folder, a package "
                "that emow2v exported, or a folder with one graph."
            )
        _from_graph(known, graphs[0], output, say, {})


def _from_graph(
    known: Published, path: Path, output: Path, say: Callable[[str], None], more: Mapping[str, Any]
) -> None:
    from emow2v.modelstore.onnx_import import import_graph

    say("fitting the graph")
    import_graph(path, output, {**_identity(known), **more})


def _copy(known: Published, card: Card, output: Path) -> None:
    card.verify_files()
    output.mkdir(parents=True)
    for name in card.files:
        shutil.copyfile(card.folder / name, output / name)
    content = json.loads((card.folder / cards.CARD_FILE).read_text(encoding="utf-8"))
    content.pop("verified", None)
    # of a stranger's card only what the files are: a limit or a rate that is not the model's changes every number
    kept = {name: content[name] for name in _KEPT if name in content}
    cards.update_card(output, {**kept, **cards.WAV2VEC2_LIMITS, **_identity(known)})


def _identity(known: Published) -> dict[str, Any]:
    return {
        "name": known.name,
        "version": known.version,
        "description": known.description,
        "licence": known.licence,
        "citation": known.citation,
        "terms": known.terms,
    }


def _need_pytorch(known: Published) -> None:
    from emow2v.engines import installed

    if not installed("torch"):
        raise ModelError(
            f"A checkpoint is exported with PyTorch once; run: pip install 'emow2v[torch]', or pull {known.name} as the "
            "ONNX package, which needs none (--source zenodo)."
        )


def _refuse_strangers(known: Published, rows: list[Row]) -> None:
    wrong = [row for row in rows if not row.passed]
    if wrong:
        worst = max(wrong, key=lambda row: row.difference)
        raise ModelError(
            f"These weights are not {known.name}: {worst.input} on {worst.engine} gives {verify.words(worst.got)}, "
            f"{worst.source} says {verify.words(worst.expected)}. Nothing was installed; --unverified keeps them all the same."
        )
