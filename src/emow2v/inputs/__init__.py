"""Inputs of a command and what becomes of them. `expand` finds them: files, folders, patterns, lists and "-"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emow2v import storage

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
        files: paths of the files that were written, or their addresses
        error: one sentence; "" if the input has a result
        notices: sentences on missing or unusual parts of the recording, and on names that were shortened
        duration_s: seconds of sound that were read, where they are known
        members: of a list or a folder, the recordings that the error is about
        reason: of a list or a folder, how the sentence on each of its members goes on after the name
    """

    path: str
    rows: int = 0
    clipped: int = 0
    files: tuple[Path | str, ...] = ()
    error: str = ""
    notices: tuple[str, ...] = ()
    duration_s: float = 0.0
    members: Sequence[str] = ()
    reason: str = ""


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
    names: Sequence[str] = ()
    hidden: Sequence[str] = ()
    links: Sequence[str] = ()
    aliases: Sequence[str] = ()
    repeated: Sequence[str] = ()

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


def some(names: Sequence[str]) -> str:
    """The first names, and the number of further ones."""
    shown = ", ".join(storage.shown(one) for one in names[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES} more"


def stem_of(name: str) -> str:
    """The name of a file without its ending."""
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name
