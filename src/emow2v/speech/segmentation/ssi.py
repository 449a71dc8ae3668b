"""SSI's and NOVA's discrete and free annotations as segments."""

from __future__ import annotations

from pathlib import Path

from emow2v.errors import FormatError
from emow2v.formats.ssi_read import read_annotation
from emow2v.speech.segments import Segment, Segmentation, Tier
from emow2v.storage import counted

GARBAGE = -1  # class of stretches without a class of the scheme


def read_ssi(path: Path, name: str = "") -> Segmentation:
    """The labels of X.annotation and X.annotation~; the role is the speaker, the scheme's name the tier.

    Args:
        name: of the file, where it lies under another

    Raises:
        FormatError: a continuous annotation, or no annotation
    """
    path = path.with_name(path.name.removesuffix("~"))
    name = name.removesuffix("~") or str(path)
    try:
        annotation = read_annotation(path)
    except FormatError as error:
        raise FormatError(str(error).replace(str(path), name).replace(path.name, Path(name).name)) from None
    if annotation.scheme == "CONTINUOUS":
        raise FormatError(
            f"{name}: the annotation is continuous; expected a discrete or a free one, whose labels have a start and an end."
        )
    segments = []
    garbage = 0
    rows = zip(annotation.starts.tolist(), annotation.ends.tolist(), annotation.values.tolist(), strict=True)
    for start, end, value in rows:
        if annotation.scheme == "DISCRETE" and value == GARBAGE:
            garbage += 1
            continue
        label = annotation.classes.get(value, str(value)) if annotation.scheme == "DISCRETE" else str(value)
        segments.append(Segment(start, end, annotation.role, annotation.name, label))
    notice = f"{counted(garbage, 'label')} of the class for garbage {'is' if garbage == 1 else 'are'} left out"
    return Segmentation(
        tuple(segments),
        "SSI annotation",
        (Tier(annotation.name, annotation.role),) if annotation.name else (),
        notices=(notice,) if garbage else (),
    )
