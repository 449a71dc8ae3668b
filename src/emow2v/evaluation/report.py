"""The report of an evaluation: JSON for programs, Markdown and pictures for readers."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emow2v.corpora.clip import UNRATED
from emow2v.evaluation import raters
from emow2v.evaluation.figures import Agreement, Evaluation, ScoredClip, ccc_kept, figures, truth_of
from emow2v.evaluation.intervals import Figure, missing
from emow2v.formats.markdown import table
from emow2v.formats.plot import COLOURS
from emow2v.storage import counted, marks
from emow2v.storage.files import StagedFiles
from emow2v.trajectory import DIMENSIONS

FILES = ("evaluation.json", "evaluation.md", "clips.csv", "scores.png", "confidence.png")
Confidence = Mapping[str, Mapping[str, Any]]
RECALL = (
    "Unweighted average recall of a support vector machine (radial kernel, standardised features) that is tested on\n"
    "speakers it was not trained on"
)
_TRUTHS = {
    "ratings": "what people rated",
    "norms": "published norms of the emotion words that clips are labelled with (Mehrabian and Russell 1977): no listener "
    "rated these clips, and for dominance in speech these norms are a poor judge",
    "none": "nothing: the manifest has neither ratings nor emotion words with norms",
}


def check(folder: Path, names: Iterable[str] = FILES, *, overwrite: bool = False) -> None:
    """Check, before any work, that only files are replaced that emow2v wrote.

    Args:
        names: of the files of the report

    Raises:
        PlaceTaken: a file of that name lies in `folder` that emow2v did not write, or that was changed since
        FormatError: a folder lies there
    """
    StagedFiles(places(names, folder), overwrite=overwrite).check()


def write(
    evaluation: Evaluation, folder: Path, *, about: Mapping[str, str] | None = None, overwrite: bool = False
) -> list[Path]:
    """evaluation.json, evaluation.md and pictures in `folder`, together or not at all.

    Args:
        about: more lines for both, such as the command
        overwrite: whether files are replaced that emow2v did not write

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies there
        FormatError: a place that cannot be written
    """
    pictures = {"scores.png": scores_picture(evaluation)} if evaluation.truth != "none" else {}
    if evaluation.confidence:
        pictures["confidence.png"] = confidence_picture(evaluation)
    contents: dict[str, str | bytes] = {
        "evaluation.json": json.dumps({**(about or {}), **figures(evaluation)}, indent=2, ensure_ascii=False) + "\n",
        "evaluation.md": markdown(evaluation, about or {}, pictures),
        "clips.csv": clips_table(evaluation.scored),
        **pictures,
    }
    return write_files(contents, folder, overwrite=overwrite)


def write_files(contents: Mapping[str, str | bytes], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """The files of a report by name, with marks, together or not at all; text in UTF-8. The JSON file vouches for the table.

    Raises:
        PlaceTaken: something that emow2v did not write, or that was changed since, lies there
        FormatError: a place that cannot be written
    """
    vouchers = places(contents, folder)
    digest = ""
    with StagedFiles(vouchers, overwrite=overwrite) as staged:
        for path in sorted(vouchers, key=lambda path: path.suffix == ".json"):  # after the table
            content = contents[path.name]
            plain = content.encode(errors="backslashreplace") if isinstance(content, str) else content
            mark = digest if path.suffix == ".json" else ""
            staged.open(path).write(marks.marked(plain, path.suffix, mark))
            if path.suffix == ".csv":
                digest = staged.digest(path)
    return [folder / name for name in contents]


def places(names: Iterable[str], folder: Path) -> dict[Path, Path | None]:
    """The files of a report in a folder, each with the one that vouches for it: a table has no room for a mark."""
    names = list(names)
    json_file = next(folder / name for name in names if name.endswith(".json"))
    return {folder / name: json_file if name.endswith(".csv") else None for name in names}


def markdown(evaluation: Evaluation, about: Mapping[str, str], pictures: Iterable[str] = ()) -> str:
    """The report for readers."""
    scored = evaluation.scored
    hours = sum(one.seconds for one in scored) / 3600
    model = f"{evaluation.about['model']} {evaluation.about['version']}".strip()
    lines = [f"# {model}: evaluation", ""]
    lines += [f"{name.capitalize()}: `{value}`  " for name, value in about.items()]
    lines += [
        f"{len(scored)} clips, {hours:.2f} hours. Scores are compared with {_TRUTHS[evaluation.truth]}.",
        "Intervals are 95 %, bootstrapped over speakers; there is none with fewer than three.",
        "",
    ]
    if evaluation.skipped:
        lines += [f"{counted(len(evaluation.skipped), 'clip')} could not be scored:", ""]
        lines += [f"* {name}: {sentence}" for name, sentence in evaluation.skipped.items()] + [""]
    if noticed := sum(bool(one.notices) for one in scored):
        what = "something was missing or unusual in the recording"
        lines += [f"In {counted(noticed, 'clip')} {what}; evaluation.json says what, under notices.", ""]
    if evaluation.undefined:
        lines += ["These clips do not define every figure:", ""]
        lines += [f"* {name}: {sentence}" for name, sentence in evaluation.undefined.items()] + [""]
    if evaluation.whole:
        lines += ["## Whole utterances", "", *agreement_table(evaluation.whole), ""]
        lines += [*_windows(evaluation), ""]
    if evaluation.raters:
        lines += [
            "## Raters",
            "",
            "CCC of the scores with single raters, and of the raters with each other. Scores whose CCC with the mean",
            "of the raters reaches that of a rater with the others agree with people as well as one of them does.",
            "",
        ]
        lines += [*table(raters.HEAD, raters.table(evaluation.raters)), ""]
    for group, parts in evaluation.groups.items():
        if any(parts.values()):
            lines += [f"## By {group}", "", *_group_table(group, parts), ""]
    if evaluation.within_classes:
        lines += ["Correlation with the ratings within classes, which shows whether scores tell more than the class:"]
        lines += [", ".join(f"{name} {interval(one)}" for name, one in evaluation.within_classes.items()) + ".", ""]
    if evaluation.women_less_men:
        lines += ["CCC of women's clips less that of men's:"]
        lines += [", ".join(f"{name} {interval(one)}" for name, one in evaluation.women_less_men.items()) + ".", ""]
    if evaluation.confidence:
        lines += ["## Confidence", "", *confidence_tables(evaluation.confidence, evaluation.confidence_of_windows), ""]
    if evaluation.recalls:
        lines += ["## Embeddings", "", *recall_table(evaluation), ""]
    if evaluation.classes:
        lines += ["## Classes", "", *class_table(evaluation.classes), ""]
    lines += [f"![{Path(name).stem}]({name})\n" for name in pictures]
    return "\n".join(lines)


def clips_table(scored: Sequence[ScoredClip]) -> str:
    """CSV with a row for each clip: its scores, its confidence, what they are compared with, and each rater's rating."""
    truth, values = truth_of([one.clip for one in scored])
    rated = [f"{'norm' if truth == 'norms' else 'rating'}_{name}" for name in DIMENSIONS] if truth != "none" else []
    names = list(dict.fromkeys(name for one in scored for name in one.clip.by_rater))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["file", "start", "end", "speaker", "emotion", *DIMENSIONS, *(f"confidence_{name}" for name in DIMENSIONS)]
    writer.writerow([*head, *rated, *(f"{dimension}_{name}" for name in names for dimension in DIMENSIONS)])
    for one, compared in zip(scored, values, strict=True):
        clip = one.clip
        end = clip.start + one.seconds if clip.end is None else clip.end
        numbers = [*one.whole, *one.confidence, *(compared if rated else ())]
        numbers += [value for name in names for value in clip.by_rater.get(name, UNRATED)]
        cells = ["" if math.isnan(value) else f"{value:.6f}" for value in numbers]
        writer.writerow([clip.name, f"{clip.start:g}", f"{end:.3f}", clip.speaker, clip.emotion, *cells])
    return file.getvalue()


