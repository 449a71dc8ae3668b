"""A model card in Markdown from a package's card.json and the JSON files of evaluate and robustness.

python tools/model_card.py --package DIR --results DIR [--beside DIR ...] -o FILE.md [-o FILE.md]

A results folder holds CORPUS.json files of evaluate and robustness.json, as benchmarks/quality.py writes them; those
given with --beside are of other models on the same corpora, to compare with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emow2v.errors import FormatError, exit_with_message
from emow2v.formats.markdown import table
from emow2v.storage.files import write_text
from emow2v.trajectory import DIMENSIONS

ROBUSTNESS = "robustness"
HELD_OUT = "held-out"

# Regulation (EU) 2024/1689: Article 5(1)(f) with recital 44, Annex III point 1(c), Article 50(3).
_USES = """\
**Meant for** research on how things are said: trajectories over time within a recording, comparison of conditions within
a speaker, embeddings for one's own labels, tools that a person looks at.

**Not meant for** decisions about people: hiring, grading, policing, diagnosis, insurance, checking of employees. A score
says how a voice sounds to listeners on average, not what somebody feels, and acted speech is not felt speech. In the
European Union the [AI Act](https://eur-lex.europa.eu/eli/reg/2024/1689/oj) (Regulation (EU) 2024/1689) prohibits systems
that infer emotions of people at the workplace and in education, save for medical or safety reasons (Article 5(1)(f));
elsewhere emotion recognition counts as high-risk (Annex III, point 1(c)), and people it is used on must be told
(Article 50(3)). Voices are personal data: everything here runs on your own machine."""

Results = Mapping[str, Any]


def read_results(folder: Path) -> dict[str, Results]:
    """JSON files of a folder by their names without ending.

    Raises:
        FormatError: none there, or one that cannot be read
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FormatError(f"{path} cannot be read: {error}; check its name.") from None
    if not found:
        raise FormatError(f"{folder} holds no results; expected JSON files of emow2v evaluate and robustness.")
    return found


def model_card(card: Mapping[str, Any], results: Mapping[str, Results], beside: Sequence[Mapping[str, Results]]) -> str:
    """The card's text.

    Args:
        card: what stands in card.json
        results: of this model, by corpus, and "robustness"
        beside: those of others
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
        *_quality(results, beside),
        *_steadiness(results, beside),
        "## Known weaknesses",
        str(card.get("limits", "")),
        "## Where the figures come from",
        *_commands(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(card: Mapping[str, Any]) -> str:
    rows = [["licence", str(card["licence"])], ["citation", str(card.get("citation", ""))]]
    if "size" in card:
        rows.append(["size", f"{card['size'] / 1e6:.1f} MB"])
    if "multiply_adds" in card:
        rows.append(["work", f"{card['multiply_adds'] / 1e9:.2f} G multiply-adds for a window of 1 s"])
    rate = card["sampling_rate"]
    rows.append(
        ["windows", f"{card['min_samples'] / rate * 1000:g} ms to {card['max_samples'] / rate:g} s of {rate} Hz"]
    )
    rows.append(
        ["out", "1024 embeddings, scores of arousal, dominance and valence (about 0..1), and how sure it is of each"]
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
        yield f"Recipe (see `emow2v.training.lite.task.Recipe`): {recipe}."


def _quality(results: Mapping[str, Results], beside: Sequence[Mapping[str, Results]]) -> Iterator[str]:
    everyone = [results, *beside]
    corpora = [name for name in results if name != ROBUSTNESS]
    if HELD_OUT in results:
        corpora.remove(HELD_OUT)
        yield (
            "**Speakers never trained on**, of the training corpora, against the values the classes were given: CCC, with its "
            "95 % interval over speakers; what share of it the mean of 1 s windows keeps, plain and by confidence."
        )
        rows = [row for one in everyone if HELD_OUT in one for row in _agreement_rows(one[HELD_OUT])]
        yield "\n".join(
            table(("model", "", "CCC", "Pearson", "bias", "single 1 s windows", "kept", "by confidence"), rows)
        )
    if corpora:
        yield (
            "**Corpora never trained on, tuned on or chosen by.** Nobody rated them: scores are compared with the norms of Mehrabian and "
            "Russell (1977) for the emotion words, which judge dominance in speech poorly. UAR is the unweighted average recall of a "
            "support vector machine on the embeddings, tested on speakers it was not trained on."
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
        if corpus != ROBUSTNESS and one["women_less_men_ccc"]
    ]
    if differences:
        yield (
            "**Women and men.** CCC of women's clips less that of men's, where five or more of each speak: "
            + "; ".join(differences) + "."
        )  # fmt: skip
    if HELD_OUT in results and results[HELD_OUT]["confidence"]:
        yield (
            "**Confidence.** Mean absolute error on the held-out speakers, from the fifth of clips the model is least sure of to "
            "that it is surest of, and the rank correlation of confidence and error:"
        )
        rows = [
            [name, *(f"{error:.3f}" for error in one["mean_absolute_error"]), f"{one['rank_correlation']:.2f}"]
            for name, one in results[HELD_OUT]["confidence"].items()
        ]
        yield "\n".join(table(("", "least sure", "", "", "", "surest", "rank correlation"), rows))
    if HELD_OUT in results:
        yield "**Where the classes lie** (held-out speakers, mean and deviation):"
        rows = [
            [name, str(one["clips"]), *(f"{one[d]['mean']:.2f} ± {one[d]['deviation']:.2f}" for d in DIMENSIONS)]
            for name, one in results[HELD_OUT]["classes"].items()
        ]
        yield "\n".join(table(("class", "clips", *DIMENSIONS), rows))


def _agreement_rows(one: Results) -> Iterator[list[str]]:
    for name, values in one["whole"].items():
        kept, weighted = (one[key].get(name) for key in ("windows_keep", "weighted_windows_keep"))
        yield [
            _named(one), name, _interval(values["ccc"]), _plain(values["pearson"]), _plain(values["bias"]),
            _plain(one["single_windows"][name]["ccc"]), *("-" if share is None else f"{share:.0%}" for share in (kept, weighted)),
        ]  # fmt: skip


def _corpus_row(corpus: str, one: Results) -> Iterator[list[str]]:
    whole = one["whole"]

    def value(dimension: str, key: str) -> str:
        return _plain(whole[dimension][key]) if dimension in whole else "-"

    kept = one["windows_keep"].get("arousal")
    recalls = [(features, found["uar"]) for parts in one["recall"].values() for features, found in parts.items()]
    yield [
        corpus, _named(one), *(value(name, "pearson") for name in DIMENSIONS), value("arousal", "ccc"),
        value("valence", "ccc"), *([_interval(recalls[0][1])] if recalls else ["-"]), "-" if kept is None else f"{kept:.0%}",
    ]  # fmt: skip
    for features, found in recalls[1:]:
        yield [corpus, f"openSMILE {features}", *["-"] * 5, _interval(found), "-"]


def _steadiness(results: Mapping[str, Results], beside: Sequence[Mapping[str, Results]]) -> Iterator[str]:
    if ROBUSTNESS not in results:
        return
    yield "## How steady it is"
    one = results[ROBUSTNESS]
    yield (
        f"Share of scores that move by less than {one['limit']:g} when a recording is changed, after Derington et al. "
        f"(arXiv 2312.06270); {one['files']} clips of held-out speakers. More than the threshold must stay."
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
        yield "Means of the groups, beside other models:"
        yield "\n".join(table(("group", "model", *DIMENSIONS), rows))
    made = sorted(test["test"] for test in one["tests"] if test["sound"] == "synthetic")
    yield f"Synthetic sounds stood in for recorded ones in: {', '.join(made)}. Rooms were simulated by image sources."


def _commands(results: Mapping[str, Results]) -> Iterator[str]:
    commands = dict.fromkeys(str(one["command"]) for one in results.values() if one.get("command"))
    yield "```\n" + "\n".join(commands) + "\n```"
    checksum = next((one["weights_sha256"] for one in results.values() if one.get("weights_sha256")), "")
    if checksum:
        yield f"Measured with weights of SHA-256 `{checksum}`."


def _named(one: Results) -> str:
    return f"{one['model']} {one['version']}"


def _interval(figure: Mapping[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    low, high = figure["low"], figure["high"]
    return f"{figure['value']:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")


def _plain(figure: Mapping[str, float | None]) -> str:
    return "-" if figure["value"] is None else f"{figure['value']:.3f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


@exit_with_message
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tools/model_card.py", description="A model card.")
    parser.add_argument("--package", type=Path, required=True, help="folder with card.json")
    parser.add_argument("--results", type=Path, required=True, help="folder of this model's JSON files")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="of another model; repeatable")
    parser.add_argument("-o", "--output", type=Path, action="append", required=True, help="Markdown file; repeatable")
    options = parser.parse_args(arguments)
    card = json.loads((options.package / "card.json").read_text(encoding="utf-8"))
    graph = options.package / card["graph"]
    card["size"] = graph.stat().st_size
    text = model_card(card, read_results(options.results), [read_results(folder) for folder in options.beside])
    for path in options.output:
        write_text(path, text, overwrite=True)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
