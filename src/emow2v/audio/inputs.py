"""Inputs of a command: files, folders, patterns and "-". An input that cannot be read gives one sentence."""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emow2v import storage
from emow2v.errors import FormatError, PathError

# Endings of the recordings that a folder gives. A file that is named itself may have any ending.
# Most of these endings are those of FFmpeg's demuxers.
ENDINGS = frozenset(
    # sound
    ".722 .aa .aac .aa3 .aax .ac3 .ac4 .adts .adx .aea .aif .aifc .aiff .al .amb .amr .ape .apl .aptx .aptxhd .ast .au .avr .awb .bwf"
    " .caf .dff .dsf .dss .dtk .dts .dtshd .eac3 .ec3 .f4a .f4b .fap .flac .g722 .g723_1 .g728 .g729 .gsm .hca .iamf"
    " .ircam .laf .lc3 .lvf .m2a .m4a .m4b .m4p .m4r .mac .mka .mlp .mp1 .mp2 .mp3 .mpa .mpc .mpga .msbc .mtaf .nist"
    " .oga .ogg .ogx .oma .omg .opus .osq .paf .pvf .qcp .qoa .qta .ra .rf64 .rka .rso .sbc .sds .sf .shn .sln .snd .sph"
    " .spx .svx .tak .thd .tta .ul .voc .vqf .w64 .wav .wave .weba .wma .wsd .wv .xa .xwma"
    # video with sound
    " .3g2 .3gp .3gp2 .3gpp .amv .asf .avi .dav .dif .divx .dv .f4p .f4v .flv .gxf .ism .isma .ismv .ivr .kux .m2p .m2t"
    " .m2ts .m4v .mj2 .mk3d .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mpv .mts .mxf .mxg .nut .ogm .ogv .psp .qt .rm .rmvb"
    " .swf .tod .tp .trp .ts .ty .viv .vob .vro .webm .wmv .wtv".split()
)
STDIN = "-"
_NO_RECORDING = "matches no recording; expected recordings such as .wav, .mp3 or .mp4."
_MAX_NAMES = 3  # names in one sentence


