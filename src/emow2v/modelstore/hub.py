"""The model hub: checkpoints, file by file, at one revision."""

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

Progress = Callable[[str, int, int | None], None]


def from_hub(name: str, folder: Path, progress: Progress) -> Path:
    """A checkpoint's files, at the revision that the hub names now; its own variables choose mirror and token.

    Args:
        name: owner and name on the hub
        folder: in which a folder of the revision is filled; what is there and whole stays

    Raises:
        DownloadError: the hub cannot be reached, or has no such checkpoint
    """
    import huggingface_hub

    constants = huggingface_hub.constants
    if constants.HF_HUB_OFFLINE:
        raise DownloadError("HF_HUB_OFFLINE is set; unset it to ask the model hub.")
    headers = {"User-Agent": f"emow2v/{__version__}"}  # the hub's own client names what else is installed here
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else huggingface_hub.get_token()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    revision, listed = _listed(name, folder / "listing.json", headers)
    weights = next((name for name in cards.WEIGHT_FILES if name in listed), None)
    if weights is None or "config.json" not in listed:
        raise DownloadError(f"{name} holds {', '.join(listed) or 'nothing'}; expected config.json and weights.")
    folder = folder / revision
    for file in (*CHECKPOINT_FILES, weights):
        if file not in listed:
            continue
        size, sha256 = listed[file]
        checksum = f"sha256:{sha256}" if sha256 else ""
        path = folder / file
        if path.is_file() and (not checksum or cards.file_sha256(path) == checksum.partition(":")[2]):
            continue
        fetch(
            huggingface_hub.hf_hub_url(name, file, revision=revision),
            path,
            size=size,
            checksum=checksum,
            headers=headers,
            progress=lambda done, total, file=file: progress(file, done, total),  # type: ignore[misc]
        )
    return folder


def _listed(name: str, listing: Path, headers: Mapping[str, str]) -> tuple[str, dict[str, tuple[int | None, str]]]:
    """The revision that the hub names now, and size and SHA-256 of its files, as far as it states them."""
    import huggingface_hub

    listing.unlink(missing_ok=True)
    address = f"{huggingface_hub.HfApi().endpoint}/api/models/{quote(name)}?blobs=true"
    try:
        fetch(address, listing, headers=headers)
        content = object_of(listing)
    except DownloadError as error:
        raise DownloadError(f"The model hub does not tell what {name} holds ({str(error).rstrip('.')}).") from None
    finally:
        listing.unlink(missing_ok=True)
    revision, files = content.get("sha"), {}
    for one in objects_of(content, "siblings"):
        size, large = one.get("size"), one.get("lfs")
        sha256 = large.get("sha256") if isinstance(large, dict) else None
        files[str(one.get("rfilename"))] = (size if type(size) is int else None, str(sha256 or ""))
    if not isinstance(revision, str) or not re.fullmatch(r"[0-9A-Za-z]{1,64}", revision):
        raise DownloadError(
            f"The model hub does not tell what {name} holds (its answer is no listing); check HF_ENDPOINT."
        )
    return revision, files


def object_of(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where it holds anything else."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def objects_of(content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list of an object; none where anything else stands there."""
    rows = content.get(name)
    return [one for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
