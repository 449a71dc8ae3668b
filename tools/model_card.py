"""Makes a model card in Markdown from the card.json of a package and the JSON files of evaluate and robustness.

python tools/model_card.py --package DIR --results DIR [--beside DIR ...] -o FILE.md [-o FILE.md] [--picture FILE.svg]

A folder of results holds CORPUS.json files of evaluate and robustness.json, as benchmarks/quality.py writes them. The
folders of --beside hold results of other models on the same corpora, which the card compares with. The picture shows the
calibration of confidence by people's ratings; a card in its folder shows it.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import figure as figures

from emow2v.errors import FormatError, exit_with_message
from emow2v.evaluation import report
from emow2v.evaluation.intervals import Figure
from emow2v.formats.markdown import table
from emow2v.storage.files import write_text
from emow2v.trajectory import DIMENSIONS

ROBUSTNESS = "robustness"
RECORDED = "recorded"  # robustness with recorded noises and measured rooms
HELD_OUT = "held-out"
RATED = "rated"

# Regulation (EU) 2024/1689: Article 5(1)(f) with recital 44, Annex III point 1(c), Article 50(3).
_USES = """\
**Meant for** research on how things are said: trajectories over time within a recording, comparison of conditions
within a speaker, embeddings as features for your own labels, tools whose results a person checks.

