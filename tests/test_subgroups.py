"""Effects by segment: shrunken by as much as they are alike, and no differences claimed of chance."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import combine_effects

from journeylab.errors import DataError
from journeylab.experiments.heterogeneity.shrinkage import shrink, shrunken
from journeylab.experiments.heterogeneity.subgroups import subgroup_effects

# Coaching for a test in eight schools (Rubin, 1981, Journal of Educational Statistics 6, 377-401).
SCHOOLS = pd.DataFrame({
    "segment": list("ABCDEFGH"),
    "effect": [28, 8, -3, 7, -1, 1, 18, 12],
    "standard_error": [15, 10, 16, 11, 9, 11, 10, 18],
})  # fmt: skip


def by_quadrature(y, s, mean):
    """Posterior means and deviations by integrals over the deviation between effects, done by scipy."""
    y, s = np.asarray(y, float), np.asarray(s, float)
    scale = 4 / np.sqrt((1 / s**2).mean())

    def density(t):
        total = s**2 + t**2
        m = (y / total).sum() / (1 / total).sum() if mean == "estimated" else 0.0
        spare = 1 / (1 / total).sum() if mean == "estimated" else 0.0
        likelihood = np.prod(stats.norm.pdf(y, m, np.sqrt(total))) * (np.sqrt(spare) if spare else 1.0)
        own = t**2 / total
        means = own * y + (1 - own) * m
        return scale / (scale**2 + t**2) * likelihood, means, own * s**2 + (1 - own) ** 2 * spare

    def integral(of):
        values = [integrate.quad(of, *ends, limit=200)[0] for ends in ((0, scale), (scale, 10 * scale))]
        return sum(values) + integrate.quad(lambda u: of(1 / u) / u**2, 1e-9, 1 / (10 * scale), limit=200)[0]

    whole = integral(lambda t: density(t)[0])
    found = []
    for j in range(len(y)):
        first = integral(lambda t, j=j: density(t)[0] * density(t)[1][j]) / whole
        second = integral(lambda t, j=j: density(t)[0] * (density(t)[2][j] + density(t)[1][j] ** 2)) / whole
        found.append((first, np.sqrt(second - first**2)))
    return np.array(found)


@pytest.mark.parametrize("mean", ["estimated", "zero"])
def test_shrunken_effects_are_those_of_the_integrals(mean):
    found = shrink(SCHOOLS["effect"], SCHOOLS["standard_error"], mean=mean)
    expected = by_quadrature(SCHOOLS["effect"], SCHOOLS["standard_error"], mean)
    assert np.column_stack([found.effect, found.standard_error]) == pytest.approx(expected, rel=0.01, abs=0.02)


def test_intervals_are_those_of_draws():
    """The posterior drawn by weighting draws of the prior."""
    rng = np.random.default_rng(1)
    y, s = np.array([0.4, 0.0, 0.1]), np.array([0.15, 0.2, 0.1])
    u = rng.random(400_000)
    t = 4 / np.sqrt((1 / s**2).mean()) * np.tan(np.pi * u / 2)
    total = s[:, None] ** 2 + t**2
    weight = stats.norm.pdf(y[:, None], 0, np.sqrt(total)).prod(axis=0)
    t = rng.choice(t, 200_000, p=weight / weight.sum())
    own = t**2 / (s[0] ** 2 + t**2)
    drawn = rng.normal(own * y[0], np.sqrt(own) * s[0])
    found = shrink(y, s, mean="zero", level=0.9)
    assert (found.low[0], found.high[0]) == pytest.approx(np.quantile(drawn, [0.05, 0.95]), abs=0.005)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 3)), min_size=2, max_size=8), st.floats(-3, 3))
def test_shrinking_goes_towards_the_mean_and_knows_no_origin(pairs, shift):
    y, s = np.array(pairs).T
    found = shrink(y, s)
    moved = shrink(10 * (y + shift), 10 * s)
    assert moved.effect == pytest.approx(10 * (found.effect + shift), abs=1e-6)
    assert moved.high == pytest.approx(10 * (found.high + shift), abs=1e-5)
    assert min(y) - 1e-9 <= found.effect.min()
    assert found.effect.max() <= max(y) + 1e-9
    assert ((found.low < found.effect) & (found.effect < found.high)).all()
    zero = shrink(y, s, mean="zero")
    assert (np.abs(zero.effect) <= np.abs(y) + 1e-12).all()
    assert shrink(-y, s, mean="zero").low == pytest.approx(-zero.high, abs=1e-9)


def test_alike_effects_are_pooled_and_others_left_alone():
    alike = shrink(np.full(20, 0.3), np.full(20, 1.0))
    assert alike.effect == pytest.approx(np.full(20, 0.3))
    assert (alike.standard_error < 0.6).all()
    apart = shrink([0.0, 100.0, -50.0, 30.0], [1.0] * 4)
    assert apart.effect == pytest.approx([0, 100, -50, 30], abs=0.2)
    assert apart.standard_error == pytest.approx([1] * 4, abs=0.05)
    assert 30 < apart.between < 110


def test_heterogeneity_is_that_of_meta_analysis():
    found = subgroup_effects(SCHOOLS)
    other = combine_effects(SCHOOLS["effect"].to_numpy(float), SCHOOLS["standard_error"].to_numpy(float) ** 2)
    assert found.q == pytest.approx(other.q)
    assert found.p_value == pytest.approx(stats.chi2.sf(other.q, 7))
    assert found.mean == pytest.approx(other.mean_effect_re, abs=1)
    assert not found.differs
    assert "Nothing says that the effect differs between segments" in found.sentence


def test_two_unlike_segments_are_compared_by_hand():
    table = pd.DataFrame({"segment": ["new", "old"], "effect": [0.08, 0.01], "standard_error": [0.01, 0.02],
                          "n_arm": [500, 100], "n_control": [510, 90]})  # fmt: skip
    found = subgroup_effects(table)
    z = 0.07 / np.hypot(0.01, 0.02)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(z))
    assert found.table["p_value_differs"].to_numpy() == pytest.approx([2 * stats.norm.sf(z)] * 2)
    assert found.table["p_value"].to_numpy() == pytest.approx(2 * stats.norm.sf([8, 0.5]))
    p = found.table["p_value"].to_numpy()
    assert found.table["p_value_adjusted"].to_numpy() == pytest.approx(stats.false_discovery_control(p))
    assert found.differs
    assert "The effect differs between segments" in found.sentence
    assert "Apart from the others stand new: " in found.sentence
    assert found.table["n_arm"].tolist() == [500, 100]
    assert found.to_dict()["segments"][0]["segment"] == "new"
    assert "<table>" in found._repr_html_()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"segment": ["a", "a"]}, "must name each segment once"),
        ({"segment": ["a", None]}, "must name a segment in every row"),
        ({"effect": [0.1, np.nan]}, "must give an effect in every row"),
        ({"standard_error": [0.1, 0.0]}, "must lie above 0"),
        ({"effect": None}, "no column 'effect'"),
    ],
)
def test_bad_tables_are_refused(change, words):
    table = pd.DataFrame({"segment": ["a", "b"], "effect": [0.1, 0.2], "standard_error": [0.1, 0.1]})
    table = table.drop(columns="effect") if change == {"effect": None} else table.assign(**change)
    with pytest.raises(DataError, match=words):
        subgroup_effects(table)


def test_one_segment_is_none():
    with pytest.raises(DataError, match="two or more"):
        subgroup_effects(SCHOOLS.iloc[:1])
    with pytest.raises(DataError, match="between 0 and 1"):
        subgroup_effects(SCHOOLS, level=95)


# The winner's curse


def test_past_effects_say_how_large_effects_are():
    small = pd.DataFrame({"effect": [0.001, -0.002, 0.002, 0.0, 0.001], "standard_error": 0.001})
    large = pd.DataFrame({"effect": [0.1, -0.2, 0.15, 0.05, -0.1], "standard_error": 0.01})
    alone = shrunken(0.04, 0.02)
    assert abs(shrunken(0.04, 0.02, small).shrunken_effect) < 0.002 < alone.shrunken_effect
    assert shrunken(0.04, 0.02, large).shrunken_effect == pytest.approx(0.04, abs=0.003)
    assert alone.low == pytest.approx(0.04 - 1.96 * 0.02, abs=1e-4)
    assert alone.to_dict()["n_past"] == 0
    assert "no past effects, by a default" in alone.sentence
    assert "held against 5 past effects" in shrunken(0.04, 0.02, large).sentence


def test_the_default_is_what_the_documentation_says():
    ratios = [shrunken(z, 1.0).shrunken_effect / z for z in (1, 2, 3, 8)]
    assert ratios == pytest.approx([0.4, 0.5, 3 / 4, 0.97], abs=0.05)


def test_a_mean_of_past_effects_is_drawn_to():
    past = pd.DataFrame({"effect": [0.05, 0.05, 0.05, 0.05], "standard_error": 0.002})
    assert shrunken(0.1, 0.02, past, mean="estimated").shrunken_effect == pytest.approx(0.05, abs=0.005)
    with pytest.raises(DataError, match="needs past effects"):
        shrunken(0.1, 0.02, mean="estimated")
    with pytest.raises(DataError, match="must lie above 0"):
        shrunken(0.1, 0.0)


@pytest.mark.nightly
@pytest.mark.parametrize("between", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("n_segments", [3, 10])
def test_shrunken_intervals_hold_the_truth_and_the_largest_is_not_too_large(between, n_segments):
    rng = np.random.default_rng(2)
    held, raw_excess, excess, claimed = [], [], [], []
    for _ in range(200):
        s = rng.uniform(0.7, 1.5, n_segments)
        truth = 1 + between * rng.normal(size=n_segments)
        y = rng.normal(truth, s)
        found = shrink(y, s)
        held.append((found.low <= truth) & (truth <= found.high))
        best = np.argmax(y)
        raw_excess.append(y[best] - truth[best])
        best = np.argmax(found.effect)
        excess.append(found.effect[best] - truth[best])
        table = pd.DataFrame({"segment": np.arange(n_segments), "effect": y, "standard_error": s})
        claimed.append(subgroup_effects(table).differs)
    assert np.mean(held) > 0.93
    if between < 4:
        assert abs(np.mean(excess)) < 0.8 * np.mean(raw_excess)
    if between == 0:
        assert np.mean(claimed) == pytest.approx(0.05, abs=0.025)


@pytest.mark.nightly
def test_winners_are_not_overstated_when_past_effects_are_known():
    rng = np.random.default_rng(3)
    raw, drawn, held = [], [], []
    for _ in range(2000):
        truth = 0.5 * rng.normal(size=16)
        y = rng.normal(truth, 1.0)
        if y[-1] < 1.96:
            continue
        past = pd.DataFrame({"effect": y[:-1], "standard_error": 1.0})
        found = shrunken(y[-1], 1.0, past)
        raw.append(y[-1] - truth[-1])
        drawn.append(found.shrunken_effect - truth[-1])
        held.append(found.shrunken_low <= truth[-1] <= found.shrunken_high)
    assert np.mean(raw) > 1.5
    assert abs(np.mean(drawn)) < 0.35
    assert np.mean(held) > 0.9
