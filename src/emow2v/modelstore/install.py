"""Installing a published model: from Zenodo, from the model hub, or from files that the user has.

Files are compared with their checksums, the model with the published numbers; afterwards no network is needed.
"""

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
from emow2v.modelstore.hub import Progress, from_hub, objects_in, read_object
from emow2v.modelstore.verify import Row
from emow2v.storage import folders, locks
from emow2v.storage.folders import atomic_folder
from emow2v.storage.home import home, models_folder

ZENODO = "https://zenodo.org/api/records"
SOURCES = ("zenodo", "hub")
# Of the card of a package that others exported, only the facts about its files are kept
_FILE_FACTS = ("files", "graph", "weights", "features", "frames", "pytorch", "max_batch", "expected",
         "weights_precision", "normalisation", "normalisation_test", "batches", "origin", "export", "zip_sha256")  # fmt: skip
_MAX_UNPACKED_BYTES = 4 * 1024**3  # a zip that claims to unpack to more is refused


@dataclass(frozen=True)
class Installation:
    """An installed model.

    Attributes:
        card: its card
        rows: the comparison with the numbers that it must give
    """

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
) -> Installation:
    """Install a published model under its name. The caller has shown the licence.

    Args:
        source: "zenodo" for the ONNX package, which needs no PyTorch; "hub" for the checkpoint, which needs it
        origin: a zip, a folder, or the address of a zip, to use instead of a download from `source`
        replace: install it also where it is installed already
        unverified: install it also where it does not give the published numbers
        progress: called with the name of a file, its bytes that are here, and its size where it is known
        say: called with a sentence at each step

    Raises:
        ModelError: an unknown name, no network (with the ways to do without), or the files of another model
    """
    published = lookup(name)
    target = models_folder() / published.name
    if source not in SOURCES:
        raise ModelError(f"Source '{source}' is unknown; expected {' or '.join(SOURCES)}.")
    downloads = home() / "downloads"
    try:
        with install_lock(target, replace), atomic_folder(target, replace=True) as folder:
            _install(published, folder / "package", source, origin, downloads, progress, say)
            for path in (folder / "package").iterdir():
                path.replace(folder / path.name)
            (folder / "package").rmdir()
            card = cards.read_card(folder)
            say("checking the published numbers")
            rows = verify.verify(card)
            if not unverified:
                _refuse_other_models(published, rows)
    except DownloadError as error:
        raise DownloadError(f"{error} {by_hand(published)}") from None
    card = cards.read_card(target)
    verify.record(card, rows)
    shutil.rmtree(downloads / published.name, ignore_errors=True)
    return Installation(cards.read_card(target), rows)


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
            raise ModelError(f"Model {target.name} is installed already, in {target}; add --force to replace it.")
        _remove_unfinished(target)
        yield


def _remove_unfinished(target: Path) -> None:
    """Remove .NAME.xxxxxxxx, which a killed pull of version 0.1.0 left; `atomic_folder` removes those of later versions."""
    for path in target.parent.iterdir():
        if re.fullmatch(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}", path.name):
            shutil.rmtree(path, ignore_errors=True)


def remove(name: str) -> int:
    """Remove an installed model.

    Returns:
        the bytes that it had on the disk

    Raises:
        ModelError: it is not installed, it is part of emow2v, or its files are in use
    """
    folder = models_folder() / name
    installed = {path.parent.name for path in models_folder().glob(f"[!.]*/{cards.CARD_FILE}")}  # also damaged ones
    if name not in installed:
        if any(card.name == name for card in cards.available()):
            raise ModelError(f"Model {name} is part of emow2v and cannot be removed.")
        raise ModelError(f"Model '{name}' is not installed; installed: {', '.join(sorted(installed)) or 'none'}.")
    if folder.is_symlink():
        raise ModelError(f"{folder} is a link to a folder elsewhere; remove the link yourself.")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    with install_lock(folder, replace=True):  # also removes the leftovers of killed installations
        try:
            folders.remove(folder)
        except OSError as error:
            raise ModelError(f"{folder} cannot be removed ({error.strerror}); close what uses the model.") from None
    return size


