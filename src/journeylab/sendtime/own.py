"""One's own classifier as a send-time model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from journeylab.errors import DataError
from journeylab.sendtimes import WEEK

from .features import CONTACT_COLUMNS, HOUR_COLUMNS, ContactCurves, hour_features, training_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sends import SendTable

__all__ = ["FromClassifier"]

_BLOCK = 2_000  # contacts


class FromClassifier(ContactCurves):
    """Learns by a classifier of one's own whether a send is answered, of what was known then and of its hour.

    A clone of it is fitted to `features.training_matrix`: named columns, all numbers and none missing. It is then asked
    about each contact, as known at the last send, at the 168 hours, with the rate of all messages for the message's.
    `near_share`, how many of the contact's answers came near the hour of sending, is what gives contacts hours of their
    own even where the classifier is linear. What its curves may claim is tested as with any other model (`evidence_`).

    Errors are not known of a classifier: the intervals of `scores` and of gains are NaN.

    Args:
        estimator: a scikit-learn classifier or pipeline with `fit(X, y)` and `predict_proba(X)`, not fitted.

    Attributes, once fitted (beside those of `SendTimeEstimator`):
        estimator_: the fitted clone.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from journeylab import datasets
    >>> from journeylab.sendtime.sends import send_table
    >>> model = FromClassifier(make_pipeline(StandardScaler(), LogisticRegression()))
    >>> model = model.fit(send_table(datasets.shop(), outcome="opened"))
    >>> model.scores().chance.shape[1], model.is_causal_
    (168, False)
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def _fit_learner(self, sends: SendTable) -> None:
        for name in ("fit", "predict_proba"):
            if not hasattr(self.estimator, name):
                raise DataError(
                    f"estimator={self.estimator!r} has no {name}; give an instance of a scikit-learn classifier that "
                    "predicts probabilities"
                )
        matrix = training_matrix(sends)
        answered = matrix.pop("is_answered").to_numpy()
        self.estimator_ = clone(self.estimator).fit(matrix, answered)

    def _chances_of(self, known: NDArray[np.float64], near: NDArray[np.float32]) -> NDArray[np.float32]:
        classes = list(self.estimator_.classes_)
        chance = np.zeros((len(known), WEEK), np.float32)
        if True not in classes:
            return chance
        for first in range(0, len(known), _BLOCK):
            some = known[first : first + _BLOCK]
            hours = hour_features(
                np.tile(np.arange(WEEK), len(some)), np.repeat(near[first : first + _BLOCK], WEEK, axis=0)
            )
            matrix = np.hstack([np.repeat(some, WEEK, axis=0), hours])
            table = pd.DataFrame(matrix, columns=[*CONTACT_COLUMNS, *HOUR_COLUMNS])
            likely = self.estimator_.predict_proba(table)[:, classes.index(True)]
            chance[first : first + _BLOCK] = np.reshape(likely, (len(some), WEEK))
        return chance

    def _about(self, used: set[str], assume_causal: bool) -> dict[str, Any]:
        # What a nested estimator is made of need not be plain data; its text is.
        return super()._about(used, assume_causal) | {"parameters": {"estimator": repr(self.estimator)}}
