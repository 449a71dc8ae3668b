"""What emow2v wrote, unchanged, makes way for new results; everything else stays, whoever put it there and however."""

import csv
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from emow2v import formats
from emow2v.errors import FormatError, PlaceTaken
from emow2v.formats.plot import plot
from emow2v.framing import Framing
from emow2v.storage import files, marks
from emow2v.storage.marks import Origin
from emow2v.trajectory import Block, Info, Trajectory

PROVENANCE: dict[str, str | float] = {"model": "lite", "model_version": "1.0", "software": "emow2v 1.2.3"}
PAIRS = {"csv": "talk.csv", "annotation": "talk.valence.annotation~", "stream": "talk.embeddings.stream~"}
MARKED = {
    "csv": "talk.csv-metadata.json",
    "json": "talk.json",
    "ndjson": "talk.ndjson",
    "annotation": "talk.arousal.annotation",
    "stream": "talk.embeddings.stream",
    **{name: f"talk.{name}" for name in ("npz", "svg", "pdf")},
}


def trajectory(value: float = 0.5, rows: int = 25, source: str = "talk.wav") -> Trajectory:
    times = Framing().times(0, rows)
    scores = np.full((rows, 3), value, np.float32)
    block = Block(0, *times, np.full((rows, 8), value, np.float32), scores, np.ones((rows, 3), np.float32))
    return Trajectory(Info(source, Framing(), dict(PROVENANCE)), lambda: iter([block]))


