"""What people name to be heard: whatever lies there, every recording is found or told of, in one sentence each."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emow2v.inputs import ENDINGS, LeftOut
from emow2v.inputs.expand import expand
from refusals import refuse_folder


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def paths(names: list[str]) -> list[str]:
    found, failed = expand(names)
    assert not failed
    return [one.path for one in found]


def sentences(*names: str | Path) -> list[str]:
    """Of what failed, each of one line."""
    _, failed = expand([str(name) for name in names])
    told = [one.error for one in failed]
    assert all(one.isprintable() and one.endswith(".") and len(one) < 500 for one in told)
    return told


# What demuxers read that is no recording with sound, or whose ending mostly is something else's
NO_RECORDING = frozenset(
    # pictures, raw and silent video, captions and text
    ".264 .265 .266 .adf .ans .apv .aqt .art .asc .avc .avif .avs .avs2 .avs3 .bitpacked .cdg .cgi .cif .diz .evc .flm"
    " .gif .h261 .h264 .h265 .h266 .h26l .heic .heif .hevc .ice .idf .idx .ifv .imx .ipu .j2k .jxl .mcc .mjpeg .mjpg"
    " .mks .mpl2 .mpo .nfo .obu .pdv .pjs .qcif .rcv .rgb .rt .sami .sbg .scc .sdr2 .ser .smi .stl .sub .sup .txt"
    " .v210 .vc1 .vt .vtt .vvc .webvtt .y4m .yuv .yuv10 .v"
    # headerless sound, which does not say its rate
    " .sb .sw .ub .uw .bit .c2 .dfpwm .rco .tco"
    # games and devices, of which none holds a conversation
    " .302 .acm .adp .ads .afc .aix .apc .bcstm .bfstm .binka .bmv .bonk .brstm .cdata .cdxl .daud .fsb .fwse .genh .mca"
    " .mods .moflex .msf .musx .mvi .nsp .rsd .sdns .sdx .sga .son .ss2 .str .svag .svs .usm .vag .vb .vpk .vqe .vql .wa"
    " .way .xl .xmd .xmv .xvag .yop .dat .ty+".split()
)


def test_endings_are_those_that_ffmpeg_knows() -> None:
    """Every ending that a demuxer names is taken from folders, or stands above."""
    import av

    known: set[str] = set()
    for name in av.formats_available:
        try:
            known |= {f".{ending}" for ending in av.ContainerFormat(name, "r").extensions}
        except ValueError:  # a format for writing only
            continue
    assert len(known) > 150
    assert known - ENDINGS <= NO_RECORDING
    assert not ENDINGS & NO_RECORDING


@pytest.mark.parametrize(
    "ending",
    "MTS m2ts weba wave bwf mxf qta spx mpga tta mpc 3g2 dv f4v awb WAV Mp3 rf64 gsm ogx tod vro adts dss m4r wtv".split(),
)
def test_a_folder_gives_every_kind_of_recording(tmp_path: Path, ending: str) -> None:
    files(tmp_path, f"Tag 1/talk.{ending}")
    assert paths([str(tmp_path)]) == [str(tmp_path / "Tag 1" / f"talk.{ending}")]


def test_what_a_folder_leaves_out_is_counted_and_named(tmp_path: Path) -> None:
    files(tmp_path, "a.wav", "notes.txt", "b/labels.csv", "b/x.docx", "b/y.sw", ".hidden.wav", ".git/annex/b.wav")
    (tmp_path / "again").symlink_to(tmp_path / "b")
    told: list[LeftOut] = []
    found, failed = expand([str(tmp_path)], told.append)
    assert [Path(one.path).name for one in found] == ["a.wav"] and not failed
    assert len(told) == 1 and len(told[0]) == 7
    assert told[0].sentence == (
        f"{tmp_path}: left out 4 names without a recording's ending (b/labels.csv, b/x.docx, b/y.sw and 1 more), "
        "2 hidden names (.git, .hidden.wav), 1 linked folder (again); name a file itself to include it."
    )
    found, failed = expand([str(tmp_path / "a.wav")], told.append)
    assert len(told) == 1 and len(found) == 1


@pytest.mark.parametrize("link", ["a.wav", "z.wav", "talk.mp3", "sub/talk.wav", "0/1.wav"])
def test_a_recording_with_a_link_is_taken_by_its_own_name_and_the_link_told(tmp_path: Path, link: str) -> None:
    files(tmp_path, "talk.wav", "talk.flac")
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "talk.wav")
    for names in ([str(tmp_path)], [str(tmp_path / link), str(tmp_path / "talk.wav"), str(tmp_path / "talk.flac")]):
        told: list[LeftOut] = []
        found, failed = expand(names, told.append)
        assert {one.stem: one.path for one in found} == {
            "talk.flac": str(tmp_path / "talk.flac"),
            "talk.wav": str(tmp_path / "talk.wav"),
        }
        assert [one.sentence for one in told] == [
            f"{tmp_path / 'talk.wav'}: left out 1 other name of it ({tmp_path / link})."
        ]
        assert not failed


def test_a_folder_whose_recordings_cannot_be_read_is_not_called_empty_too(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "a.wav")
    assert len(sentences(tmp_path)) == 1 and "lead in a circle" in sentences(tmp_path)[0]
    (tmp_path / "a.wav").unlink()
    assert len(sentences(tmp_path)) == 1 and "matches no recording" in sentences(tmp_path)[0]


def test_one_name_twice_is_no_other_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "talk.wav")
    monkeypatch.chdir(tmp_path)
    told: list[LeftOut] = []
    found, _ = expand(["talk.wav", "./talk.wav", str(tmp_path / "talk.wav"), "*.wav", ".", "-", "-"], told.append)
    assert [one.path for one in found] == ["talk.wav", "-"] and not told


def test_links_without_content_are_told(tmp_path: Path) -> None:
    """As git-annex leaves them: the recordings that are there are done, the others named."""
    files(tmp_path, "a.wav")
    for number in range(5):
        (tmp_path / f"s{number}.flac").symlink_to(f".git/annex/objects/s{number}")
    found, failed = expand([str(tmp_path)])
    assert [Path(one.path).name for one in found] == ["a.wav"]
    assert len(failed) == 1 and "5 recordings are links to files that are not there" in failed[0].error
    assert "git annex get" in failed[0].error and "s0.flac" in failed[0].error
    assert "which is not there" in sentences(tmp_path / "s1.flac")[0]
    assert len(sentences(tmp_path / "*.flac")) == 5


@pytest.mark.parametrize(
    ("folder", "file", "pattern"),
    [
        ("Studie [2024]", "a.wav", "Studie [2024]/*.wav"),
        ("[x]/[y]", "a.wav", "[x]/[y]/a*"),
        ("in", "talk [final].wav", "in/* [final].wav"),
        ("Tag [1]", "b.wav", "Tag*/*.wav"),
        ("s1", "c.wav", "s[0-9]/*.wav"),
        ("a [b] c/d", "e.wav", "* [b] c/d/?.wav"),
        ("p[1]", "x1.wav", "p[1]/x[0-9].wav"),
        ("deep/er [k]", "x.wav", "**/*.wav"),
        ("f [1]", "a.wav", "f*"),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_patterns_and_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, file: str, pattern: str, absolute: bool
) -> None:
    files(tmp_path, f"{folder}/{file}")
    monkeypatch.chdir(tmp_path)
    found = paths([str(tmp_path / pattern) if absolute else pattern])
    assert [os.path.realpath(one) for one in found] == [os.path.realpath(tmp_path / folder / file)]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x" * 300 + ".wav", "255 bytes"),
        ("談" * 90 + ".wav", "255 bytes"),
        ("a.wav\n" * 400, "separate several names by spaces"),
        ("a.wav\nb.wav", "separate several names by spaces"),
        ("a[1].wav\nb.wav", "separate several names by spaces"),
        ("none.wav", "does not exist; expected a recording"),
        ("*.wav", "matches nothing"),
        ("a\0b.wav", "null"),
        ("", "is empty"),
        ("x/" * 3000, "too long"),
        ("\udcff.wav", "does not exist"),
        ("-none.wav", "does not exist"),
    ],
)
def test_a_name_in_vain_is_a_sentence_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files(tmp_path, "talk.mp3")
    assert sentence in sentences(name)[0]
    found, failed = expand([name, "talk.mp3"])
    assert [one.path for one in found] == ["talk.mp3"] and len(failed) == 1


def test_backslashes_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "s1/talk.wav")
    monkeypatch.chdir(tmp_path)
    assert "expected / and not" in sentences("s1\\talk.wav")[0]


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES, errno.EHOSTDOWN, errno.ETIMEDOUT])
def test_a_share_that_goes_while_a_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The folders that could be read are done, the one that could not is a sentence."""
    files(tmp_path, "a/1.wav", "b/2.wav", "c/3.wav", "d.wav")
    refuse_folder(monkeypatch, "b", number)
    found, failed = expand([str(tmp_path)])
    assert [Path(one.path).name for one in found] == ["1.wav", "3.wav", "d.wav"]
    assert len(failed) == 1 and os.strerror(number) in failed[0].error and str(tmp_path / "b") in failed[0].error


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENXIO])
def test_one_file_of_which_nothing_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    files(tmp_path, "a.wav", "bad.wav", "c.wav")
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.name == "bad.wav":
            raise OSError(number, os.strerror(number))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    for names in (
        [str(tmp_path)],
        [str(tmp_path / "*.wav")],
        [str(tmp_path / f"{one}.wav") for one in ("a", "bad", "c")],
    ):
        found, failed = expand(names)
        assert [Path(one.path).name for one in found] == ["a.wav", "c.wav"]
        assert len(failed) == 1 and os.strerror(number) in failed[0].error


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="needs a user to become another one")
def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    """By a user who is not allowed: the operating system itself answers."""
    files(tmp_path, "open/a.wav", "shut/b.wav")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o5)
    (tmp_path / "shut").chmod(0)
    code = (
        "import os, sys; from emow2v.inputs.expand import expand; os.setgid(65534); os.setuid(65534);"
        "found, failed = expand(sys.argv[1:]); print([one.path for one in found]); print(*(one.error for one in failed), sep='\\n')"
    )
    for name in (tmp_path, tmp_path / "shut" / "b.wav"):
        command = [sys.executable, "-c", code, str(name), str(tmp_path / "open" / "a.wav")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "open/a.wav" in done.stdout.splitlines()[0]
        assert "Permission denied" in done.stdout.splitlines()[1]


def test_addresses_and_pipes_are_no_paths() -> None:
    found, failed = expand(["https://example.org/a.wav?x=[1]", "-", "-"])
    assert not failed and [one.path for one in found] == ["https://example.org/a.wav?x=[1]", "-"]


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    assert "circle" in sentences(tmp_path / "a.wav")[0]
    assert len(sentences(tmp_path)) == 2


def test_a_pipe_in_a_folder_is_not_opened(tmp_path: Path) -> None:
    files(tmp_path, "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    assert paths([str(tmp_path)]) == [str(tmp_path / "a.wav")]
    assert paths([str(tmp_path / "b.wav")]) == [str(tmp_path / "b.wav")]


@pytest.mark.parametrize("pattern", ["*", "**", "**/*"])
def test_a_pattern_of_every_name_takes_recordings(tmp_path: Path, pattern: str) -> None:
    files(tmp_path, "a.wav", "notes.txt", "labels.csv")
    told: list[LeftOut] = []
    found, failed = expand([str(tmp_path / pattern)], told.append)
    assert [Path(one.path).name for one in found] == ["a.wav"] and not failed
    assert len(told) == 1 and len(told[0]) == 2 and "notes.txt" in told[0].sentence
    (tmp_path / "a.wav").unlink()
    assert "matches no recording" in sentences(tmp_path / pattern)[0]
    found, failed = expand([str(tmp_path / "*.txt")])  # named by its ending, it is tried
    assert len(found) == 1


@pytest.mark.parametrize("name", ["/tmp/a.wav", "/home/x/a b.wav"])
def test_addresses_of_files_have_a_hint(name: str) -> None:
    assert f"expected a path, such as {name}" in sentences(f"file://{name}")[0]


def test_folders_patterns_and_names_that_meet(tmp_path: Path) -> None:
    for name in ("a/talk.wav", "a/talk.mp3", "a/b/talk.wav", "a/.hidden.wav", "a/notes.txt", "c/talk.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found, failed = expand([str(tmp_path / "a"), str(tmp_path / "a" / "talk.wav"), str(tmp_path / "c" / "*.wav")])
    assert not failed
    places = [(Path(one.path).relative_to(tmp_path).as_posix(), one.folder.as_posix(), one.stem) for one in found]
    assert places == [
        ("a/b/talk.wav", "b", "talk"),
        ("a/talk.mp3", ".", "talk.mp3"),
        ("a/talk.wav", ".", "talk.wav"),
        ("c/talk.wav", ".", "talk.wav-2"),
    ]
    assert len({(one.folder, one.stem.lower()) for one in found}) == len(found)


def listed(place: Path, *rows: str) -> tuple[list[tuple[str, str, str, str]], list[str], list[str]]:
    """Path, folder, stem and key of the recordings of a list; the sentences on it."""
    (place / "list").write_text("")
    told: list[LeftOut] = []
    found, failed = expand([str(place / "list")], told.append, lambda name: rows if name.endswith("list") else None)
    inputs = [
        (str(Path(one.path).relative_to(place.parent)), one.folder.as_posix(), one.stem, one.key) for one in found
    ]
    return inputs, [one.error for one in failed], [one.sentence for one in told]


def test_a_list_keeps_its_folders_and_its_names(tmp_path: Path) -> None:
    files(tmp_path, "in/a.wav", "in/b/a.wav", "else/x/a.wav", "else/y/a.wav")
    away = [str(tmp_path / "else" / "x" / "a.wav"), "../else/y/a.wav"]
    inputs, failed, told = listed(tmp_path / "in", "a.wav", "b/a.wav", *away)
    assert inputs == [
        ("in/a.wav", ".", "a", "a.wav"),
        ("in/b/a.wav", "b", "a", "b/a.wav"),
        ("else/x/a.wav", "x", "a", away[0]),
        ("in/../else/y/a.wav", "y", "a", away[1]),
    ]
    assert not failed and not told
    whole = str(tmp_path / "in" / "a.wav")
    inputs, _, _ = listed(tmp_path / "in", "./b/a.wav", "b//a.wav", "b/../a.wav", whole)
    assert [(path, folder, key) for path, folder, _, key in inputs] == [
        ("in/b/a.wav", "b", "./b/a.wav"), ("in/b/../a.wav", ".", "b/../a.wav")
    ]  # fmt: skip


def test_a_list_of_recordings_at_the_root(tmp_path: Path) -> None:
    rows = ["/nothing-there.wav", "a.wav", "/neither.wav", "b.wav"]
    files(tmp_path, "in/a.wav", "in/b.wav")
    inputs, failed, _ = listed(tmp_path / "in", *rows)
    assert [key for *_, key in inputs] == ["a.wav", "b.wav"]
    assert "2 of 4 recordings do not exist (/nothing-there.wav, /neither.wav)" in failed[0]


def test_a_list_says_what_is_missing_or_repeated(tmp_path: Path) -> None:
    files(tmp_path, "in/a.wav", "in/b.wav")
    inputs, failed, told = listed(tmp_path / "in", "a.wav", "a.wav", "b.wav", "c.wav", "b.wav")
    assert [key for *_, key in inputs] == ["a.wav", "b.wav"]
    place = tmp_path / "in" / "list"
    assert failed == [
        f"{place}: 1 of 3 recordings does not exist (c.wav); expected names relative to its folder, or whole paths."
    ]
    assert told == [f"{place}: 2 recordings stand there more than once (a.wav, b.wav); each is done once."]


@pytest.mark.parametrize("again", ["./rec/a.ogg", "rec//a.ogg", "rec/../rec/a.ogg", "rec/a.ogg", "whole"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_list_says_what_is_repeated_in_another_spelling(tmp_path: Path, again: str, turned: bool) -> None:
    files(tmp_path, "in/rec/a.ogg", "in/rec/b.ogg")
    rows = ["rec/a.ogg", str(tmp_path / "in" / "rec" / "a.ogg") if again == "whole" else again]
    first, second = reversed(rows) if turned else rows
    inputs, failed, told = listed(tmp_path / "in", first, "rec/b.ogg", second)
    assert [key for *_, key in inputs] == [first, "rec/b.ogg"] and not failed
    assert told == [
        f"{tmp_path / 'in' / 'list'}: 1 recording stands there more than once ({first}); each is done once."
    ]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_two_dots_after_a_link_lead_elsewhere_and_repeat_nothing(tmp_path: Path) -> None:
    files(tmp_path, "in/a.ogg", "far/a.ogg", "far/deep/b.ogg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "far" / "deep")
    inputs, failed, told = listed(tmp_path / "in", "a.ogg", "link/../a.ogg", "missing.ogg", "./missing.ogg")
    assert [key for *_, key in inputs] == ["a.ogg", "link/../a.ogg"]
    assert "1 of 3 recordings does not exist (missing.ogg)" in failed[0]
    assert "1 recording stands there more than once (missing.ogg)" in told[0]


def test_a_list_says_how_many_rows_have_no_name(tmp_path: Path) -> None:
    files(tmp_path, "in/a.wav")
    inputs, failed, told = listed(tmp_path / "in", "", "a.wav", "")
    assert [key for *_, key in inputs] == ["a.wav"]
    place = tmp_path / "in" / "list"
    assert failed == [f"{place}: 2 rows name no recording; expected one in each row."]
    assert not told


@pytest.mark.skipif(os.sep != "/", reason="backslashes are separators there")
def test_a_list_that_a_windows_program_wrote(tmp_path: Path) -> None:
    files(tmp_path, "in/b/a.wav")
    assert listed(tmp_path / "in", "b\\a.wav")[0] == [("in/b/a.wav", "b", "a", "b\\a.wav")]


def test_recordings_of_a_folder_have_their_path_in_it_as_key(tmp_path: Path) -> None:
    files(tmp_path, "in/a.wav", "in/b/a.wav", "c.wav")
    found, _ = expand([str(tmp_path / "in"), str(tmp_path / "c.wav")])
    assert [one.key for one in found] == ["a.wav", "b/a.wav", ""]


def test_the_journal_of_a_run_is_no_hidden_file_of_a_user(tmp_path: Path) -> None:
    files(tmp_path, "a.wav", ".emow2v/journal.sqlite", ".emow2v/x.wav")
    told: list[LeftOut] = []
    found, _ = expand([str(tmp_path)], told.append)
    assert [one.key for one in found] == ["a.wav"] and not told
