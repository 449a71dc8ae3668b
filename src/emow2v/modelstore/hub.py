"""The model hub: the files of a checkpoint, at one revision.

The files come by our own download, as those from Zenodo do, and not by `huggingface_hub.snapshot_download`. That
compares no SHA-256, returns a folder of an earlier try without an error where the hub cannot be reached, shows bars of its
own, and raises errors of another HTTP library in each of its major versions. What users set for the hub is heeded:
HF_ENDPOINT (a mirror), HF_TOKEN or a stored token, HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emow2v import cards
from emow2v._version import __version__
from emow2v.modelstore.download import DownloadError, fetch

CHECKPOINT_FILES = ("config.json", "preprocessor_config.json", "README.md")  # beside the weights

Progress = Callable[[str, int, int | None], None]  # name of a file, bytes that are here, bytes of the whole file


def from_hub(name: str, folder: Path, progress: Progress) -> Path:
    """Download a checkpoint's files, at the newest revision.

    Args:
        name: owner and name on the hub
        folder: in which a folder for the revision is made; files that are there and whole are kept

    Raises:
        DownloadError: the hub cannot be reached, or has no such checkpoint
    """
    import huggingface_hub

    constants = huggingface_hub.constants
    if constants.HF_HUB_OFFLINE:
        raise DownloadError("HF_HUB_OFFLINE is set; unset it to use the model hub.")
    headers = {"User-Agent": f"emow2v/{__version__}"}  # the hub's own client also names other installed packages
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else huggingface_hub.get_token()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    revision, files = _list_files(name, folder / "listing.json", headers)
    weights = next((name for name in cards.WEIGHT_FILES if name in files), None)
    if weights is None or "config.json" not in files:
        raise DownloadError(f"{name} holds {', '.join(files) or 'nothing'}; expected config.json and weights.")
    folder = folder / revision
    for file in (*CHECKPOINT_FILES, weights):
        if file not in files:
            continue
        size, sha256 = files[file]
        path = folder / file
        if path.is_file() and (not sha256 or cards.file_sha256(path) == sha256):
            continue
        fetch(
            huggingface_hub.hf_hub_url(name, file, revision=revision),
            path,
            size=size,
            checksum=f"sha256:{sha256}" if sha256 else "",
            headers=headers,
            progress=lambda done, total, file=file: progress(file, done, total),  # type: ignore[misc]
        )
    return folder


def _list_files(name: str, listing: Path, headers: Mapping[str, str]) -> tuple[str, dict[str, tuple[int | None, str]]]:
    """The newest revision, and size and SHA-256 of its files, where the hub states them."""
    import huggingface_hub

    listing.unlink(missing_ok=True)
    address = f"{huggingface_hub.HfApi().endpoint}/api/models/{quote(name)}?blobs=true"
    try:
        fetch(address, listing, headers=headers)
        content = read_object(listing)
    except DownloadError as error:
        raise DownloadError(f"The model hub does not list the files of {name} ({str(error).rstrip('.')}).") from None
    finally:
        listing.unlink(missing_ok=True)
    revision, files = content.get("sha"), {}
    for one in objects_in(content, "siblings"):
        size, large = one.get("size"), one.get("lfs")
        sha256 = large.get("sha256") if isinstance(large, dict) else None
        files[str(one.get("rfilename"))] = (size if type(size) is int else None, str(sha256 or ""))
    if not isinstance(revision, str) or not re.fullmatch(r"[0-9A-Za-z]{1,64}", revision):
        raise DownloadError(
            f"The model hub does not list the files of {name} (its answer is no listing); check HF_ENDPOINT."
        )
    return revision, files


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where the file holds anything else."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def objects_in(content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the list `name` of an object; none where the object has no such list."""
    rows = content.get(name)
    return [one for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