def interval(figure: Figure | int) -> str:
    """A figure with its interval in words, such as .810 (.770 to .850); a dash where it is not defined."""
    if isinstance(figure, int):
        return str(figure)
    if math.isnan(figure.value):
        return "-"
    return _short(figure.value) + (
        f" ({_short(figure.low)} to {_short(figure.high)})" if figure.low == figure.low else ""
    )


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def agreement_table(agreement: Agreement) -> list[str]:
    """Lines of a Markdown table with a row for each dimension."""
    keys = ("ccc", "pearson", "mae", "bias", "clips", "speakers")
    head = ("", "CCC", "Pearson", "mean absolute error", "bias", "clips", "speakers")
    return table(head, ([name, *(interval(values[key]) for key in keys)] for name, values in agreement.items()))


def _windows(evaluation: Evaluation) -> list[str]:
    shares, weighted = ccc_kept(evaluation), ccc_kept(evaluation, weighted=True)
    rows = []
    for name in evaluation.whole:
        parts = (evaluation.whole, evaluation.windows_averaged, evaluation.windows_weighted, evaluation.single_windows)
        stability = evaluation.stability.get(name)
        moves = (
            [f"{stability.step:.3f}", f"{stability.within:.3f}", f"{stability.between:.3f}"] if stability else ["-"] * 3
        )
        keeps = [f"{one[name]:.0%}" if name in one else "-" for one in (shares, weighted)]
        rows.append([name, *(interval(part[name]["ccc"]) for part in parts), *keeps, *moves])
    head = (
        "",
        "whole",
        "averaged",
        "by confidence",
        "single",
        "kept",
        "kept, by confidence",
        "step",
        "within",
        "between",
    )
    about = evaluation.about
    return [
        f"## Windows of {about['window_ms']:g} ms, every {about['step_ms']:g} ms",
        "",
        "CCC of whole clips, of the mean of their windows, plain and by confidence (which counts silence for little), and of single",
        "windows; the share of it that the means keep; and how scores move: mean change from one window to the next, deviation",
        "within clips, deviation between clips' means.",
        "",
        *table(head, rows),
    ]