def lookup(name: str) -> Published:
    """A published model by its name.

    Raises:
        ModelError: no published model has this name
    """
    if name not in PUBLISHED:
        raise ModelError(f"Model '{name}' cannot be pulled; expected {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]


def by_hand(published: Published) -> str:
    """The two ways to install a model without a network on this computer, as a sentence."""
    return (
        f"By hand: get {published.zenodo_file} from https://zenodo.org/records/{published.zenodo} and run emow2v models "
        f"pull {published.name} --from ZIP, or get the files of https://huggingface.co/{published.hub} and run it with "
        "--from FOLDER."
    )


def _install(
    published: Published,
    output: Path,
    source: str,
    origin: str | Path | None,
    downloads: Path,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    here = downloads / published.name
    if origin is None and source == "hub":
        _need_pytorch(published)
        _from_folder(published, from_hub(published.hub, here, progress), output, say)
    elif origin is None:
        _from_zip(published, _from_zenodo(published, here, progress), output, say)
    elif str(origin).lower().startswith(("http://", "https://")):
        # in a folder of its own: a file from another address must never be taken for the one from Zenodo
        path = here / "from-address" / published.zenodo_file
        if path.is_file():
            shutil.rmtree(path.parent)
        fetch(str(origin), path, progress=lambda done, total: progress(path.name, done, total))
        try:
            _from_zip(published, path, output, say)
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)
    elif storage.is_folder(origin):
        _from_folder(published, Path(origin), output, say)
    elif storage.is_file(origin):
        _from_zip(published, Path(origin), output, say)
    else:
        raise ModelError(f"{origin} does not exist; expected a folder, a zip, or the address of a zip.")


def _from_zenodo(published: Published, folder: Path, progress: Progress) -> Path:
    """The zip of the record, with the size and the checksum that Zenodo states."""
    listing = folder / "record.json"
    listing.unlink(missing_ok=True)
    fetch(f"{ZENODO}/{published.zenodo}", listing)
    entries = [one for one in objects_in(read_object(listing), "files") if one.get("key") == published.zenodo_file]
    entry = entries[0] if len(entries) == 1 else {}
    links = entry.get("links")
    url, size, checksum = (
        links.get("self") if isinstance(links, dict) else None,
        entry.get("size"),
        entry.get("checksum"),
    )
    if not isinstance(url, str) or type(size) is not int or not isinstance(checksum, str):
        raise DownloadError(f"Zenodo's record {published.zenodo} does not list {published.zenodo_file} as it did.")
    path = folder / published.zenodo_file
    if not _is_whole(path, size, checksum):
        fetch(url, path, size=size, checksum=checksum, progress=lambda done, total: progress(path.name, done, total))
    return path


def _is_whole(path: Path, size: int, checksum: str) -> bool:
    """Whether the file is here from an earlier try that failed later."""
    kind, _, expected = checksum.partition(":")
    if not path.is_file() or path.stat().st_size != size or kind not in hashlib.algorithms_available:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == expected


def _from_zip(published: Published, path: Path, output: Path, say: Callable[[str], None]) -> None:
    """Install the ONNX graph in a zip, in whatever folder it lies there; nothing else is unpacked."""
    say(f"unpacking {path.name}")
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        try:
            _unpack(published, path, Path(folder))
        except Emow2vError:
            raise
        except ImportError as error:  # a Python without this compression
            raise ModelError(f"{path} cannot be unpacked here ({error}); unpack it and give the folder.") from None
        except Exception as error:  # damaged data raise many types in zipfile, and LZMAError has no base class
            if is_own(error) or (isinstance(error, OSError) and error.errno):
                raise
            raise ModelError(f"{path} is not a whole zip ({error}); expected {published.zenodo_file}.") from None
        try:
            _from_graph(published, Path(folder) / "model.onnx", output, say, {"zip_sha256": cards.file_sha256(path)})
        except ModelError as error:
            raise ModelError(str(error).replace(str(Path(folder) / "model.onnx"), str(path))) from None


def _unpack(published: Published, path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # macOS adds a file named ._NAME for each file
        members = [
            one for one in archive.infolist() if not one.is_dir() and not Path(one.filename).name.startswith("._")
        ]
        graphs = [one for one in members if one.filename.endswith(".onnx")]
        if len(graphs) != 1:
            raise ModelError(f"{path} holds {len(graphs)} ONNX graphs; expected {published.zenodo_file} with one.")
        wanted = [*graphs, *(one for one in members if Path(one.filename).name == "model.yaml")]
        if sum(one.file_size for one in wanted) > _MAX_UNPACKED_BYTES:
            raise ModelError(
                f"{path} unpacks to more than {_MAX_UNPACKED_BYTES / 1e9:.0f} GB; expected {published.zenodo_file}."
            )
        for one in wanted:
            ending = "model.onnx" if one in graphs else "model.yaml"
            with archive.open(one) as packed, (folder / ending).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)


def _from_folder(published: Published, folder: Path, output: Path, say: Callable[[str], None]) -> None:
    if (folder / cards.CARD_FILE).is_file():
        _copy(published, cards.read_card(folder), output)
    elif (folder / "config.json").is_file():
        _need_pytorch(published)
        from emow2v.modelstore.export import export

        say("exporting the checkpoint to ONNX")
        export(cards.checkpoint_card(folder), output, identity=_identity(published))
    else:
        graphs = sorted(path for path in folder.glob("*.onnx") if path.is_file() and not path.name.startswith("._"))
        if len(graphs) != 1:
            raise ModelError(
                f"{folder} holds {len(graphs)} ONNX graphs and no config.json; expected a checkpoint's folder, a package "
                "that emow2v exported, or a folder with one graph."
            )
        _from_graph(published, graphs[0], output, say, {})


def _from_graph(
    published: Published, path: Path, output: Path, say: Callable[[str], None], more: Mapping[str, Any]
) -> None:
    from emow2v.modelstore.onnx_import import import_graph

    say("fitting the graph")
    import_graph(path, output, {**_identity(published), **more})


def _copy(published: Published, card: Card, output: Path) -> None:
    card.verify_files()
    output.mkdir(parents=True)
    for name in card.files:
        shutil.copyfile(card.folder / name, output / name)
    content = json.loads((card.folder / cards.CARD_FILE).read_text(encoding="utf-8"))
    content.pop("verified", None)
    # not the limits: a limit or a rate that is not the model's own would change every number
    facts = {name: content[name] for name in _FILE_FACTS if name in content}
    cards.update_card(output, {**facts, **cards.WAV2VEC2_LIMITS, **_identity(published)})


def _identity(published: Published) -> dict[str, Any]:
    return {
        "name": published.name,
        "version": published.version,
        "description": published.description,
        "licence": published.licence,
        "citation": published.citation,
        "terms": published.terms,
    }


def _need_pytorch(published: Published) -> None:
    from emow2v.engines import installed

    if not installed("torch"):
        raise ModelError(
            f"PyTorch is required to export the checkpoint, once; run: pip install 'emow2v[torch]', or install {published.name} "
            "from the ONNX package, which does not need it (--source zenodo)."
        )


def _refuse_other_models(published: Published, rows: list[Row]) -> None:
    wrong = [row for row in rows if not row.passed]
    if wrong:
        worst = max(wrong, key=lambda row: row.difference)
        raise ModelError(
            f"These weights are not {published.name}: {worst.input} on {worst.engine} gives {verify.words(worst.got)}, "
            f"{worst.source} says {verify.words(worst.expected)}. Nothing was installed; add --unverified to install them all the same."
        )