def predict(folder: Path, *names: str, value: float = 0.25, **options: bool) -> None:
    formats.record(trajectory(value), formats.writers(names, folder, "talk"), **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def never(_: object) -> None:
    pytest.fail("work was done before the place was looked at")


# --------------------------------------------------------------------------------------------------------- what is ours


@pytest.mark.parametrize("name", formats.FORMATS)
def test_what_emow2v_wrote_makes_way(tmp_path: Path, name: str) -> None:
    predict(tmp_path, name, value=0.5)
    before = contents(tmp_path)
    predict(tmp_path, name)
    after = contents(tmp_path)
    assert after.keys() == before.keys() and all(after[one] != before[one] for one in after)


@pytest.mark.parametrize("name", [name for name in formats.FORMATS if name != "png"])  # see below
def test_a_mark_is_the_digest_of_all_the_rest(tmp_path: Path, name: str) -> None:
    predict(tmp_path, name)
    content = (tmp_path / MARKED[name]).read_bytes()
    (digits,) = re.findall(rb"emow2v:sha256:([0-9a-f]{64})", content)
    assert hashlib.sha256(content.replace(digits, b"0" * 64)).hexdigest() == digits.decode()


@pytest.mark.parametrize("name", PAIRS)
def test_a_header_vouches_for_its_data(tmp_path: Path, name: str) -> None:
    predict(tmp_path, name)
    data = tmp_path / PAIRS[name]
    header = data.with_name(data.name + "-metadata.json" if name == "csv" else data.name.removesuffix("~"))
    assert f"emow2v:data:{hashlib.sha256(data.read_bytes()).hexdigest()} ".encode() in header.read_bytes()


def test_other_readers_still_read_what_is_marked(tmp_path: Path) -> None:
    predict(tmp_path, *formats.FORMATS)
    assert len(json.loads((tmp_path / "talk.json").read_text())["rows"]) == 25
    assert [len(json.loads(line)) for line in (tmp_path / "talk.ndjson").read_text().splitlines()] == [3] + [6] * 25
    with (tmp_path / "talk.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 26
    for header in (MARKED["annotation"], MARKED["stream"]):
        assert ElementTree.parse(tmp_path / header).getroot().find("meta") is not None


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_pictures_make_way_and_can_be_looked_at(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"talk{ending}"
    plot(trajectory(), path)
    plot(trajectory(0.25), path)
    content = path.read_bytes()
    if ending == ".png":
        image = pytest.importorskip("PIL.Image")
        with image.open(io.BytesIO(content)) as picture:
            picture.verify()  # goes through the check sums of all chunks
        with image.open(io.BytesIO(content)) as picture:
            picture.load()
            assert picture.text["Comment"].startswith("emow2v:sha256:")
    elif ending == ".svg":
        assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
    else:
        assert b"%%EOF" in content[-1024:]
    path.write_bytes(content + b"\n")
    with pytest.raises(PlaceTaken, match="was changed since emow2v wrote it"):
        plot(trajectory(), path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("report.json", '{"a": 1}'),
        ("deep.json", '{\n  "a": {\n    "b": []\n  }\n}\n'),
        ("report.md", "# Title\n\n| a |\n|---|\n"),
        ("strange.md", "Ümläut \ud83d and \u2028\n"),
        ("UPPER.JSON", '{"a": "}"}\n'),
    ],
)
def test_reports_make_way_until_somebody_writes_into_them(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    files.write_text(path, text)
    files.write_text(path, text)
    if path.suffix.lower() == ".json":
        assert json.loads(path.read_text()).pop("mark").startswith("emow2v:sha256:")
    with path.open("a") as file:
        file.write("my remark\n")
    changed = path.read_bytes()
    with pytest.raises(PlaceTaken):
        files.write_text(path, text)
    assert path.read_bytes() == changed
    files.write_text(path, text, overwrite=True)
    assert path.read_bytes() != changed


# ----------------------------------------------------------------------------------------------------- what people wrote

HUMAN: dict[str, tuple[str, str]] = {
    "labels typed for hours": ("csv", "talk.csv"),
    "a description typed by hand": ("csv", "talk.csv-metadata.json"),
    "a transcript of whisperX": ("json", "talk.json"),
    "a log of another program": ("ndjson", "talk.ndjson"),
    "a gold standard's header": ("annotation", "talk.dominance.annotation"),
    "a gold standard's data": ("annotation", "talk.valence.annotation~"),
    "features of openSMILE": ("stream", "talk.embeddings.stream"),
    "their data": ("stream", "talk.embeddings.stream~"),
    "an empty file": ("json", "talk.json"),
}
TEXT = {
    "a transcript of whisperX": '{"segments": [{"start": 0.1, "end": 2.5, "text": " Hello."}], "language": "en"}',
    "a gold standard's header": '<annotation ssi-v="3"><info ftype="ASCII" size="1"/><scheme name="dominance"/></annotation>',
    "an empty file": "",
}


@pytest.mark.parametrize("who", HUMAN)
def test_what_people_wrote_is_refused_before_any_work(tmp_path: Path, who: str) -> None:
    name, file = HUMAN[who]
    (tmp_path / file).write_text(TEXT.get(who, "file,label\ntalk.wav,joy\n"))
    before = contents(tmp_path)
    writers = formats.writers(formats.FORMATS, tmp_path, "talk")
    with pytest.raises(PlaceTaken) as refused:
        formats.record(trajectory(), writers, never)
    assert str(refused.value).startswith(f"{tmp_path / file} is there already, and nothing in it shows that emow2v ")
    assert "--overwrite" in str(refused.value) and str(refused.value).count(".\n") == 0
    with pytest.raises(PlaceTaken):
        formats.check(formats.writers([name], tmp_path, "talk"))
    assert contents(tmp_path) == before
    predict(tmp_path, name, overwrite=True)
    assert contents(tmp_path)[file] != before[file]
    predict(tmp_path, name)  # ours now


@pytest.mark.parametrize("name", ["talk.csv", "talk.json", "talk.ndjson", "talk.stream", "talk.arousal.annotation"])
@pytest.mark.parametrize("way", ["write", "overwrite"])
def test_write_takes_care_too(tmp_path: Path, name: str, way: str) -> None:
    path = tmp_path / name
    path.write_text("typed for hours")
    if way == "overwrite":
        formats.write(trajectory(), path, overwrite=True)
        assert path.read_text() != "typed for hours"
    else:
        with pytest.raises(PlaceTaken):
            formats.write(trajectory(), path)
        assert contents(tmp_path) == {name: b"typed for hours"}


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "one digit": lambda content: content.replace(b"0.5", b"0.6", 1) if b"0.5" in content else b"\1" + content[1:],
    "one byte more": lambda content: content + b"\n",
    "line ends of Windows": lambda content: content.replace(b"\n", b"\r\n") if b"\n" in content else content + b"\r\n",
    "cut off": lambda content: content[:-1],
    "a mark put in front": lambda content: b"emow2v:sha256:" + b"0" * 64 + content,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "file",
    ["talk.csv", "talk.csv-metadata.json", "talk.json", "talk.ndjson", "talk.arousal.annotation",
     "talk.arousal.annotation~", "talk.embeddings.stream", "talk.embeddings.stream~"],
)  # fmt: skip
def test_what_was_changed_since_is_refused(tmp_path: Path, file: str, change: str) -> None:
    predict(tmp_path, *formats.FORMATS, value=0.5)
    content = CHANGES[change]((tmp_path / file).read_bytes())
    assert content != (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content)
    before = contents(tmp_path)
    with pytest.raises(PlaceTaken, match="was changed since emow2v wrote it; move it, choose another place"):
        formats.record(trajectory(), formats.writers(formats.FORMATS, tmp_path, "talk"), never)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file", ["talk.csv-metadata.json", "talk.arousal.annotation", "talk.embeddings.stream"])
def test_data_nobody_vouches_for_are_refused(tmp_path: Path, file: str) -> None:
    predict(tmp_path, *formats.FORMATS)
    (tmp_path / file).unlink()
    with pytest.raises(PlaceTaken, match="nothing in it shows"):
        predict(tmp_path, *formats.FORMATS)


@pytest.mark.parametrize("file", ["talk.csv", "talk.arousal.annotation~", "talk.embeddings.stream~"])
def test_a_header_without_its_data_makes_way(tmp_path: Path, file: str) -> None:
    predict(tmp_path, *formats.FORMATS)
    (tmp_path / file).unlink()
    predict(tmp_path, *formats.FORMATS)
    assert (tmp_path / file).is_file()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("talk.csv-metadata.json", '{\n  "emow2v:provenance": {\n    "software": "emow2v 0.1.0",\n    "model": "lite"\n  }\n}\n'),
        ("talk.json", '{"file": "talk.wav", "provenance": {"software": "emow2v 0.1.0"}, "columns": [], "rows": [\n]}\n'),
        ("talk.ndjson", '{"file": "talk.wav", "provenance": {"software": "emow2v 0.1.0"}}\n'),
        ("talk.arousal.annotation", '<annotation><meta description="model: lite 1.0; software: emow2v 0.1.0; licence: x"/></annotation>'),
        ("talk.embeddings.stream", '<stream><meta description="framing: a; software: emow2v 0.1.0"/></stream>'),
    ],
)  # fmt: skip
def test_results_of_the_first_version_get_their_own_sentence(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(PlaceTaken, match=r"was written by emow2v 0\.1\.0, which left no mark .* --overwrite"):
        predict(tmp_path, *formats.FORMATS)
    assert (tmp_path / file).read_text() == text


# -------------------------------------------------------------------------------------------- links, case, kills, devices


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege on Windows")
@pytest.mark.parametrize("target", ["gold.csv", "nowhere/gold.csv"])
@pytest.mark.parametrize("file", ["talk.csv", "talk.csv-metadata.json"])
def test_links_are_looked_through(tmp_path: Path, target: str, file: str) -> None:
    """Also one that leads nowhere: that is how git-annex keeps what is not here."""
    (tmp_path / "gold.csv").write_text("typed for hours")
    (tmp_path / file).symlink_to(tmp_path / target)
    with pytest.raises(PlaceTaken):
        predict(tmp_path, "csv")
    assert (tmp_path / file).is_symlink() and (tmp_path / "gold.csv").read_text() == "typed for hours"
    predict(tmp_path, "csv", overwrite=True)  # the link makes way, what it leads to stays
    assert not (tmp_path / file).is_symlink() and (tmp_path / "gold.csv").read_text() == "typed for hours"


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege on Windows")
def test_a_link_comes_back_when_the_rest_cannot_be_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gold.csv").write_text("typed for hours")
    (tmp_path / "talk.csv").symlink_to("gold.csv")
    replace, calls = Path.replace, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "broken disk")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(FormatError, match="broken disk"):
        predict(tmp_path, "csv", overwrite=True)
    assert os.readlink(tmp_path / "talk.csv") == "gold.csv"  # noqa: PTH115
    assert contents(tmp_path) == {"gold.csv": b"typed for hours", "talk.csv": b"typed for hours"}


