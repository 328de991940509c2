"""Whether a model is fitted: one error for all of them, which scikit-learn's own tools understand."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .errors import JourneyLabError

__all__ = ["NotFitted", "require_fitted"]


class NotFitted(JourneyLabError, NotFittedError):  # type: ignore[misc]
    """A model was asked before it was fitted."""


def require_fitted(model: Any) -> None:
    """Nothing, when a model is fitted: when it has an attribute whose name ends in an underscore.

    Raises:
        NotFitted: when it is not.

    >>> from journeylab.sendtime import HabitModel
    >>> require_fitted(HabitModel())
    Traceback (most recent call last):
    journeylab.fitted.NotFitted: this HabitModel is not fitted; call fit first
    """
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise NotFitted(f"this {type(model).__name__} is not fitted; call fit first") from None
