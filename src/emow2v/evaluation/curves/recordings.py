"""Recordings with people's curves, from a manifest or from a folder of NOVA's sessions."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emow2v import storage
from emow2v.corpora.clip import is_missing
from emow2v.corpora.csv_rows import known, read_rows
from emow2v.corpora.scales import Scale, parse_scale
from emow2v.errors import FormatError
from emow2v.evaluation.curves.rated import Curve, dimension_of, read_curves
from emow2v.formats.ssi_read import read_annotation
from emow2v.inputs import ENDINGS
from emow2v.storage.marks import Origin, origin_of
from emow2v.storage.text import decode

logger = logging.getLogger("emow2v.curves")

COLUMNS = ("file", "annotation", "dimension", "rater", "scale")


@dataclass(frozen=True)
class RatedRecording:
    """A recording with the curves of its raters.

    Attributes:
        name: as reports name it
    """

    file: Path
    name: str
    curves: Sequence[Curve]


def has_curves(path: Path) -> bool:
    """Whether `--data` names curves: a folder, or a manifest with a column annotation."""
    if storage.is_folder(path):
        return True
    try:
        lines = decode(path.read_bytes())[0].splitlines()
    except (OSError, ValueError):
        return False  # the reader of manifests says why
    header = next((line for line in lines if not line.lower().lstrip('"').startswith("sep=")), "")
    return "annotation" in (word.strip(' "').lower() for word in re.split(r"[,;\t|]", header))


def read_recordings(path: Path, *, scales: Mapping[str, Scale] | None = None) -> list[RatedRecording]:
    """The recordings of a manifest (a row for each annotation), or of a folder.

    A manifest has the columns file and annotation, and any of dimension, rater and scale (such as -1:1); names are relative
    to it. In a folder and below it, each continuous annotation of arousal, dominance or valence belongs to the recording
    beside it that begins with its role, or else to the only one beside it; of several, to ROLE.audio. Those that emow2v wrote
    are no raters and left out.

    Args:
        scales: lowest and highest value by dimension, for files that do not state them

    Raises:
        FormatError: a file that is missing or cannot be read, the same rater twice for one recording and dimension, no
            annotation
    """
    found = _of_folder(path, scales or {}) if storage.is_folder(path) else _of_manifest(path, scales or {})
    recordings = []
    for file, (name, curves) in found.items():
        seen: dict[tuple[str, str], Curve] = {}
        for curve in curves:
            other = seen.setdefault((curve.dimension, curve.rater), curve)
            if other is not curve:
                raise FormatError(
                    f"{curve.source} and {other.source} are both {curve.dimension} of {name} by rater '{curve.rater}'; "
                    "expected one of each; name the raters in a column rater."
                )
        recordings.append(RatedRecording(file, name, curves))
    return recordings


def _of_manifest(path: Path, scales: Mapping[str, Scale]) -> dict[Path, tuple[str, list[Curve]]]:
    found: dict[Path, tuple[str, list[Curve]]] = {}
    for line, row in read_rows(path, "annotation", "file and annotation", COLUMNS).items():
        where = f"{path}, line {line}"
        for column in ("file", "annotation"):
            if not known(row.get(column, "")):
                raise FormatError(f"{where} names no {column}; expected a recording and an annotation in each row.")
            if is_missing(path.parent / row[column]):
                raise FormatError(
                    f"{where}: {storage.shown(row[column])} does not exist; expected a name relative to the manifest's "
                    "folder, or a whole path."
                )
        if origin_of(path.parent / row["annotation"]) == Origin.OURS:
            raise FormatError(
                f"{where}: {storage.shown(row['annotation'])} was written by emow2v; expected an annotation by a person; "
                "compare results with emow2v compare."
            )
        stated = known(row.get("scale", ""))
        curves = read_curves(
            path.parent / row["annotation"],
            dimension=known(row.get("dimension", "")).lower(),
            rater=known(row.get("rater", "")),
            scales={**scales, **(parse_scale(stated) if stated else {})},
        )
        found.setdefault(path.parent / row["file"], (row["file"], []))[1].extend(curves)
    return found


def _of_folder(folder: Path, scales: Mapping[str, Scale]) -> dict[Path, tuple[str, list[Curve]]]:
    found: dict[Path, tuple[str, list[Curve]]] = {}
    ours: list[Path] = []
    for path in sorted(folder.rglob("*.annotation")):
        annotation = read_annotation(path)
        dimension = dimension_of(annotation, path)
        if annotation.scheme != "CONTINUOUS" or not dimension:
            continue
        if origin_of(path) == Origin.OURS:
            ours.append(path)
            continue
        file = _recording_beside(path)
        name = file.relative_to(folder).as_posix()
        found.setdefault(file, (name, []))[1].extend(read_curves(path, dimension=dimension, scales=scales))
    if ours:
        logger.warning(
            "%s: annotations that emow2v wrote are left out (%d, such as %s).", folder, len(ours), ours[0].name
        )
    if not found:
        raise FormatError(
            f"{folder} holds no continuous annotation of arousal, dominance or valence by people; expected files such as "
            "ROLE.arousal.RATER.annotation beside their recordings, or a manifest with columns file and annotation."
        )
    return found


def _recording_beside(path: Path) -> Path:
    beside = sorted(one for one in path.parent.iterdir() if one.suffix.lower() in ENDINGS)
    role = path.name.split(".", 1)[0].lower()
    of_role = [one for one in beside if one.name.split(".", 1)[0].lower() == role]
    chosen = of_role or beside
    if len(chosen) > 1:  # sessions of NOVA have vp.audio.wav and vp.video.mp4 of one role
        chosen = [one for one in chosen if "audio" in one.name.lower().split(".")] or chosen
    if len(chosen) != 1:
        what = f"{len(chosen)} recordings" if chosen else "no recording"
        raise FormatError(
            f"{path} has {what} beside it; expected one whose name begins with '{storage.shown(role)}.', or a manifest "
            "with columns file and annotation."
        )
    return chosen[0]