def test_names_in_capitals_are_looked_at_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "talk.CSV").write_text("typed for hours")
    with pytest.raises(PlaceTaken):
        formats.write(trajectory(), tmp_path / "talk.CSV")
    folded = (tmp_path / "TALK.csv").exists()  # a file system that does not tell them apart
    if folded:
        with pytest.raises(PlaceTaken):
            predict(tmp_path, "csv")
    else:
        predict(tmp_path, "csv")
    assert (tmp_path / "talk.CSV").read_text() == "typed for hours"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_pipe_is_no_place_for_a_file(tmp_path: Path, overwrite: bool) -> None:
    os.mkfifo(tmp_path / "talk.json")
    with pytest.raises(FormatError, match="is a pipe or a device; expected the name of a file"):
        predict(tmp_path, "json", overwrite=overwrite)
    assert (tmp_path / "talk.json").is_fifo()


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("before", [True, False], ids=["over older results", "for the first time"])
def test_a_kill_between_two_renames_does_not_bar_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: bool
) -> None:
    """The data are new, the header is still on its way: it lies beside, under its hidden name."""
    if before:
        predict(tmp_path, name, value=0.75)

    class Killed(BaseException):
        pass

    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if len(done) == 1:
            raise Killed
        done.append(target)
        return replace(self, target)

    done: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(files.StagedFiles, "discard", lambda self: None)  # who is killed tidies nothing
        patch.setattr(files.contextlib, "suppress", None)
        with pytest.raises((Killed, TypeError)):
            predict(tmp_path, name)
    assert done[0].exists() and not done[0].name.endswith((".annotation", ".stream", ".json"))
    predict(tmp_path, name, value=0.125)
    assert marks.origin_of(done[0].with_name(MARKED[name])) == Origin.OURS


