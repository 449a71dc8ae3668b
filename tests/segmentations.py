"""What tests of segmentations share: files of each format, labels of every kind, and a try of every beginning of a file."""

import math
from pathlib import Path

from hypothesis import strategies as st

from emow2v.errors import FormatError
from emow2v.speech.segmentation import read_segments
from emow2v.speech.segments import Segment, Segmentation, Turn

# Labels as people write them, and as nobody should
LABELS = st.one_of(
    st.sampled_from(
        ['say "hi"', '"', '""', "a\nb", "a\tb", "<v Bob>x", "&amp; & <b>", "😀 é", "مرحبا بالعالم", "שלום", "\u202etxt", "]]>", "-->",
         "! no comment", "<exists>", "12", "a,b;c|d", "\u2028", "e\u0301", "'", "\\", "-"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(str.strip),
)  # fmt: skip
CONTROLS = ["\x00", "\x01", "\x0b", "\x1b[31m", "\x7f", "\x85", "\ud800", "\udcff", "\ufffe", "\uffff"]

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-05-01T10:00:00+01:00" FORMAT="2.8" VERSION="2.8"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv2.8.xsd">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/data/talk é.mp4" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="../talk é.mp4"/>
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/data/talk.wav" MIME_TYPE="audio/x-wav" TIME_ORIGIN="1500"/>
        <PROPERTY NAME="URN">urn:nl-mpi-tools-elan-eaf:1</PROPERTY>
        <PROPERTY NAME="lastUsedAnnotationId">11</PROPERTY>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1000"/>
        <TIME_SLOT TIME_SLOT_ID="ts3"/>
        <TIME_SLOT TIME_SLOT_ID="ts4"/>
        <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="2500"/>
        <TIME_SLOT TIME_SLOT_ID="ts6" TIME_VALUE="3000"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="utterance" PARTICIPANT="Anna" TIER_ID="VP">
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
            <ANNOTATION_VALUE>hallo &amp; "tschüss" &lt;3</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts5">
            <ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="parts" PARENT_REF="VP" TIER_ID="VP parts">
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
            <ANNOTATION_VALUE>one</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
            <ANNOTATION_VALUE>two</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
            <ANNOTATION_VALUE>three</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="translation" PARENT_REF="VP" TIER_ID="VP English">
        <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a1">
            <ANNOTATION_VALUE>hello</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="words" PARENT_REF="VP" TIER_ID="VP words">
        <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a8" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a7">
            <ANNOTATION_VALUE>tschüss</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
        <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a7" ANNOTATION_REF="a1">
            <ANNOTATION_VALUE>hallo</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="utterance" TIER_ID="IV=left">
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a11" TIME_SLOT_REF1="ts5" TIME_SLOT_REF2="ts6">
            <ANNOTATION_VALUE>ja</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="utterance" TIER_ID="empty"/>
    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="utterance" TIME_ALIGNABLE="true"/>
    <LINGUISTIC_TYPE CONSTRAINTS="Time_Subdivision" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="parts" TIME_ALIGNABLE="true"/>
    <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="translation"
        TIME_ALIGNABLE="false"/>
    <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Subdivision" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="words" TIME_ALIGNABLE="false"/>
    <CONSTRAINT DESCRIPTION="1-1 association with a parent annotation" STEREOTYPE="Symbolic_Association"/>
    <CONTROLLED_VOCABULARY CV_ID="kept as it is"><DESCRIPTION LANG_REF="und"/></CONTROLLED_VOCABULARY>
</ANNOTATION_DOCUMENT>
"""


def turn(start: float, end: float, speaker: str = "", label: str = "", score: float = 0.5, tier: str = "") -> Turn:
    """A turn with three values."""
    return Turn(Segment(start, end, speaker, tier, label), (score, score + 0.1, score + 0.2), 10, 0.75)


def read(folder: Path, name: str, content: bytes | str, **options: object) -> Segmentation:
    """What a file of that content holds."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_segments(path, **options)  # type: ignore[arg-type]


def refusal(folder: Path, name: str, content: bytes | str) -> str:
    """The sentence with which a file is refused; checks that it is one, begins with the file, and names a remedy."""
    try:
        read(folder, name, content)
    except FormatError as error:
        sentence = str(error)
        path = str(folder / name)
        assert sentence.startswith(f"{path}: ") and sentence.endswith(".") and "\n" not in sentence
        assert "expected" in sentence
        return sentence.removeprefix(f"{path}: ")
    raise AssertionError("the file was read")


def try_beginnings(folder: Path, name: str, content: bytes, step: int = 1) -> tuple[int, int]:
    """Read every beginning of a file: a segmentation or a sentence comes out. How many were read, how many refused."""
    read_, refused = 0, 0
    for size in range(0, len(content), step):
        try:
            segments = read(folder, name, content[:size]).segments
        except FormatError as error:
            assert str(error).startswith(str(folder / name)) and str(error).count("\n") == 0
            refused += 1
        else:
            assert all(math.isfinite(one.start) and not math.isnan(one.end) for one in segments)
            read_ += 1
    return read_, refused


def times(segmentation: Segmentation) -> list[tuple[float, float, str, str, str]]:
    """Its segments, to the microsecond."""
    return [(round(one.start, 6), round(one.end, 6), one.speaker, one.tier, one.label) for one in segmentation.segments]
