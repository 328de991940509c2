"""Opens and clicks of machines are told from people's by a rule with a name, and none is lost."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab import EventLog
from journeylab.sender.mail.machines import RULES, SETTLED_AFTER, VERSION, Fetch, OtherClick, classify
from journeylab.sendtime.machines import is_by_machine

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
CUBOT = "Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
HOUR = timedelta(hours=1)


def seconds(n):
    return timedelta(seconds=n)


def click(**facts):
    return Fetch("click", **{"agent": FIREFOX, "after_accepted": HOUR, "link": "a", "n_links": 3} | facts)


def load(**facts):
    return Fetch("open", **{"agent": FIREFOX, "after_accepted": HOUR, "n_links": 3} | facts)


@pytest.mark.parametrize(
    ("hit", "actor", "rule", "is_machine"),
    [
        (click(), "human_likely", "browser", False),
        (load(agent=IPHONE), "human_likely", "browser", False),
        (load(agent=CUBOT), "human_likely", "browser", False),
        (load(agent="Mozilla/4.0 (compatible; ms-office; MSOffice 16)"), "human_likely", "browser", False),
        (click(method="HEAD"), "scanner", "method", True),
        (click(method="OPTIONS"), "scanner", "method", True),
        (load(method="head"), "scanner", "method", True),
        (click(agent="Barracuda Sentinel (EE)"), "scanner", "scanner_agent", True),
        (click(agent=f"{FIREFOX} Proofpoint"), "scanner", "scanner_agent", True),
        (click(agent="Mimecast URL Protect"), "scanner", "scanner_agent", True),
        (click(agent="Microsoft Office SafeLinks Protection"), "scanner", "scanner_agent", True),
        (click(agent="curl/8.1.2"), "scanner", "program_agent", True),
        (load(agent="python-requests/2.32.3"), "scanner", "program_agent", True),
        (click(agent="Mozilla/5.0 (X11) AppleWebKit/537.36 HeadlessChrome/120"), "scanner", "program_agent", True),
        (click(agent="Mozilla/5.0 (compatible; Examplebot/2.1)"), "scanner", "program_agent", True),
        (click(agent="Slackbot-LinkExpanding 1.0"), "scanner", "program_agent", True),
        (load(agent="Mozilla/5.0"), "privacy_proxy", "apple_privacy", True),
        (load(agent=" Mozilla/5.0 "), "privacy_proxy", "apple_privacy", True),
        (click(agent="Mozilla/5.0"), "scanner", "no_browser", True),
        (click(agent=GMAIL), "scanner", "no_browser", True),
        (load(agent=GMAIL), "privacy_proxy", "image_proxy", False),
        (load(agent=YAHOO), "privacy_proxy", "image_proxy", False),
        (load(agent=f"{FIREFOX[:40]}) Edge/12.246 Mozilla/5.0"), "privacy_proxy", "prefetch_agent", True),
        (load(after_accepted=seconds(1)), "scanner", "instant", True),
        (load(after_accepted=seconds(-3)), "scanner", "instant", True),
        (load(after_accepted=seconds(1.001)), "human_likely", "browser", False),
        (click(after_accepted=seconds(4.9)), "scanner", "soon_click", True),
        (click(after_accepted=seconds(5)), "human_likely", "browser", False),
        (load(after_accepted=seconds(4)), "human_likely", "browser", False),
        (click(after_accepted=-HOUR), "human_likely", "browser", False),
        (click(after_accepted=None), "human_likely", "browser", False),
        (load(agent=None), "unknown", "nothing_known", False),
        (click(agent="ExampleMail 3"), "unknown", "nothing_known", False),
    ],
)
def test_hits_are_classified_by_the_first_rule_that_holds(hit, actor, rule, is_machine):
    found = classify(hit)
    assert (found.actor, found.rule, found.is_machine, found.version) == (actor, rule, is_machine, VERSION)


@pytest.mark.parametrize(
    ("n_links", "others", "rule"),
    [
        (3, {"b": 9, "c": -10}, "all_links"),
        (3, {"b": 9, "c": 10.1}, "browser"),
        (3, {"b": 9}, "browser"),
        (4, {"b": 9, "c": 9}, "browser"),
        (2, {"b": 9}, "browser"),
        (2, {"b": -2}, "burst"),
        (9, {"b": 2}, "burst"),
        (9, {"b": 2.1}, "browser"),
        (3, {"a": 0.1}, "browser"),
        (1, {"a": 0.1}, "browser"),
    ],
)
def test_clicks_on_many_links_at_once_are_no_persons(n_links, others, rule):
    clicks = tuple(OtherClick(link, seconds(apart)) for link, apart in others.items())
    assert classify(click(n_links=n_links, others=clicks)).rule == rule
    assert classify(load(n_links=n_links, others=clicks)).rule == "browser"


def test_rules_have_names_reasons_and_an_end():
    assert len({rule.rule for rule in RULES}) == len(RULES)
    assert all(rule.why for rule in RULES)
    assert {rule.actor for rule in RULES} == {"human_likely", "privacy_proxy", "scanner", "unknown"}
    assert all(rule.is_machine for rule in RULES if rule.actor == "scanner")
    assert not any(rule.is_machine for rule in RULES if rule.actor in ("human_likely", "unknown"))
    assert RULES[-1].holds(Fetch("open"))


fetches = st.builds(
    Fetch,
    st.sampled_from(["open", "click"]),
    st.sampled_from(["GET", "HEAD", "POST", ""]),
    st.none() | st.text() | st.sampled_from([FIREFOX, GMAIL, YAHOO, "Mozilla/5.0"]),
    st.none() | st.timedeltas(),
    st.none() | st.sampled_from("abc"),
    st.integers(0, 5),
    st.lists(st.builds(OtherClick, st.sampled_from("abc"), st.timedeltas(-HOUR, HOUR))).map(tuple),
)


@given(fetches)
def test_every_hit_has_one_class_by_a_rule_of_the_table(hit):
    found = classify(hit)
    [rule] = [rule for rule in RULES if rule.rule == found.rule]
    assert (found.actor, found.is_machine) == (rule.actor, rule.is_machine)


@given(fetches)
def test_what_comes_later_than_it_takes_to_settle_changes_nothing(hit):
    late = (*hit.others, *(OtherClick(link, SETTLED_AFTER + seconds(0.001)) for link in "abc"))
    assert classify(hit) == classify(
        Fetch(hit.kind, hit.method, hit.agent, hit.after_accepted, hit.link, hit.n_links, late)
    )


def test_very_long_agents_take_no_time():
    for agent in ("Mozilla/5.0 (" * 1_000_000, "bot" * 1_000_000 + "x", " " * 5_000_000):
        assert classify(load(agent=agent)).actor in ("human_likely", "unknown", "scanner")


def test_what_the_log_holds_for_a_machines_by_its_instants_is_one_here():
    """`sendtime.machines` asks a log without agents; whatever it finds there, the sender would have flagged."""
    rng = np.random.default_rng(5)
    start, rows, hits = datetime(2026, 3, 1, tzinfo=UTC), [], {"opened": [], "clicked": []}
    for i in range(400):
        who = f"c{i:03}"
        rows.append((who, "sent", start, "welcome", None))
        clicks = [(rng.choice(["a", "b", "c"]), float(rng.choice([0.2, 1, 1.5, 2, 3, 3.5, 5, 20, 21, 22, 24, 30])))
                  for _ in range(rng.integers(0, 5))]  # fmt: skip
        for j, (link, at) in enumerate(clicks):
            others = tuple(OtherClick(other, seconds(then - at)) for k, (other, then) in enumerate(clicks) if k != j)
            rows.append((who, "clicked", start + seconds(at), "welcome", link))
            hits["clicked"].append(
                (who, at, link, classify(click(after_accepted=seconds(at), link=link, others=others)))
            )
        at = float(rng.choice([0.5, 1, 1.2, 60]))
        rows.append((who, "opened", start + seconds(at), "welcome", None))
        hits["opened"].append((who, at, None, classify(load(after_accepted=seconds(at)))))
    log = EventLog.read(pd.DataFrame(rows, columns=["contact", "event", "occurred_at", "message", "link"]))
    for event, found in hits.items():
        stream = log.stream(event)
        by_log = is_by_machine(log, event) >= 0
        links = log.property("link")
        contacts = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
        ids = log.contact_ids.to_pylist()
        said = {(who, at, link): one for who, at, link, one in found}
        for k in np.flatnonzero(by_log):
            row = stream.row[k]
            link = links.categories[int(links.values[row])] if event == "clicked" else None
            at = (int(stream.at[k]) - int(start.timestamp() * 1e6)) / 1e6
            assert said[ids[contacts[k]], at, link].is_machine
        assert by_log.sum() > 50
