"""Models follow scikit-learn's conventions as far as a model of event logs can."""

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import journeylab as jl
import publicobjects
from journeylab import experiments, sendtime

SEND_TIMES: list[Any] = [
    sendtime.HabitModel(n_steps=2),
    sendtime.BestGlobalHour(smoothing=2.0),
    sendtime.MedianOfOpens(n_last=3),
    sendtime.ThompsonSlots(prior_sends=5.0),
    sendtime.HazardModel(n_trees=5),
    sendtime.FromClassifier(DecisionTreeClassifier(max_depth=3, random_state=0)),
]
MODELS = [*SEND_TIMES, experiments.UpliftModel("t", seed=3)]
TRIAL = {"features": ["city", "spend"], "treated": "mail", "control": "none", "outcome": "visit"}


def by_name(model: Any) -> str:
    return type(model).__name__


def fitted(model: Any) -> Any:
    if isinstance(model, experiments.UpliftModel):
        return clone(model).fit(publicobjects.trial(), **TRIAL)
    return clone(model).fit(publicobjects.sends())


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_a_constructor_only_stores(model):
    given = {name: object() for name in inspect.signature(type(model)).parameters}
    made = type(model)(**given)
    assert vars(made) == given


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_parameters_are_got_and_set_and_a_clone_has_them(model):
    assert isinstance(model, BaseEstimator)
    copy = clone(model)
    assert repr(copy.get_params(deep=False)) == repr(model.get_params(deep=False))
    name = next(iter(model.get_params(deep=False)))
    assert copy.set_params(**{name: model.get_params()[name]}) is copy
    with pytest.raises(ValueError, match="Invalid parameter"):
        copy.set_params(no_such_parameter=1)


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_fit_returns_the_model_and_leaves_its_parameters_alone(model):
    one = clone(model)
    before = repr(one.get_params())
    if isinstance(one, experiments.UpliftModel):
        assert one.fit(publicobjects.trial(), **TRIAL) is one
    else:
        assert one.fit(publicobjects.sends()) is one
    assert repr(one.get_params()) == before
    assert any(name.endswith("_") and not name.startswith("_") for name in vars(one))
    # Nothing of a fit is left in a clone.
    assert not any(name.endswith("_") for name in vars(clone(one)))


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_what_is_not_fitted_says_so(model):
    calls: list[Any] = [lambda: model.predict(publicobjects.trial()), lambda: model.outcomes(publicobjects.trial())]
    if not isinstance(model, experiments.UpliftModel):
        at = pd.Timestamp("2026-03-02T09:00:00Z")
        calls = [model.scores, model.send_times, lambda: model.best("ada", at)]
        calls += [lambda: model.draw(0)] if isinstance(model, sendtime.ThompsonSlots) else []
    for call in calls:
        with pytest.raises(NotFittedError, match=f"this {type(model).__name__} is not fitted; call fit first"):
            call()
        with pytest.raises(jl.JourneyLabError):
            call()


@pytest.mark.parametrize("model", MODELS, ids=by_name)
def test_a_second_fit_forgets_the_first(model):
    once, twice = fitted(model), fitted(model)
    if isinstance(model, experiments.UpliftModel):
        twice.fit(publicobjects.trial().iloc[:1000], **TRIAL).fit(publicobjects.trial(), **TRIAL)
        assert once.predict(publicobjects.trial()).equals(twice.predict(publicobjects.trial()))
        return
    half = publicobjects.sends().rows(np.arange(len(publicobjects.sends())) % 2 == 0)
    twice.fit(half).fit(publicobjects.sends())
    assert once.send_times().version == twice.send_times().version


def test_an_uplift_model_says_which_features_it_knows():
    model = fitted(MODELS[-1])
    assert model.feature_names_in_.tolist() == TRIAL["features"]
    assert model.n_features_in_ == 2
    assert (model.treated_, model.control_) == ("mail", "none")


def test_parameters_of_the_classifier_within_are_reached():
    model = sendtime.FromClassifier(LogisticRegression())
    assert model.set_params(estimator__C=0.1).get_params()["estimator__C"] == 0.1


def test_a_classifier_within_is_cloned_and_stays_unfitted():
    own = DecisionTreeClassifier(max_depth=3)
    model = sendtime.FromClassifier(own).fit(publicobjects.sends())
    assert model.estimator_ is not own
    assert not hasattr(own, "tree_")
    assert "near_share" in model.estimator_.feature_names_in_


@pytest.mark.parametrize(
    "function",
    [
        jl.simulate, jl.backtest, jl.fit_responses, jl.policy_value, jl.sequential_policy_value,
        jl.estimate_propensities, sendtime.evaluate, sendtime.evaluate_out_of_time, sendtime.watch,
        experiments.sample_ratio, experiments.recommend, experiments.false_alarms, experiments.compare_splits,
    ],
)  # fmt: skip
def test_what_draws_says_so_alike(function):
    """`rng` takes a seed or a generator; `seed` is a number where the draws have to be repeatable by it alone."""
    parameters = inspect.signature(function).parameters
    [name] = {"rng", "seed"} & {*parameters}
    assert parameters[name].default == 0
    assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY or function is jl.fit_responses
    assert (name == "seed") == function.__module__.startswith("journeylab.experiments")
