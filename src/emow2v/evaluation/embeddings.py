"""How well embeddings tell classes apart: a support vector machine, tested on speakers not seen in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emow2v.agreement import Floats as Floats
from emow2v.errors import Emow2vError
from emow2v.evaluation.intervals import Draws, Figure, missing
from emow2v.framing import SAMPLING_RATE
from emow2v.storage import counted

MOST_FOLDS = 30  # more speakers than that share folds
SHARED_FOLDS = 10
FEATURES = ("ComParE_2016", "eGeMAPSv02")  # of openSMILE, to compare with


class Undefined(Emow2vError):
    """A figure that the clips do not define."""


@dataclass(frozen=True)
class Recall:
    """The recall of a classifier.

    Attributes:
        uar: unweighted average recall of the classes, over the clips of all folds together
        by_class: recall of each class
        folds: number of speakers, or of groups of speakers, that were left out in turn
    """

    uar: Figure
    by_class: dict[str, float]
    folds: int

    def to_json(self) -> dict[str, object]:
        by_class = {name: round(value, 4) for name, value in self.by_class.items()}
        return {"uar": self.uar.to_json(), "by_class": by_class, "folds": self.folds}


def recall(values: Floats, classes: Sequence[str], speakers: npt.NDArray[np.int64], draws: int = 0) -> Recall:
    """The recall of an SVM for classes from values [clips, features], standardised over the speakers in training.

    It is the one of scikit-learn with its radial kernel (gamma one over the number of features, C 1), as the authors
    of msp-dim use it on emodb. Speakers are left out one at a time, or in ten groups where there are more than thirty.

    Raises:
        Undefined: fewer than two classes or speakers, or speakers without whom only one class is left
        Emow2vError: scikit-learn is not installed
    """
    labels = np.asarray(classes)
    names = np.unique(labels)
    count = np.unique(speakers).size
    if names.size < 2 or count < 2:
        raise Undefined(
            f"the clips have {counted(names.size, 'class', 'classes')} and {counted(count, 'speaker')}; expected two or more of each to judge embeddings by."
        )
    try:
        from sklearn.metrics import recall_score
        from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC
    except ImportError:
        raise missing() from None
    folds: Any = LeaveOneGroupOut() if count <= MOST_FOLDS else GroupKFold(SHARED_FOLDS)
    for training, _ in folds.split(values, labels, speakers):
        if np.unique(labels[training]).size < 2:
            remaining = ", ".join(sorted({str(name) for name in labels[training]}))
            raise Undefined(
                f"without some speakers only the class {remaining} is left to learn; expected two or more classes of other "
                "speakers for every speaker."
            )
    machine = make_pipeline(StandardScaler(), SVC(gamma="auto"))
    predicted = cross_val_predict(machine, values, labels, groups=speakers, cv=folds)

    def uar(truth: npt.NDArray[Any], prediction: npt.NDArray[Any]) -> float:
        return float(np.mean([np.mean(prediction[truth == name] == name) for name in names if (truth == name).any()]))

    each = recall_score(labels, predicted, labels=names, average=None)
    return Recall(
        uar=Draws(speakers, draws).figure(uar, labels, predicted),
        by_class=dict(zip(names.tolist(), each.tolist(), strict=True)),
        folds=min(count, SHARED_FOLDS if count > MOST_FOLDS else count),
    )


def opensmile(feature_set: str) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """A function from a signal [samples] at 16 kHz to the functionals [features] of a feature set of openSMILE.

    Raises:
        Emow2vError: openSMILE's package is not installed
    """
    try:
        from opensmile import FeatureLevel, FeatureSet, Smile
    except ImportError:
        raise Emow2vError(
            "Comparing with openSMILE needs its package (its licence is for research and private use); "
            "run: pip install 'emow2v[opensmile]'"
        ) from None
    smile = Smile(feature_set=FeatureSet[feature_set], feature_level=FeatureLevel.Functionals)

    def functionals(signal: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        row: npt.NDArray[np.float32] = smile.process_signal(signal, SAMPLING_RATE).to_numpy()[0].astype(np.float32)
        return np.nan_to_num(row)

    return functionals