@dataclass(frozen=True)
class Input:
    """A recording to read, and the folder and name of its results below the output folder.

    Attributes:
        key: its path relative to the folder, or its name in the list, that it came from; "" if it was named itself
    """

    path: str
    folder: Path
    stem: str
    key: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of one input: the number of rows, or the error.

    Attributes:
        path: the input, as it was named
        rows: number of rows, over all channels
        clipped: number of values that were clipped because a format's scheme ends at 0 and 1
        files: the files that were written
        error: one sentence; "" if the input has a result
        notices: sentences on missing or unusual parts of the recording, and on names that were shortened
        duration_s: seconds of sound that were read, where they are known
        members: of a list, the recordings that the error is about
    """

    path: str
    rows: int = 0
    clipped: int = 0
    files: tuple[Path, ...] = ()
    error: str = ""
    notices: tuple[str, ...] = ()
    duration_s: float = 0.0
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """Files and folders of a folder that are left out.

    Attributes:
        names: files that do not end as recordings do
        hidden: files and folders whose names begin with a dot
        links: folders that are links, which are not followed
        aliases: other names of a recording that is read under the name in `folder`
        repeated: names that stand in a list more than once; they are not left out, but done once
    """

    folder: str
    names: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names) + len(self.hidden) + len(self.links) + len(self.aliases)

    @property
    def sentence(self) -> str:
        """One sentence with their number and the first names; "" if there are none."""
        kinds = (
            ("name without a recording's ending", "names without a recording's ending", self.names),
            ("hidden name", "hidden names", self.hidden),
            ("linked folder", "linked folders", self.links),
        )
        if self.repeated:
            count = storage.counted(len(self.repeated), "recording stands", "recordings stand")
            names = some(self.repeated)
            return f"{storage.shown(self.folder)}: {count} there more than once ({names}); each is done once."
        if self.aliases:
            count = storage.counted(len(self.aliases), "other name of it", "other names of it")
            return f"{storage.shown(self.folder)}: left out {count} ({some(self.aliases)})."
        parts = [
            f"{storage.counted(len(names), one, several)} ({some(names)})" for one, several, names in kinds if names
        ]
        return f"{storage.shown(self.folder)}: left out {', '.join(parts)}; name a file itself to include it."


_Found = tuple[str, Path, str]  # path, folder of its results, key


def expand(
    names: Sequence[str],
    leave_out: Callable[[LeftOut], None] = lambda left_out: None,
    read_list: Callable[[str], Sequence[str] | None] = lambda name: None,
) -> tuple[list[Input], list[Outcome]]:
    """Turn names into inputs.

    Results of files in a folder get the same subfolders below the output folder. Two inputs never share the name of a
    result.

    Args:
        names: files, folders (with their subfolders), patterns and "-"
        leave_out: called for each folder with its files and folders that are left out
        read_list: returns the names in a file that lists recordings, relative to its folder; None for another file

    Returns:
        The inputs, and an outcome with an error for each name that gives no input.
    """
    recordings: list[_Found] = []
    failed: list[Outcome] = []
    for name in names:
        try:
            listed = read_list(name) if not _is_other(name) and storage.is_file(name) else None
            if listed is None:
                recordings += _resolve(name, failed, leave_out)
            else:
                recordings += _recordings_listed(name, listed, failed, leave_out)
        except (PathError, FormatError) as error:
            failed.append(Outcome(name, error=str(error)))
    unique = _without_aliases(recordings, leave_out)
    stems = Counter((folder, Path(path).stem.lower()) for path, folder, _ in unique)
    inputs = []
    for path, folder, key in unique:
        if path == STDIN:
            inputs.append(Input(path, folder, "stdin"))
        else:  # talk.wav and talk.mp3 in one folder: talk.wav.csv and talk.mp3.csv
            shared = stems[folder, Path(path).stem.lower()] > 1
            inputs.append(Input(path, folder, Path(path).name if shared else Path(path).stem, key))
    return _number_equal_stems(inputs), failed


def _without_aliases(recordings: Sequence[_Found], leave_out: Callable[[LeftOut], None]) -> list[_Found]:
    """Each recording once. Its own name is preferred to names of links."""
    names: dict[str, list[_Found]] = {}
    for found in recordings:
        names.setdefault(found[0] if _is_other(found[0]) else os.path.realpath(found[0]), []).append(found)
    unique = []
    for same in names.values():
        taken = same[0] if len(same) == 1 else min(same, key=lambda one: os.path.islink(one[0]))  # noqa: PTH114
        unique.append(taken)
        if len(same) > 1 and not _is_other(taken[0]):
            others = {os.path.abspath(path): path for path, _, _ in same}  # noqa: PTH100
            del others[os.path.abspath(taken[0])]  # noqa: PTH100
            if others:
                leave_out(LeftOut(taken[0], aliases=tuple(others.values())))
    return unique


def _is_other(name: str) -> bool:
    """Whether a name is a pipe or an address instead of a path."""
    return name == STDIN or ("://" in name and not name.startswith("file://"))


def _resolve(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> list[_Found]:
    """The recordings that a name stands for, each with the folder of its results."""
    if _is_other(name):  # the decoder refuses addresses that it does not support
        return [(name, Path(), "")]
    if name.startswith("file://"):
        failed.append(Outcome(name, error=f"{storage.shown(name)} is an address; expected a path, such as {name[7:]}."))
        return []
    if not name:
        failed.append(Outcome(name, error="A name is empty; expected a recording, a folder or a pattern."))
        return []
    kind = storage.kind_of(name)
    if kind == "folder":
        return _recordings_in(name, failed, leave_out)
    if kind is not None:
        return [(name, Path(), "")]
    if any(sign in name for sign in "*?["):
        return _recordings_matching(name, failed, leave_out)
    failed.append(Outcome(name, error=_missing_path_error(name)))
    return []


def _recordings_listed(
    name: str, rows: Sequence[str], failed: list[Outcome], leave_out: Callable[[LeftOut], None]
) -> list[_Found]:
    """Recordings that a list names. Those that it names from elsewhere keep the folders below the one that they share."""
    top = Path(name).parent
    counts = Counter(rows)
    if nameless := counts.pop("", 0):
        count = storage.counted(nameless, "row names", "rows name")
        failed.append(Outcome(name, error=f"{storage.shown(name)}: {count} no recording; expected one in each row."))
    missing: list[str] = []
    paths: dict[str, Path] = {}
    for row in counts:
        path = top / row
        if "\\" in row and os.sep == "/" and not storage.exists(path):
            path = top / row.replace("\\", "/")  # a Windows program wrote it
        if storage.exists(path):
            paths[row] = path
        else:
            missing.append(row)
    if missing:
        count = f"{len(missing)} of {storage.counted(len(counts), 'recording')} {'does' if len(missing) == 1 else 'do'}"
        sentence = f"{storage.shown(name)}: {count} not exist ({some(missing)}); expected names relative to its folder"
        failed.append(Outcome(name, error=f"{sentence}, or whole paths.", members=tuple(missing)))
    repeated = tuple(row for row, count in counts.items() if count > 1)
    if repeated:
        leave_out(LeftOut(name, repeated=repeated))
    away = {row: Path(os.path.abspath(path)).parent for row, path in paths.items() if _is_away(row)}  # noqa: PTH100
    base = os.path.commonpath(away.values()) if away else ""
    folders = {row: Path(os.path.relpath(folder, base)) for row, folder in away.items()}
    return [(str(path), folders.get(row) or path.relative_to(top).parent, row) for row, path in paths.items()]


def _is_away(row: str) -> bool:
    return Path(row).is_absolute() or ".." in Path(row).parts


def _recordings_in(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> list[_Found]:
    """Recordings in a folder and below it."""
    top, known = Path(name), len(failed)
    files: list[Path] = []
    others: list[Path] = []
    hidden: list[Path] = []
    links: list[Path] = []
    broken: list[Path] = []

    def refuse(error: OSError) -> None:
        failed.append(
            Outcome(str(error.filename or name), error=str(storage.unreadable(error.filename or name, error)))
        )

    for place, subfolders, files_here in os.walk(top, onerror=refuse):
        folder = Path(place)
        hidden += [folder / one for one in (*subfolders, *files_here) if one[:1] == "." and one != storage.RUN_FOLDER]
        subfolders[:] = [one for one in subfolders if not one.startswith(".")]
        links += [folder / one for one in subfolders if _is_link(folder / one)]
        for file in (folder / one for one in files_here if not one.startswith(".")):
            if file.suffix.lower() not in ENDINGS:
                others.append(file)
                continue
            try:
                kind = storage.kind_of(file)
            except PathError as error:
                failed.append(Outcome(str(file), error=str(error)))
                continue
            if kind == "file":
                files.append(file)
            elif kind is None:
                broken.append(file)
            else:  # a pipe or a device is opened only when it is named itself
                others.append(file)
    if broken:
        failed.append(Outcome(name, error=_broken_links_error(name, sorted(broken))))
    if not files and len(failed) == known:
        failed.append(Outcome(name, error=f"{storage.shown(name)} {_NO_RECORDING}"))
    left_out = LeftOut(
        name, *(tuple(str(one.relative_to(top)) for one in sorted(kind)) for kind in (others, hidden, links))
    )
    if len(left_out):
        leave_out(left_out)
    return [(str(file), file.parent.relative_to(top), file.relative_to(top).as_posix()) for file in sorted(files)]


def _recordings_matching(name: str, failed: list[Outcome], leave_out: Callable[[LeftOut], None]) -> list[_Found]:
    """Files that a pattern matches; folders only if it matches no file. A pattern that matches matches_every_name name, such as "*",
    gives only names with a recording's ending, as a folder does.
    """
    matches = next((paths for paths in map(_glob, _interpretations(name)) if paths), [])
    files: list[_Found] = []
    folders: list[str] = []
    others: list[str] = []
    matches_every_name = set(Path(name).name) == {"*"}
    for match in matches:
        try:
            kind = storage.kind_of(match)
        except PathError as error:
            failed.append(Outcome(match, error=str(error)))
            continue
        if kind == "folder":
            folders.append(match)
        elif kind is None:
            failed.append(Outcome(match, error=_missing_path_error(match)))
        elif matches_every_name and Path(match).suffix.lower() not in ENDINGS:
            others.append(match)
        else:
            files.append((match, Path(), ""))
    if others:
        leave_out(LeftOut(name, tuple(others)))
    if not matches and "\n" in name:
        failed.append(Outcome(name, error=_missing_path_error(name)))
    elif not matches:
        sentence = "matches nothing; expected recordings such as .wav, .mp3 or .mp4."
        failed.append(Outcome(name, error=f"{storage.shown(name)} {sentence}"))
    if not files and (("**" in name and folders) or (others and not folders)):
        failed.append(Outcome(name, error=f"{storage.shown(name)} {_NO_RECORDING}"))
    if files or "**" in name:
        return files
    return [one for folder in folders for one in _recordings_in(folder, failed, leave_out)]


def _glob(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (pathlib refuses absolute patterns)


def _interpretations(name: str) -> Iterator[str]:
    """Patterns that a name may stand for. Brackets in an existing folder belong to its name. Other brackets are a choice
    of letters first, and literal brackets second.
    """
    parts = list(Path(name).parts)
    literal = 0  # number of leading parts that exist literally
    for number in range(1, len(parts)):
        if storage.kind_of(Path(*parts[:number])) != "folder":
            break
        literal = number
    choices = [
        [glob.escape(part)] if number < literal else [part, part.replace("[", "[[]")] if "[" in part else [part]
        for number, part in enumerate(parts)
    ]
    for reading in itertools.islice(itertools.product(*choices), 16):
        yield str(Path(*reading))


def _missing_path_error(name: str) -> str:
    """The sentence for a path where nothing exists."""
    if _is_link(Path(name)):
        return _broken_links_error(name, [Path(name)])
    if "\n" in name:
        return f"{storage.shown(name)} does not exist; separate several names by spaces, not lines."
    if "\\" in name and os.sep == "/" and storage.exists(name.replace("\\", "/")):
        return f"{storage.shown(name)} does not exist; expected / and not \\ between folders here."
    return _not_found_error(name)


def _not_found_error(name: str | Path) -> str:
    return f"{storage.shown(name)} does not exist; expected a recording, a folder or a pattern."


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # reported when the file is opened
        return False


def _broken_links_error(name: str, links: Sequence[Path]) -> str:
    """The sentence for links to files that do not exist."""
    first = links[0]
    try:
        target = storage.shown(first.readlink())
    except OSError:  # deleted meanwhile
        return _not_found_error(first)
    remedy = "fetch the content (git annex get, datalad get), or mend the link"
    if len(links) == 1:
        return f"{storage.shown(first)} is a link to {target}, which is not there; {remedy}."
    return (
        f"{storage.shown(name)}: {len(links)} recordings are links to files that are not there "
        f"({some([str(one) for one in links])}); {remedy}."
    )


def some(names: Sequence[str]) -> str:
    """The first names, and the number of further ones."""
    shown = ", ".join(storage.shown(one) for one in names[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES} more"


def _number_equal_stems(inputs: list[Input]) -> list[Input]:
    """Number equal names from different folders: talk.csv, talk-2.csv."""
    taken: set[tuple[Path, str]] = set()
    result = []
    for one in inputs:
        stem, number = one.stem, 1
        while (one.folder, stem.lower()) in taken:
            number += 1
            stem = f"{one.stem}-{number}"
        taken.add((one.folder, stem.lower()))
        result.append(replace(one, stem=stem))
    return result