def test_what_comes_into_the_place_meanwhile_stays(tmp_path: Path) -> None:
    def save(_: object) -> None:
        (tmp_path / "talk.json").write_text("typed for hours")

    for overwrite in (False, True):
        with pytest.raises(PlaceTaken) if not overwrite else pytest.MonkeyPatch.context():
            formats.record(trajectory(), formats.writers(["json"], tmp_path, "talk"), save, overwrite=overwrite)
        assert ((tmp_path / "talk.json").read_text() == "typed for hours") is not overwrite
        assert [path.name for path in tmp_path.iterdir()] == ["talk.json"]


@pytest.mark.parametrize("file", ["talk.json", "talk.csv", "talk.arousal.annotation", "talk.arousal.annotation~"])
@pytest.mark.parametrize("ours", [False, True])
def test_what_comes_into_the_place_while_no_server_runs_stays(tmp_path: Path, file: str, ours: bool) -> None:
    """The complete files of a server that was killed while it put them in place wait for the next one."""
    place, part = tmp_path / file, tmp_path / f".{file}.dead0123abcd.part"
    part.write_bytes(b"complete")
    os.utime(part, ns=(0, 0))
    if ours:
        predict(tmp_path, "csv", "json", "annotation")
        files.finish_publishing([(part, place)])
        assert place.read_bytes() == b"complete"
    else:
        place.write_text("typed for hours")
        with pytest.raises(PlaceTaken, match="was put there before the results had their names"):
            files.finish_publishing([(part, place)])
        assert place.read_text() == "typed for hours" and part.exists()
        os.utime(place, ns=(0, 0))  # was there before, and may be replaced: that was asked for
        files.finish_publishing([(part, place)])
        assert place.read_bytes() == b"complete"


