"""SSI's and NOVA's discrete and free annotations as segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    rows = zip(annotation.starts.tolist(), annotation.ends.tolist(), annotation.values.tolist(), strict=True)
    classes = annotation.classes if annotation.scheme == "DISCRETE" else None
    return labelled(rows, classes, annotation.role, annotation.name, "SSI annotation")


def labelled(
    rows: Iterable[tuple[float, float, int | str]], classes: Mapping[int, str] | None, role: str, name: str, origin: str
) -> Segmentation:
    """The labels of a discrete or a free annotation as segments; those of the class for garbage are left out.

    Args:
        rows: start and end in seconds, and the id of a class or a text
        classes: names of a discrete scheme by id; None of a free scheme
        role: of the person
        name: of the scheme; "" for none
        origin: the format of the segmentation
    """
    segments = []
    garbage = 0
    for start, end, value in rows:
        if classes is not None and value == GARBAGE:
            garbage += 1
            continue
        label = str(value) if isinstance(value, str) or classes is None else classes.get(value, str(value))
        segments.append(Segment(start, end, role, name, label))
    notice = f"{counted(garbage, 'label')} of the class for garbage {'is' if garbage == 1 else 'are'} left out"
    return Segmentation(
        tuple(segments), origin, (Tier(name, role),) if name else (), notices=(notice,) if garbage else ()
    )
