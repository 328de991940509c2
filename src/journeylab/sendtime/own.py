"""One's own classifier as a send-time model, and models that installed packages bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from journeylab import extensions
from journeylab.errors import DataError
from journeylab.sendtimes import WEEK

from .estimator import SendTimeEstimator
from .features import CONTACT_COLUMNS, HOUR_COLUMNS, ContactCurves, hour_features, training_matrix

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from .sends import SendTable

__all__ = ["FromClassifier", "own_model"]

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


def own_model(name: str, built_in: Collection[str] = ()) -> SendTimeEstimator:
    """The send-time model that an installed package brings under a name, not fitted.

    It is a `SendTimeEstimator`, or a scikit-learn classifier, which `FromClassifier` makes one.

    Args:
        name: the name of an entry point in the group `journeylab.models`.
        built_in: the names of models that need no package.

    Raises:
        DataError: when no package brings it, or what it brings is neither.

    >>> own_model("acme")
    Traceback (most recent call last):
    ...
    journeylab.errors.DataError: no installed package brings the model 'acme'; There are no models.
    """
    model = extensions.made("models", name, built_in, methods=["fit"])
    if isinstance(model, SendTimeEstimator):
        return model
    if not hasattr(model, "predict_proba"):
        raise DataError(
            f"the model {name!r} is {type(model).__name__}, which is no SendTimeEstimator and has no predict_proba; "
            "see docs/extending.md for what a send-time model must have"
        )
    return FromClassifier(model)