**Not meant for** decisions about people: hiring, grading, policing, diagnosis, insurance, checking of employees. A
score says how a voice sounds to listeners on average, not how somebody feels, and acted speech is not felt speech.
In the European Union the [AI Act](https://eur-lex.europa.eu/eli/reg/2024/1689/oj) (Regulation (EU) 2024/1689)
prohibits systems that infer emotions of people at the workplace and in education, save for medical or safety
reasons (Article 5(1)(f)); elsewhere emotion recognition counts as high-risk (Annex III, point 1(c)), and people it
is used on must be told (Article 50(3)). Voices are personal data: everything here runs on your own machine."""

Results = Mapping[str, Any]


def read_results(folder: Path) -> dict[str, Results]:
    """JSON files of a folder by their names without ending.

    Raises:
        FormatError: no JSON file there, or one that cannot be read
    """
    results = {}
    for path in sorted(folder.glob("*.json")):
        try:
            results[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FormatError(f"{path} cannot be read: {error}; check its name.") from None
    if not results:
        raise FormatError(f"{folder} holds no results; expected JSON files of emow2v evaluate and robustness.")
    return results


def model_card(
    card: Mapping[str, Any],
    results: Mapping[str, Results],
    beside: Sequence[Mapping[str, Results]],
    picture: str = "",
) -> str:
    """The text of a card.

    Args:
        card: content of card.json
        results: of this model, by corpus, and "robustness"
        beside: of other models
        picture: address of the picture of calibration; "" for none
    """
    parts = [
        f"# {card['name']} {card['version']}",
        str(card.get("description", "")),
        _facts(card),
        "## What it is for",
        _USES,
        "## Training",
        *_training(card),
        "## How good it is",
        *_quality(results, beside, picture),
        *_steadiness(results, beside),
        "## Known weaknesses",
        str(card.get("limits", "")),
        "## Where the figures come from",
        *_commands(results),
    ]
    return "\n\n".join(map(_wrapped, filter(None, parts))) + "\n"


def _wrapped(part: str) -> str:
    """A paragraph in lines of at most 119 characters; tables and parts that have lines stay as they are."""
    if "\n" in part:
        return part
    return textwrap.fill(part, 119, break_long_words=False, break_on_hyphens=False)


def _facts(card: Mapping[str, Any]) -> str:
    rows = [["licence", str(card["licence"])], ["citation", str(card.get("citation", ""))]]
    if "size" in card:
        rows.append(["size", f"{card['size'] / 1e6:.1f} MB"])
    if "multiply_adds" in card:
        rows.append(["computation", f"{card['multiply_adds'] / 1e9:.2f} G multiply-adds for a second of sound"])
    rate = card["sampling_rate"]
    if card.get("readout"):
        back, ahead, late = (
            one / rate for one in (card["look_back"], card["look_ahead"], card["delay"] * card["frame_hop"])
        )
        rows += [
            [
                "one pass",
                f"frames of {card['frame_hop'] / rate * 1000:g} ms, whose mean and deviation over a window give its value",
            ],
            ["look-back", f"{back:.2f} s before a frame, no matter how long the recording is"],
            ["look-ahead", f"{ahead:.2f} s behind a frame; a live value is {late:.2f} s late"],
        ]
    rows.append(
        ["windows", f"{card['min_samples'] / rate * 1000:g} ms to {card['max_samples'] / rate:g} s of {rate} Hz"]
    )
    rows.append(
        [
            "output",
            "1024 embeddings, and scores of arousal, dominance and valence (about 0..1) with a confidence for each",
        ]
    )
    return "\n".join(table(("", ""), rows))


def _training(card: Mapping[str, Any]) -> Iterator[str]:
    if card.get("training_data"):
        rows = [[one[key] for key in ("corpus", "language", "labels", "licence")] for one in card["training_data"]]
        yield "\n".join(table(("corpus", "language", "labels", "terms"), rows))
    yield str(card.get("targets", ""))
    if card.get("target_table"):
        rows = [[name, *(f"{value:g}" for value in values)] for name, values in card["target_table"].items()]
        yield "\n".join(table(("class", *DIMENSIONS), rows))
    if card.get("recipe"):
        recipe = ", ".join(f"{name} {value}" for name, value in card["recipe"].items())
        described = "frames.recipe.FramesRecipe" if card.get("readout") else "lite.recipe.LiteRecipe"
        yield f"Recipe (see `emow2v.training.{described}`): {recipe}."


def _quality(
    results: Mapping[str, Results], beside: Sequence[Mapping[str, Results]], picture: str = ""
) -> Iterator[str]:
    everyone = [results, *beside]
    corpora = [name for name in results if name not in (ROBUSTNESS, RECORDED, RATED)]
    if RATED in results:
        yield (
            "**People's ratings** of speakers by whom nothing was chosen, in a language that was not trained on: CCC and\n"
            "correlation with their 95 % intervals over speakers. *Within classes* is the correlation of what the class of a\n"
            "clip does not tell. The last columns are CCC of means over a clip's windows, and of its turns, weighted by their\n"
            "duration."
        )
        rows = [row for one in everyone if RATED in one for row in _rated_rows(one[RATED])]
        columns = ("model", "", "CCC", "Pearson", "within classes", "bias", "1 s windows", "2 s windows", "turns")
        yield "\n".join(table(columns, rows))
    if HELD_OUT in results:
        corpora.remove(HELD_OUT)
        yield (
            "**Speakers not seen in training**, of the training corpora, compared with the values of their classes: CCC with\n"
            "its 95 % interval over speakers, and the share of it that the mean of 1 s windows keeps, plain and weighted by\n"
            "confidence."
        )
        rows = [row for one in everyone if HELD_OUT in one for row in _agreement_rows(one[HELD_OUT])]
        yield "\n".join(
            table(("model", "", "CCC", "Pearson", "bias", "single 1 s windows", "kept", "by confidence"), rows)
        )
    if corpora:
        yield (
            "**Corpora that were not used for training, tuning or choosing.** They have no ratings: scores are compared with\n"
            "the norms of Mehrabian and Russell (1977) for the emotion words, which judge dominance in speech poorly.\n"
            f"UAR: {report.RECALL[0].lower()}{report.RECALL[1:]}."
        )
        rows = [
            row for corpus in corpora for one in everyone if corpus in one for row in _corpus_row(corpus, one[corpus])
        ]
        head = (
            "corpus",
            "model",
            *(f"Pearson {name}" for name in DIMENSIONS),
            "CCC arousal",
            "CCC valence",
            "UAR",
            "kept, arousal",
        )
        yield "\n".join(table(head, rows))
    differences = [
        f"{corpus}: " + ", ".join(f"{name} {_interval(value)}" for name, value in one["women_less_men_ccc"].items())
        for corpus, one in results.items()
        if corpus not in (ROBUSTNESS, RECORDED) and one["women_less_men_ccc"]
    ]
    if differences:
        yield (
            "**Women and men.** CCC of women's clips less that of men's, where five or more of each speak:\n\n"
            + "\n".join(f"* {one}" for one in differences)
        )  # fmt: skip
    parts = [row for name in (RATED, HELD_OUT) if name in results for row in _group_rows(name, results[name])]
    if parts:
        yield "**Parts of them**: CCC with ratings (rated) and with the values of classes (held-out), with 95 % intervals."
        yield "\n".join(table(("speech", "part", "clips", "speakers", *DIMENSIONS), parts))
    for name, truth in (
        (RATED, "people's ratings of speakers by whom nothing was chosen, and single windows of 1 s"),
        (HELD_OUT, "the values of classes, on the held-out speakers"),
    ):
        if name in results and results[name]["confidence"]:
            yield f"**Confidence**, compared with {truth}."
            if name == RATED and picture:
                yield f"![Share of scores within 0.1 of the ratings, by confidence]({picture})"
            windows = results[name].get("confidence_of_windows") if name == RATED else None
            yield "\n".join(report.confidence_tables(results[name]["confidence"], windows))
    if HELD_OUT in results:
        yield "**Scores of the classes** (held-out speakers, mean and deviation):"
        yield "\n".join(report.class_table(results[HELD_OUT]["classes"]))


def _rated_rows(one: Results) -> Iterator[list[str]]:
    for name, values in one["whole"].items():
        within = one["within_classes"].get(name)
        yield [
            _named(one), name, _interval(values["ccc"]), _interval(values["pearson"]),
            _interval(within) if within else "-", _value(values["bias"]),
            _value(one["windows_averaged"][name]["ccc"]),
            *(_plain(one.get("longer", {}).get(span, {}).get(name)) for span in ("windows_of_2_s", "turns")),
        ]  # fmt: skip


def _group_rows(corpus: str, one: Results) -> Iterator[list[str]]:
    for group, parts in one["groups"].items():
        for value, agreement in parts.items():
            if not agreement or group == "corpus":  # each corpus has a language of its own
                continue
            some = next(iter(agreement.values()))
            known = [_interval(agreement[name]["ccc"]) if name in agreement else "-" for name in DIMENSIONS]
            yield [corpus, f"{group}: {value}", str(some["clips"]), str(some["speakers"]), *known]


def _agreement_rows(one: Results) -> Iterator[list[str]]:
    for name, values in one["whole"].items():
        kept, weighted = (one[key].get(name) for key in ("windows_keep", "weighted_windows_keep"))
        yield [
            _named(one), name, _interval(values["ccc"]), _value(values["pearson"]), _value(values["bias"]),
            _value(one["single_windows"][name]["ccc"]), *("-" if share is None else f"{share:.0%}" for share in (kept, weighted)),
        ]  # fmt: skip


def _corpus_row(corpus: str, one: Results) -> Iterator[list[str]]:
    whole = one["whole"]

    def value(dimension: str, key: str) -> str:
        return _value(whole[dimension][key]) if dimension in whole else "-"

    kept = one["windows_keep"].get("arousal")
    recalls = [(features, recall["uar"]) for parts in one["recall"].values() for features, recall in parts.items()]
    yield [
        corpus, _named(one), *(value(name, "pearson") for name in DIMENSIONS), value("arousal", "ccc"),
        value("valence", "ccc"), *([_interval(recalls[0][1])] if recalls else ["-"]), "-" if kept is None else f"{kept:.0%}",
    ]  # fmt: skip
    for features, recall in recalls[1:]:
        yield [corpus, f"openSMILE {features}", *["-"] * 5, _interval(recall), "-"]


def _steadiness(results: Mapping[str, Results], beside: Sequence[Mapping[str, Results]]) -> Iterator[str]:
    if ROBUSTNESS not in results:
        return
    yield "## How steady it is"
    one = results[ROBUSTNESS]
    yield (
        f"Share of scores that change by less than {one['limit']:g} when a recording is changed, after Derington et al.\n"
        f"(arXiv 2312.06270); {one['files']} clips of held-out speakers. A test is passed when the share of every dimension\n"
        "is above the threshold."
    )
    others = [other[ROBUSTNESS] for other in beside if ROBUSTNESS in other]
    rows = [
        [test["group"], test["test"], *(_share(test["unchanged"][name]) for name in DIMENSIONS), f"{test['threshold']:.0%}",
         "yes" if test["passed"] and all(test["passed"].values()) else "no"]
        for test in one["tests"]
    ]  # fmt: skip
    yield "\n".join(table(("group", "test", *DIMENSIONS, "threshold", "passed"), rows))
    if others:
        rows = [
            [group, _named(other), *(_share(other["groups"][group]["unchanged"][name]) for name in DIMENSIONS)]
            for group in one["groups"]
            for other in (one, *others)
            if group in other["groups"]
        ]
        yield "Means of the groups, compared with other models:"
        yield "\n".join(table(("group", "model", *DIMENSIONS), rows))
    made = sorted(test["test"] for test in one["tests"] if test["sound"] == "synthetic")
    yield f"Sounds were synthetic in: {', '.join(made)}. Rooms were simulated by image sources."
    recorded = [other[RECORDED] for other in (results, *beside) if RECORDED in other]
    if RECORDED in results:
        rows = [
            [test["test"], _named(other), *(_share(test["unchanged"][name]) for name in DIMENSIONS), f"{test['threshold']:.0%}"]
            for place in range(len(recorded[0]["tests"]))
            for other in recorded
            for test in other["tests"][place : place + 1]
        ]  # fmt: skip
        yield (
            "With recorded noises of places, 20 dB below, and in measured rooms, against the recording as it is. The training\n"
            "of lite 2.0 and lite-frames drew from the same recordings, that of the others did not:"
        )
        yield "\n".join(table(("test", "model", *DIMENSIONS, "threshold"), rows))


def _commands(results: Mapping[str, Results]) -> Iterator[str]:
    commands = dict.fromkeys(str(one["command"]) for one in results.values() if one.get("command"))
    yield "```\n" + "\n".join(commands) + "\n```"
    checksum = next((one["weights_sha256"] for one in results.values() if one.get("weights_sha256")), "")
    if checksum:
        yield f"Measured with weights of SHA-256 `{checksum}`."


def _named(one: Results) -> str:
    return f"{one['model']} {one['version']}"


def _interval(figure: Mapping[str, float | None]) -> str:
    return report.interval(Figure.from_json(figure))


def _value(figure: Mapping[str, float | None]) -> str:
    return report.interval(Figure(Figure.from_json(figure).value))


def _plain(agreement: Mapping[str, float] | None) -> str:
    return _value({"value": agreement["ccc"], "low": None, "high": None}) if agreement else "-"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def draw_calibration(path: Path, rated: Results) -> None:
    """A picture of the share of scores that lie within 0.1 of people's ratings over their mean confidence."""
    picture = figures.Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = picture.subplots(1, 2, sharex=True, sharey=True)
    for axis, key, title in zip(
        axes, ("confidence", "confidence_of_windows"), ("whole clips", "single windows of 1 s"), strict=True
    ):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
        for (dimension, values), marker in zip(rated[key].items(), "osd", strict=False):
            steps = values["reliability"]
            axis.plot(
                [one["confidence"] for one in steps],
                [one["share_below"] for one in steps],
                marker=marker,
                label=dimension,
            )
        axis.set(title=title, xlabel="mean confidence", xlim=(0, 1), ylim=(-0.02, 1), aspect="equal")
    axes[0].set_ylabel("share within 0.1")
    axes[0].legend(frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "emow2v"}):
        picture.savefig(path, metadata={"Date": None})


@exit_with_message
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tools/model_card.py", description="A model card.")
    parser.add_argument("--package", type=Path, required=True, help="folder with card.json")
    parser.add_argument("--results", type=Path, required=True, help="folder of this model's JSON files")
    parser.add_argument(
        "--beside", type=Path, action="append", default=[], help="folder of the JSON files of another model; repeatable"
    )
    parser.add_argument("-o", "--output", type=Path, action="append", required=True, help="Markdown file; repeatable")
    parser.add_argument("--picture", type=Path, help="SVG of the calibration by people's ratings")
    options = parser.parse_args(arguments)
    card = json.loads((options.package / "card.json").read_text(encoding="utf-8"))
    graphs = [card["graph"], *(card[key] for key in ("readout", "short") if card.get(key))]
    card["size"] = sum((options.package / graph).stat().st_size for graph in graphs)
    results, beside = read_results(options.results), [read_results(folder) for folder in options.beside]
    if options.picture:
        draw_calibration(options.picture, results[RATED])
        print(f"wrote {options.picture}")
    for path in options.output:
        shown = options.picture is not None and options.picture.parent == path.parent
        write_text(path, model_card(card, results, beside, options.picture.name if shown else ""), overwrite=True)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
