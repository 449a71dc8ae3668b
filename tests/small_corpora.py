"""Miniature corpora in the layouts of real ones: noise for sound, the files about it as their releases write them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from emow2v.corpora.clip import Clip, Ratings

RATE = 16000
HALF: Ratings = (0.5, 0.5, 0.5)


def stretch(
    file: Path, start: float, end: float | None, speaker: str = "s0", partition: str = "train", ratings: Ratings = HALF
) -> Clip:
    """A clip of a recording, rated in the middle."""
    return Clip(file, file.name, start, end, speaker=speaker, partition=partition, ratings=ratings)


def write_noise(path: Path, seconds: float = 0.5, *, level: float = 0.1, rate: int = RATE, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    signal = np.random.default_rng(seed).normal(scale=level, size=round(seconds * rate))
    soundfile.write(path, np.clip(signal, -1, 1), rate)
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A CSV file with every column that a row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def csv_corpus(folder: Path, *, speakers: int = 6, clips: int = 4, partitions: Sequence[str] = ()) -> Path:
    """Clips of `speakers`, rated from 1 to 7; partitions by speaker, in turn."""
    rows = []
    for speaker in range(speakers):
        for clip in range(clips):
            name = f"wav/s{speaker}_{clip}.wav"
            write_noise(folder / name, 0.5 + 0.1 * clip, seed=10 * speaker + clip)
            row: dict[str, object] = {"file": name, "speaker": f"s{speaker}"}
            row |= {"arousal": 1 + (speaker + clip) % 7, "dominance": 1 + clip, "valence": 7 - clip}
            rows.append(row | ({"partition": partitions[speaker % len(partitions)]} if partitions else {}))
    return write_csv(folder / "corpus.csv", rows)


# name, class, act, val, dom, speaker, sex, partition: as the consensus labels of a release have them
MSP = (
    ("MSP-PODCAST_0001_0008.wav", "N", 2.2, 4.0, 2.6, "127", "Male", "Train"),
    ("MSP-PODCAST_0001_0019.wav", "H", 5.5, 6.0, 5.0, "127", "Male", "Train"),
    ("MSP-PODCAST_0002_0033.wav", "X", 7.0, 1.0, 7.0, "Unknown", "Unknown", "Train"),
    ("MSP-PODCAST_0003_0001.wav", "S", 2.0, 2.0, 3.0, "9", "Female", "Development"),
    ("MSP-PODCAST_0004_0001.wav", "A", 6.0, 2.0, 6.4, "11", "Female", "Test1"),
    ("MSP-PODCAST_0005_0001_0002.wav", "A", 6.0, 2.0, 6.4, "12", "Female", "Test2"),
)


def msp_podcast(folder: Path, *, labels: str = "Labels/labels_consensus.csv", audio: str = "Audios") -> Path:
    columns = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
    for number, row in enumerate(MSP):
        write_noise(folder / audio / row[0], seed=number)
    (folder / labels).parent.mkdir(parents=True, exist_ok=True)
    write_csv(folder / labels, [dict(zip(columns, row, strict=True)) for row in MSP])
    return folder


def old_msp_podcast(folder: Path) -> Path:
    """As the first releases were: three text files, ratings of single workers below each segment."""
    labels, partitions, speakers = [], [], ["Speaker_9; Female", "Speaker_127; Male", ""]
    for number, (name, emotion, act, val, dom, speaker, _, part) in enumerate(MSP):
        write_noise(folder / "Audio" / name, seed=number)
        labels += [f"{name}; {emotion}; A:{act:f}; V:{val:f}; D:{dom:f}; "]
        labels += [f"WORKER0000000{k}; Neutral; Neutral; A:{act:f}; V:{val:f}; D:{dom:f}; " for k in (1, 2)] + [""]
        partitions.append(f"{part.replace('Development', 'Validation')}; {name}")
        speakers.append(f"{name}; {speaker}")
    (folder / "Labels").mkdir()
    (folder / "Labels" / "labels.txt").write_text("\n".join(labels))
    (folder / "Partitions.txt").write_text("\n\n".join(partitions))
    (folder / "Speaker_ids.txt").write_text("\r\n".join(speakers))
    return folder


def iemocap(folder: Path, *, sessions: int = 5) -> Path:
    for session in range(1, sessions + 1):
        root = folder / f"Session{session}"
        (root / "dialog" / "EmoEvaluation" / "Categorical").mkdir(parents=True)
        for wearer, scene in (("F", "impro01"), ("M", "script01_1")):
            dialog = f"Ses0{session}{wearer}_{scene}"
            lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            for turn, (who, values) in enumerate((("F", (2.5, 3.0, 4.0)), ("M", (1.0, 5.0, 4.6667)))):
                name = f"{dialog}_{who}{turn:03d}"
                write_noise(root / "sentences" / "wav" / dialog / f"{name}.wav", seed=session + turn)
                valence, activation, dominance = (f"{value:.4f}" for value in values)
                lines += [
                    f"[{6.2901 + turn:.4f} - {8.2357 + turn:.4f}]\t{name}\tneu\t[{valence}, {activation}, {dominance}]"
                ]
                lines += [
                    "C-E2:\tNeutral;\t()",
                    "A-E3:\tval 3; act 2; dom  2;\t()",
                    "A-F1:\tval 2; act 3; dom  3;\t()",
                    "",
                ]
            (root / "dialog" / "EmoEvaluation" / f"{dialog}.txt").write_text("\n".join(lines))
            (root / "dialog" / "EmoEvaluation" / f"._{dialog}.txt").write_bytes(b"\0\5\x16\7[Mac OS X")
    return folder


def audformat_database(folder: Path) -> Path:
    """Written by audformat: a table of files by split, one of segments without ratings of dominance, speakers apart."""
    import audformat
    import pandas as pd

    database = audformat.Database("small", source="made", usage="unrestricted", languages=["en"])
    database.raters["gold"] = audformat.Rater()
    for split in ("train", "dev", "test"):
        database.splits[split] = audformat.Split(split)
    for name in ("arousal", "dominance", "valence"):
        database.schemes[name] = audformat.Scheme("float", minimum=-1, maximum=1)
    database.schemes["speaker"] = audformat.Scheme(
        labels={"ann": {"sex": "f"}, "bob": {"sex": "m"}, "cem": {"sex": "m"}}
    )
    files = [
        str(write_noise(folder / f"audio/{name}.wav", 2.0, seed=n).relative_to(folder)) for n, name in enumerate("abc")
    ]
    for number, split in enumerate(("train", "dev")):
        table = audformat.Table(audformat.filewise_index(files[number : number + 1]), split_id=split)
        database[f"emotion.{split}"] = table
        for name, value in (("arousal", 0.0), ("dominance", 1.0), ("valence", -0.5)):
            table[name] = audformat.Column(scheme_id=name, rater_id="gold")
            table[name].set([value])
    index = audformat.segmented_index(
        files[2:] * 2, [pd.Timedelta("0s"), pd.Timedelta("0.5s")], [pd.Timedelta("0.5s"), pd.NaT]
    )
    database["emotion.test"] = audformat.Table(index, split_id="test")
    for rater, values in (("one", [1.0, 0.0]), ("two", [0.0, None])):
        database["emotion.test"][rater] = audformat.Column(scheme_id="arousal")
        database["emotion.test"][rater].set(values)
    database["files"] = audformat.Table(audformat.filewise_index(files))
    database["files"]["who"] = audformat.Column(scheme_id="speaker")
    database["files"]["who"].set(["ann", "bob", "cem"])
    database.save(folder)
    return folder


def write_tones(folder: Path) -> None:
    """Tones that get higher and louder with arousal, by two speakers for training and one held out."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(48):
        speaker = "ravdess_24" if number % 5 == 0 else f"ravdess_{number % 2 + 1:02d}"
        emotion = ("sadness", "anger", "happiness")[number % 3]
        pitch = {"sadness": 110, "anger": 300, "happiness": 220}[emotion] * rng.uniform(0.9, 1.1)
        time = np.arange(int(16000 * rng.uniform(1.1, 2))) / 16000
        tone = np.sign(np.sin(2 * np.pi * pitch * time)) * 0.1 + rng.normal(0, 0.01, time.size)
        soundfile.write(folder / f"{number}.wav", tone, 16000)
        rows.append((f"{number}.wav", "ravdess", speaker, emotion, "normal"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "corpus", "speaker", "emotion", "intensity"), *rows])
