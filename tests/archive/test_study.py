"""A study as it comes, in one command: every kind of recording, turns from ELAN and Praat, files that are none; judged by
pandas, openpyxl, pyreadstat, pympi, praatio and Praat itself (parselmouth)."""

import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr

from commands import caller
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE
from emow2v.rows import DIMENSIONS

pympi = pytest.importorskip("pympi")
textgrid = pytest.importorskip("praatio.textgrid")
parselmouth = pytest.importorskip("parselmouth")

RATE = 16000
LONG = 14  # times the example: three minutes
TURNS = {"VP": [(0.5, 3.0, "hallo & <du>"), (6.0, 9.0, "ja")], "IV": [(3.2, 5.8, "so")]}
OF_LONG = {
    "VP": [(6.0 * k, 6.0 * k + 2.5, f"v{k}") for k in range(29)],
    "IV": [(6.0 * k + 3, 6.0 * k + 5, f"i{k}") for k in range(29)],
}
DONE = {"p1.mp3": TURNS, "p2.mp4": TURNS, "p3.flac": TURNS, "p4.ogg": TURNS, "p7.wav": OF_LONG}


def encode(path: Path, signal: np.ndarray, codec: str, *, pictures: bool = False) -> None:
    with av.open(str(path), "w") as container:
        if pictures:
            film = container.add_stream("mpeg4", 5)
            film.width = film.height = 64
        stream = container.add_stream(codec, RATE, layout="mono")
        if pictures:
            for _ in range(int(5 * len(signal) / RATE)):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
                container.mux(film.encode(frame))
            container.mux(film.encode())
        frame = av.AudioFrame.from_ndarray(signal[None], "fltp", "mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.format, "mono", RATE, frame_size=stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode())


def write_eaf(path: Path, recording: str, tiers: dict) -> None:
    document = pympi.Elan.Eaf()
    document.remove_tier("default")
    document.add_linked_file(f"file:///C:/study/{recording}", f"./{recording}", "audio/x-wav")
    for name, turns in tiers.items():
        document.add_tier(name, part=f"person {name}")
        for start, end, label in turns:
            document.add_annotation(name, round(1000 * start), round(1000 * end), label)
    document.to_file(str(path))


def write_textgrid(path: Path, duration: float, tiers: dict) -> None:
    grid = textgrid.Textgrid()
    for name, turns in tiers.items():
        grid.addTier(textgrid.IntervalTier(name, turns, 0, duration))
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "interviews"
    folder.mkdir()
    signal, _ = soundfile.read(EXAMPLE, dtype="float32")
    duration = len(signal) / RATE
    encode(folder / "p1.mp3", signal, "libmp3lame")
    encode(folder / "p2.mp4", signal, "aac", pictures=True)
    fine = soxr.resample(signal, RATE, 48000)
    soundfile.write(folder / "p3.flac", np.stack([fine, 0.2 * fine[::-1]], axis=1), 48000)  # a speaker a channel
    soundfile.write(folder / "p4.ogg", signal, RATE)  # Vorbis
    (folder / "p5.wav").write_bytes(b"")
    (folder / "p6.wav").write_text("the sound is on the server\n")
    soundfile.write(folder / "p7.wav", np.tile(signal, LONG), RATE)
    write_eaf(folder / "p1.eaf", "p1.mp3", TURNS)
    write_textgrid(folder / "p2.TextGrid", duration, TURNS)
    write_eaf(folder / "p3.eaf", "p3.flac", TURNS)
    write_textgrid(folder / "p4.TextGrid", duration, TURNS)
    for name in ("p5", "p6"):
        write_eaf(folder / f"{name}.eaf", f"{name}.wav", TURNS)
    write_eaf(folder / "p7.eaf", "p7.wav", OF_LONG)
    return folder


def read_table(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        return pd.read_parquet(path)
    if path.suffix == ".xlsx":
        sheet = pytest.importorskip("openpyxl").load_workbook(path).active
        head, *rows = sheet.iter_rows(values_only=True)
        return pd.DataFrame(rows, columns=list(head))
    return pytest.importorskip("pyreadstat").read_sav(path)[0]


@pytest.mark.parametrize(
    "ending", ["csv", *(pytest.param(one, marks=pytest.mark.slow) for one in ("parquet", "xlsx", "sav"))]
)
def test_one_command(lite: Model, study: Path, tmp_path: Path, monkeypatch, ending: str) -> None:
    if ending != "csv":
        pytest.importorskip({"parquet": "pyarrow", "xlsx": "xlsxwriter", "sav": "pyreadstat"}[ending])
    out, table = tmp_path / "results", tmp_path / f"all.{ending}"
    options = ["--segments", study, "--tier", "VP=left", "--tier", "IV=right"]
    result = caller(monkeypatch, lite)(
        "predict", study, *options, "--format", "eaf,textgrid", "-o", out, "--table", table
    )
    assert result.exit_code == 1
    said = result.output.splitlines()
    assert f"{study / 'p5.wav'} is empty (0 bytes); expected a recording." in said
    assert f"{study / 'p6.wav'} is not a recording that can be decoded; expected audio or video, e.g. wav." in said
    assert said[-1] == f"5 of 7 recordings done, 2 failed; results are in {out}; the table is {table}."
    mono = [line for line in said if "has one channel; all turns are valued in it" in line]
    assert len(mono) == 4 and not any("left out" in line for line in said)

    rows = read_table(table)
    expected = [
        (str(study / name), start, end, tier, label)
        for name, tiers in DONE.items()
        for start, end, tier, label in sorted((s, e, tier, text) for tier in tiers for s, e, text in tiers[tier])
    ]
    found = rows[["file", "start", "end", "tier", "label"]].itertuples(index=False)
    assert [(file, round(start, 6), round(end, 6), *names) for file, start, end, *names in found] == expected
    persons = {name: f"person {name}" for name in TURNS}
    of_elan = rows[~rows["file"].str.contains("p2|p4")]
    assert of_elan["speaker"].tolist() == of_elan["tier"].map(persons).tolist()
    check_scores(lite, study, rows)
    described = json.loads(table.with_name(f"{table.name}-metadata.json").read_text("utf-8"))
    assert [Path(one["file"]).name for one in described["failed"]] == ["p5.wav", "p6.wav"]
    assert [Path(one["file"]).name for one in described["recordings"]] == list(DONE)
    if ending == "csv":
        check_elan_and_praat(out, rows)


def check_scores(model: Model, study: Path, rows: pd.DataFrame) -> None:
    """The values of turns are those of their sound, cut out by other means."""
    channels, _ = soundfile.read(study / "p3.flac", dtype="float32")
    whole, _ = soundfile.read(study / "p7.wav", dtype="float32")
    for (name, tier), signal in {
        ("p3.flac", "VP"): soxr.resample(channels[:, 0], 48000, RATE),
        ("p3.flac", "IV"): soxr.resample(channels[:, 1], 48000, RATE),
        ("p7.wav", "IV"): whole,
    }.items():
        row = rows[(rows["file"] == str(study / name)) & (rows["tier"] == tier)].iloc[-1]
        sound = signal[round(row["start"] * RATE) : round(row["end"] * RATE)]
        expected = model.predict(sound, RATE, unit="files").scores[0]
        np.testing.assert_allclose(row[list(DIMENSIONS)].astype(float), expected, atol=1e-3)
    first = [rows[rows["file"] == str(study / name)].iloc[0]["arousal"] for name in DONE]
    np.testing.assert_allclose(first[:4], [first[2]] * 4, atol=0.1)  # whatever the codec


def check_elan_and_praat(out: Path, rows: pd.DataFrame) -> None:
    written = [f"{Path(name).stem}.{ending}" for name in DONE for ending in ("eaf", "TextGrid")]
    assert sorted(path.name for path in out.iterdir()) == sorted([".emow2v", "failures.csv", *written])
    for name, tiers in DONE.items():
        of_file = rows[rows["file"].str.endswith(name)]
        document = pympi.Elan.Eaf(str(out / f"{Path(name).stem}.eaf"))
        grid = textgrid.openTextgrid(str(out / f"{Path(name).stem}.TextGrid"), includeEmptyIntervals=False)
        praat = parselmouth.read(str(out / f"{Path(name).stem}.TextGrid"))
        (linked,) = document.media_descriptors
        found = (out / linked["RELATIVE_MEDIA_URL"]).resolve()
        assert found.name == name and found.is_file()
        for tier in tiers:
            values = of_file[of_file["tier"] == tier]
            person = tier if name in ("p2.mp4", "p4.ogg") else f"person {tier}"
            for column in DIMENSIONS:
                elan = sorted(document.get_annotation_data_for_tier(f"{person} emow2v {column}"))
                entries = grid.getTier(f"{person} emow2v {column}").entries
                of_elan = [(one[0] / 1000, one[1] / 1000, float(one[2])) for one in elan]
                of_praat = [(one.start, one.end, float(one.label)) for one in entries]
                np.testing.assert_allclose(of_elan, values[["start", "end", column]], atol=1e-3)
                np.testing.assert_allclose(of_praat, values[["start", "end", column]], atol=1e-4)
        assert parselmouth.praat.call(praat, "Get number of tiers") == len(grid.tierNames)