def _group_table(group: str, parts: Mapping[str, Agreement]) -> list[str]:
    rows = [
        [value, name, *(interval(figures[key]) for key in ("ccc", "bias", "clips", "speakers"))]
        for value, found in parts.items()
        for name, figures in found.items()
    ]
    return table((group, "", "CCC", "bias", "clips", "speakers"), rows)


def confidence_tables(clips: Confidence, windows: Confidence | None = None) -> list[str]:
    """Lines of Markdown: mean absolute errors of fifths of the clips by rising confidence, and shares of small errors.

    Args:
        clips, windows: of `confidence.confidence_of`, of whole clips and of their single windows; older results have fewer
            figures
    """
    parts = [("", clips), ("single windows, ", windows or {})]
    fifths = [_fifths_row(f"{part}{name}", one) for part, values in parts for name, one in values.items()]
    lines = [
        "Mean absolute error of the fifths of clips, from those the model is least sure of to those it is most sure of; the",
        "error of the surest fifth as a share of that of the least sure one; and the rank correlation of confidence and error",
        "(both: the lower the better).",
        "",
        *table(("", "least sure", "", "middle", "", "most sure", "share", "rank correlation"), fifths),
    ]
    steps = [
        [f"{part}{name}", *_step_row(step)]
        for part, values in parts
        for name, one in values.items()
        for step in one.get("reliability", ())
    ]
    if steps:
        below = next(one["below"] for one in clips.values())
        lines += [
            "",
            f"Share of scores that lie within {below:g} of the truth, by confidence. Where confidence is the probability of that,",
            "as in lite 2, it is close to the mean confidence.",
            "",
            *table(("", "confidence", "scores", "mean confidence", f"share within {below:g}"), steps),
        ]
    return lines


def _fifths_row(name: str, values: Mapping[str, Any]) -> list[str]:
    share, rank = values.get("surest_to_least_sure"), values["rank_correlation"]
    errors = [f"{error:.3f}" for error in values["mean_absolute_error"]]
    return [name, *errors, "-" if share is None else f"{share:.2f}", "-" if rank is None else f"{rank}"]


def _step_row(step: Mapping[str, float]) -> list[str]:
    between = f"{step['from']:g} to {step['to']:g}"
    return [between, str(step["rows"]), f"{step['confidence']:.2f}", f"{step['share_below']:.2f}"]


def recall_table(evaluation: Evaluation) -> list[str]:
    """Lines of Markdown with the unweighted average recall by corpus and features."""
    rows = [
        [corpus, features, interval(one.uar), str(len(one.by_class)), str(one.folds)]
        for corpus, parts in evaluation.recalls.items()
        for features, one in parts.items()
    ]
    return [
        f"{RECALL}.",
        "",
        *table(("corpus", "features", "UAR", "classes", "folds"), rows),
    ]


def class_table(classes: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Lines of a Markdown table with mean and deviation of the scores of each class."""
    rows = []
    for name, values in classes.items():
        row = [name, str(values["clips"])]
        for dimension in DIMENSIONS:
            scores = values[dimension]
            assert isinstance(scores, dict)
            row.append(f"{scores['mean']:.2f} ± {scores['deviation']:.2f}")
        rows.append(row)
    return table(("class", "clips", *DIMENSIONS), rows)


def scores_picture(evaluation: Evaluation) -> bytes:
    """Scores over ratings, or over norms, a panel for each dimension; PNG."""
    figure = whole_figure(10.5, 3.8)
    truth = np.asarray(truth_of([one.clip for one in evaluation.scored])[1])
    scores = np.stack([one.whole for one in evaluation.scored])
    jitter = np.random.default_rng(0).uniform(-0.008, 0.008, len(scores)) if evaluation.truth == "norms" else 0.0
    for k, (name, axes) in enumerate(zip(DIMENSIONS, figure.subplots(1, 3), strict=True)):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        axes.scatter(truth[:, k] + jitter, scores[:, k], s=6, alpha=0.35, color=COLOURS[name], linewidths=0)
        low, high = min(0.0, float(scores[:, k].min())), max(1.0, float(scores[:, k].max()))
        axes.set(title=name, xlabel="norm" if evaluation.truth == "norms" else "rating", xlim=(0, 1), ylim=(low, high))
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("score")
    return png(figure)


def confidence_picture(evaluation: Evaluation) -> bytes:
    """Mean absolute error over confidence, the fifths of clips as points; PNG."""
    figure = whole_figure(5.5, 3.8)
    axes = figure.subplots()
    for name, values in evaluation.confidence.items():
        axes.plot(values["confidence"], values["mean_absolute_error"], "o-", label=name, color=COLOURS[name])
    axes.set(xlabel="confidence (mean of a fifth of the clips)", ylabel="mean absolute error")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return png(figure)


def whole_figure(width: float, height: float) -> Any:
    """A matplotlib figure, its size in inches.

    Raises:
        Emow2vError: matplotlib is not installed
    """
    try:
        from matplotlib.figure import Figure as Picture
    except ImportError:
        raise missing() from None
    return Picture(figsize=(width, height), layout="constrained")


def png(figure: Any) -> bytes:
    """A figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=300)
    return file.getvalue()
