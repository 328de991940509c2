"""Conditions: what they mean as trees, what is refused and where, and that one meaning has one spelling."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab import conditions as c

DAY = 86_400_000_000


def faults(text: str, **how: object) -> list[str]:
    with pytest.raises(c.ConditionError) as caught:
        c.parse(text, **how)  # type: ignore[arg-type]
    return [fault.message for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('plan == "trial"', c.Compare("==", c.Attribute("plan"), c.Text("trial"))),
        ("paid", c.Attribute("paid")),
        ("not true", c.Not(c.Flag(True))),
        ("score > -2.5", c.Compare(">", c.Attribute("score"), c.Number(-2.5))),
        ('country in ["PL", "DE"]', c.In(c.Attribute("country"), ("PL", "DE"))),
        ('country not in ("PL",)', c.In(c.Attribute("country"), ("PL",), negated=True)),
        ("entry.amount > 3", c.Compare(">", c.EntryProperty("amount"), c.Number(3))),
        ('did("visit", "2d")', c.Aggregate("did", "visit", window_us=2 * DAY)),
        ('sum("shop.order.total") > 1', c.Compare(">", c.Aggregate("sum", "shop.order", "total"), c.Number(1))),
        ('since("visit") > "7d"', c.Compare(">", c.Aggregate("since", "visit"), c.DurationValue(7 * DAY))),
        ('weekday() == "sun"', c.Compare("==", c.WeekdayOf(), c.Number(6))),
        ('weekday() in ["sat", 6]', c.In(c.WeekdayOf(), (5, 6))),
        ('clicked(care.offer, "pricing")', c.MessageEvent("clicked", "care.offer", "pricing")),
        ('segment("keen") >= 0.5', c.Compare(">=", c.SegmentMembership("keen"), c.Number(0.5))),
        ("missing(plan)", c.Missing(c.Attribute("plan"))),
        ('registered < "2026-03-29"', c.Compare("<", c.Attribute("registered"), c.Text("2026-03-29"))),
    ],
)
def test_a_text_is_parsed_to_its_tree(text: str, tree: c.Tree) -> None:
    assert c.parse(text).tree == tree


def test_chained_comparisons_are_all_required() -> None:
    assert c.parse("0 < orders <= local_hour()").tree == c.parse("0 < orders and orders <= local_hour()").tree


def test_nested_conjunctions_are_one() -> None:
    assert c.parse("a and (b and d)").tree == c.And((c.Attribute("a"), c.Attribute("b"), c.Attribute("d")))


def test_a_bare_name_is_a_property_where_an_event_is_at_hand() -> None:
    assert c.parse("amount > 3", scope="event").tree == c.Compare(">", c.Property("amount"), c.Number(3))


def test_the_where_of_an_aggregate_is_about_the_events_own_properties() -> None:
    tree = c.parse('did("purchase", where="amount > 50 and missing(coupon)")').tree
    where = c.And((c.Compare(">", c.Property("amount"), c.Number(50)), c.Missing(c.Property("coupon"))))
    assert tree == c.Aggregate("did", "purchase", where=where)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no condition here"),
        ('plan = "trial"', "equality is written =="),
        ("a && b", "write and"),
        ("a and", "ends too early"),
        ("(a", "never closed"),
        ("a # why", "holds no comment"),
        ("lambda: a", "no part of conditions"),
        ("__import__('os')", "no function '__import__'"),
        ("a.__class__ == 1", "only entry.PROP has a dot"),
        ("[x for x in a]", "no part of conditions"),
        ("not " * 200 + "a", "deep"),
        ("a" * 5000, "longer than"),
        ("a\x00b", "null bytes"),
        ('cont("visit") > 1', "did you mean 'count'?"),
        ('event("visit")', 'did("…")'),
        ("count(visit) > 1", 'count takes "event" in quotes'),
        ('sum("amount") > 1', "needs a property"),
        ('did("visit", 30)', "a duration needs a unit"),
        ('did("visit", "0d")', "longer than zero"),
        ('did("visit", "1 month")', "no fixed length"),
        ('did("visit", window="3d")', "takes no window="),
        ('since("visit") > 30', 'write "30d"'),
        ('since("visit") > amount', "compare it with one such as"),
        ('since("a") - since("b") > "1d"', "only numbers are calculated with"),
        ('weekday() == "monday"', "is no weekday"),
        ("weekday() == 7", "is no weekday"),
        ("local_hour > 3", "write local_hour()"),
        ('count("visit")', "is a number, no condition"),
        ('segment("keen")', "compare it"),
        ('"plan" == "trial"', "compares two constants"),
        ('plan < "trial"', "only a date"),
        ("paid > true", "has no order"),
        ('count("visit") == "3"', "is a number and"),
        ('country in "PL"', "stands a list"),
        ("country in [PL]", 'write "PL"'),
        ('country in ["PL", 3]', "mix kinds"),
        ("country in []", "is empty"),
        ("plan == None", "missing(…)"),
        ("plan is None", "missing(…)"),
        ('missing(count("visit"))', "never missing"),
        ("amount / 0 > 1", "always missing"),
        ("amount % 2 == 1", "+ - * and /"),
        ("amount == 99999999999999999999", "too large"),
        ("amount == 1e999", "too large"),
        ('opened("hello")', "without quotes"),
        ('opened(hello, "pricing")', "write opened(NODE)"),
        ('did("a", where="count(\'b\') > 1")', "sees their properties only"),
    ],
)
def test_what_cannot_hold_is_refused_with_a_remedy(text: str, said: str) -> None:
    assert said in "\n".join(faults(text))


def test_all_faults_are_named_with_their_places() -> None:
    text = 'cont("a") > 1 and zoë > "x" or since("visit") > 30 or did("e", where="foo(1)")'
    with pytest.raises(c.ConditionError, match="at character 25") as caught:
        c.parse(text)
    assert [fault.offset for fault in caught.value.faults] == [
        text.index(part) for part in ("cont", '"x"', "30", "foo")
    ]


def test_a_segment_knows_neither_entry_nor_nodes() -> None:
    assert len(faults("entry.plan == 1 and opened(hello)", in_segment=True)) == 2


@pytest.mark.parametrize(
    ("text", "awaited"),
    [
        ("purchase", c.AwaitedEvent("purchase")),
        ('event("order placed")', c.AwaitedEvent("order placed")),
        (
            """event("visit", where="page == 'pricing'")""",
            c.AwaitedEvent("visit", c.Compare("==", c.Property("page"), c.Text("pricing"))),
        ),
        ("opened(hello)", c.AwaitedMessage("opened", "hello")),
        ('clicked(care.hello, "pricing")', c.AwaitedMessage("clicked", "care.hello", "pricing")),
    ],
)
def test_an_event_or_a_response_can_be_awaited(text: str, awaited: c.Awaited) -> None:
    assert c.parse_awaited(text) == awaited


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("order placed", 'event("order placed")'),
        ("sent(hello)", "known at once"),
        ('did("visit")', "awaits nothing known"),
        ("event(visit)", "in quotes"),
        ('event("visit", where="foo(1)")', "no function 'foo'"),
    ],
)
def test_what_cannot_be_awaited_is_refused_with_a_remedy(text: str, said: str) -> None:
    with pytest.raises(c.ConditionError, match=re.escape(said)):
        c.parse_awaited(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("plan=='trial'", ' plan  ==  "trial" '),
        ("a and (b and d)", "a and b and d"),
        ('since("a") > "1w"', "since('a') > '7d'"),
        ('weekday() == "mon"', "weekday() == 0"),
        ("""event("visit", where="page=='x'")""", """event('visit', where='page == "x"')"""),
        ('event("purchase")', "purchase"),
        ("a\n  and b", "a and b"),
    ],
)
def test_one_meaning_has_one_spelling(one: str, other: str) -> None:
    assert c.canonical_text(one) == c.canonical_text(other)


@pytest.mark.parametrize(("one", "other"), [("a or b and d", "(a or b) and d"), ("a - (b - d) > 1", "a - b - d > 1")])
def test_two_meanings_have_two_spellings(one: str, other: str) -> None:
    assert c.canonical_text(one) != c.canonical_text(other)


def test_what_does_not_parse_is_its_own_spelling() -> None:
    assert c.canonical_text("a b") == "a b"


NAMES = st.sampled_from(["plan", "amount", "größe"])
NUMBERS = st.one_of(
    st.builds(c.Attribute, NAMES),
    st.builds(c.Number, st.integers(-1000, 1000) | st.floats(-1e9, 1e9, allow_nan=False).filter(bool)),
    st.builds(c.Aggregate, st.just("sum"), st.just("visit"), st.just("amount"), st.none() | st.integers(1, 10**12)),
)


def arithmetic(parts: st.SearchStrategy[c.Tree]) -> st.SearchStrategy[c.Tree]:
    negated = parts.filter(lambda tree: not isinstance(tree, c.Number)).map(c.Negate)
    divisors = parts.filter(lambda tree: not isinstance(tree, c.Number))
    sums = st.builds(c.Arithmetic, st.sampled_from("+-*"), parts, parts)
    return sums | negated | st.builds(c.Arithmetic, st.just("/"), parts, divisors)


VALUES = st.recursive(NUMBERS, arithmetic, max_leaves=4)
SIMPLE_FLAGS = st.one_of(
    st.builds(c.Attribute, NAMES),
    st.builds(c.Compare, st.sampled_from(["<", "==", ">="]), VALUES, st.builds(c.Attribute, NAMES)),
    st.builds(c.In, st.builds(c.Attribute, NAMES), st.lists(st.text(), min_size=1).map(tuple), st.booleans()),
    st.builds(c.MessageEvent, st.just("clicked"), st.just("a.b"), st.none() | st.text(min_size=1)),
)


def junctions(parts: st.SearchStrategy[c.Tree]) -> st.SearchStrategy[c.Tree]:
    some = st.lists(parts, min_size=2, max_size=3).map(tuple)
    ands = some.filter(lambda all_: not any(isinstance(one, c.And) for one in all_)).map(c.And)
    ors = some.filter(lambda all_: not any(isinstance(one, c.Or) for one in all_)).map(c.Or)
    return ands | ors | parts.map(c.Not)


@given(st.recursive(SIMPLE_FLAGS, junctions, max_leaves=6))
def test_the_text_of_a_tree_is_parsed_to_that_tree(tree: c.Tree) -> None:
    assert c.parse(c.expression_text(tree)).tree == tree


@given(st.text() | st.text("()[]'\"ab.<>=!+-*/, \n#"))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(c.ConditionError):
        c.parse(text)