def test_refused_results_leave_no_folder_behind(tmp_path: Path) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        formats.record(trajectory(), formats.writers(formats.FORMATS, tmp_path / "a" / "b", "talk"), stop)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ long names


@pytest.mark.parametrize("stem", ["x" * 238, "x" * 250, "長" * 82, "ä" * 119, "🎙" * 60, "w" * 234 + "\udce4"], ids=len)
def test_long_names_are_cut_for_every_format_and_told_apart(tmp_path: Path, stem: str) -> None:
    for one in (stem, stem[:-1] + "z"):
        formats.record(trajectory(), formats.writers(formats.FORMATS, tmp_path, one))
    assert len(list(tmp_path.iterdir())) == 2 * 16
    for path in tmp_path.iterdir():
        assert path.name.startswith(stem[:40]) and re.search(r"-[0-9a-f]{8}\.[a-z]", path.name)


def test_a_name_whose_description_is_too_long_is_refused_with_the_number(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 238 + ".csv")
    with pytest.raises(
        FormatError, match=r"its name has 256 bytes, 255 are possible\); choose a name that is 1 shorter"
    ):
        formats.write(trajectory(), path)
    assert list(tmp_path.iterdir()) == []
    formats.write(trajectory(), tmp_path / ("x" * 237 + ".csv"))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "names", [["CSV"], ["Json", "JSON"], ["NDJSON"], [" csv ", "Annotation"], ["STREAM", "stream"]]
)
def test_formats_may_be_written_in_capitals(tmp_path: Path, names: list[str]) -> None:
    formats.record(trajectory(), formats.writers(names, tmp_path, "talk"))
    found = formats.writers({name.strip().lower() for name in names}, tmp_path, "talk")
    assert {place for one in found for place in one.staged.places} == set(tmp_path.iterdir())


# --------------------------------------------------------------------------------------- what is known only at the end


@pytest.mark.parametrize(
    "facts", [{}, {"damaged_packets": 3}, {"notices": "x" * 5000}, {"model": "a"}, {"n": "ü\u2028"}]
)
@pytest.mark.parametrize("rows", [0, 3, 30_000])
def test_facts_of_the_end_stand_in_every_file(tmp_path: Path, facts: dict[str, str | float], rows: int) -> None:
    one = trajectory(rows=rows)
    provenance = dict(one.provenance)

    def late() -> object:
        yield from trajectory(rows=rows)
        provenance.update(facts)

    late_one = Trajectory(Info("talk.wav", Framing(), provenance), late)  # type: ignore[arg-type]
    formats.record(late_one, formats.writers(["csv", "json", "ndjson"], tmp_path, "talk"))
    expected = PROVENANCE | facts
    assert json.loads((tmp_path / "talk.json").read_text())["provenance"] == expected
    assert json.loads((tmp_path / "talk.csv-metadata.json").read_text())["emow2v:provenance"] == expected
    with (tmp_path / "talk.ndjson").open(newline="\n") as file:
        head, *lines = map(json.loads, file)
    assert head["provenance"] == expected and len(lines) == rows
    assert all(line["start"] == round(k * 0.04, 6) for k, line in enumerate(lines))
    predict(tmp_path, "csv", "json", "ndjson")
