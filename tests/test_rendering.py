"""Rendering: what contacts get, what is refused, and that no template can stop the sender or tell a value."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab.datasets import fixtures
from journeylab.errors import DataError
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.mail.previews import example_context, preview, preview_page, save_page
from journeylab.sender.mail.rendering import Context, Renderer, RenderError
from journeylab.sender.mail.textpart import text_of

SECRET = "Grzegorz"


def message(name, html, subject="Hello", **rest):
    end = rest.pop("end", ".html")
    text = {f"{name}.txt": rest.pop("text")} if "text" in rest else {}
    return Message(message=name, subject=subject, templates={name + end: html, **text}, **rest)


PAGE = '<style>p {{color: #123456}} @media print {{p {{color: red}}}}</style><p class="a">{}</p>'
ALL = [
    message("plain", PAGE.format("{{ a }} and {{ entry.x }}"), "Hi {{ a }}", attributes=["a"], entry=["x"]),
    message("tests", "<p>{% if a %}{{ a }}{% elif a is none %}nobody{% endif %}{{ a|default('!') }}</p>",
            attributes=["a"]),
    message("equals", "<p>{% if a == 'x' %}x{% else %}other{% endif %}</p>", attributes=["a"]),
    message("own_text", "<p>{{ a }}</p>", text="{{ a }} <3\n\n", attributes=["a"]),
    message("links", "<a href=\"{{ link('shop', 'https://shop.example/') }}\">Shop</a>"
            "<a href='{{ unsubscribe_url }}'>x</a>"),
    message("shows", "<p>{% for one in recommend(2) %}{{ one.name }};{% endfor %}</p>", recommend=2),
    message("dated", "<p>{{ a }} {{ b.strftime('%d.%m.%Y %H:%M') }}</p>", attributes=["a", "b"]),
    message("headed", "<title>{{ subject }}</title><p>{{ preheader }}</p>", "S", preheader="<P>"),
    message("mailed", "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ a }}</mj-text></mj-column></mj-section>"
            "</mj-body></mjml>", attributes=["a"], end=".mjml"),
    message("bad_mjml", "<mjml><mj-foo/></mjml>", end=".mjml"),
    message("big", "{{ 'a' * 10**9 }}"),
    message("list", "{% set x = [0] * 10**9 %}"),
    message("long", "{% for i in range(90000) %}{{ 'a' * 100 }}{% endfor %}"),
    message("endless", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
    message("itself", "{% include 'itself.html' %}"),
    message("inside", "\n{{ ''.__class__.__mro__ }}"),
    message("literal", "\n\n{{ none }}"),
    message("typed", "{{ a|int + [a] }}", attributes=["a"]),
    message("keyed", "{{ {'k': 1}[a] }}", attributes=["a"]),
    message("written", "\n{{ a }}", attributes=["a"]),
    message("subject", "<p>x</p>", "{{ a|upper }}", attributes=["a"]),
    message("event", "<p>{{ entry.x }}</p>", entry=["x"]),
    message("address", '<a href="{{ a }}">x</a>', attributes=["a"]),
    message("sheet", '<link rel="stylesheet" href="https://cdn.example/a.css"><p>x</p>'),
]  # fmt: skip


@pytest.fixture(scope="module")
def renderer():
    with Renderer(Messages({one.message: one for one in ALL}), cpu_seconds=1) as made:
        yield made


def test_html_is_escaped_and_has_its_styles_inlined_and_the_subject_is_neither(renderer):
    made = renderer.render("plain", Context({"a": "Ala & <b>Ola</b>"}, {"x": 3}))
    assert made.subject == "Hi Ala & <b>Ola</b>"
    assert '<p class="a" style="color: #123456;">Ala &amp; &lt;b&gt;Ola&lt;/b&gt; and 3</p>' in made.html
    assert "@media print" in made.html
    assert made.text == "Ala & <b>Ola</b> and 3\n"


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NaT, np.float64("nan")])
def test_what_is_missing_is_never_written(renderer, missing):
    with pytest.raises(RenderError, match="a has no value here") as caught:
        renderer.render("written", Context({"a": missing}))
    assert (caught.value.file, caught.value.line, caught.value.attribute) == ("written.html", 2, "a")
    assert renderer.render("tests", Context({"a": missing})).text == "nobody!\n"
    assert renderer.render("equals", Context({"a": missing})).text == "other\n"


def test_a_contact_that_lacks_an_attribute_or_an_event_that_lacks_a_property_is_told(renderer):
    with pytest.raises(RenderError, match="subject"):
        renderer.render("subject", Context())
    with pytest.raises(RenderError) as caught:
        renderer.render("event", Context())
    assert caught.value.attribute == "entry.x"
    with pytest.raises(RenderError, match=r"literal\.html:3: .* value that is not there"):
        renderer.render("literal", Context())


def test_undeclared_attributes_do_not_reach_the_template(renderer):
    assert renderer.render("tests", Context({"b": SECRET})).text == "nobody!\n"


def test_a_text_part_of_ones_own_is_not_escaped(renderer):
    assert renderer.render("own_text", Context({"a": "A & B"})).text == "A & B <3\n"


def test_named_links_lead_to_what_stands_in_for_them(renderer):
    context = Context(links={"unsubscribe_url": "https://mail.shop.example/u?a=1&b=2"})
    assert 'href="https://shop.example/"' in renderer.render("links", context).html
    tracked = Context(links=context.links, link_url={"shop": "https://mail.shop.example/c/abc"})
    made = renderer.render("links", tracked)
    assert 'href="https://mail.shop.example/c/abc"' in made.html
    assert "https://mail.shop.example/u?a=1&b=2" in made.text
    with pytest.raises(DataError, match="did you mean 'unsubscribe_url'"):
        renderer.render("links", Context(links={"unsubscribe": "https://x.example"}))


def test_the_picture_that_tells_opens_stands_last_in_the_html_alone(renderer):
    made = renderer.render("plain", Context({"a": 1}, {"x": 2}, picture_url="https://mail.shop.example/o/a?b=1&c=2"))
    picture = '<img src="https://mail.shop.example/o/a?b=1&amp;c=2" alt="" width="1" height="1" style="border:0">'
    assert made.html.endswith(f"{picture}</body></html>")
    assert "https" not in made.text
    assert "<img" not in renderer.render("plain", Context({"a": 1}, {"x": 2})).html


def test_recommended_products_are_plain_data(renderer):
    items = [{"name": "tea", "price": 3}, {"name": "cup"}, {"name": "hat"}]
    assert renderer.render("shows", Context(recommended=items)).text == "tea;cup;\n"
    assert renderer.render("shows", Context(recommended=items[:1])).text == "tea;\n"
    with pytest.raises(DataError, match="recommended is a set"):
        renderer.render("shows", Context(recommended=[{1}]))


def test_dates_stay_dates(renderer):
    made = renderer.render("dated", Context({"a": date(2026, 3, 2), "b": datetime(2026, 3, 2, 9, tzinfo=UTC)}))
    assert made.text == "2026-03-02 02.03.2026 09:00\n"


def test_subject_and_preheader_are_there_and_escaped(renderer):
    made = renderer.render("headed", Context())
    assert "<title>S</title>" in made.html
    assert "<p>&lt;P&gt;</p>" in made.html


def test_mjml_becomes_html(renderer):
    made = renderer.render("mailed", Context({"a": "<Ala>"}))
    assert "Hi &lt;Ala&gt;" in made.html
    assert "<mj-" not in made.html
    assert made.text == "Hi <Ala>\n"
    with pytest.raises(RenderError, match="no MJML at position"):
        renderer.render("bad_mjml", Context())


def test_mjml_without_its_library_is_told_before_anything_is_sent(monkeypatch):
    monkeypatch.setattr("journeylab.sender.mail.rendering.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"journeylab\[mjml\]"):
        Renderer(Messages({"bad_mjml": ALL[9]}))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("big", "more memory than it may"),
        ("list", "more memory than it may"),
        ("long", "more than 1,000,000 letters"),
        ("endless", "more than 1 s of processor time"),
        ("itself", "include each other without end"),
        ("inside", "sandbox forbids"),
        ("sheet", "links a stylesheet"),
    ],
)
def test_templates_that_run_away_end_and_the_next_message_is_rendered(renderer, name, reason):
    with pytest.raises(RenderError, match=reason):
        renderer.render(name, Context())
    assert renderer.render("tests", Context({"a": "Ala"})).text == "AlaAla\n"


def test_what_waits_for_ever_ends_at_the_wall_clock():
    endless = next(one for one in ALL if one.message == "endless")
    with (
        Renderer(Messages({"endless": endless}), cpu_seconds=60, wall_seconds=0.5) as made,
        pytest.raises(RenderError, match=r"not done after 0\.5 s"),
    ):
        made.render("endless", Context())


@pytest.mark.parametrize("name", ["typed", "keyed", "address"])
def test_errors_tell_no_value(renderer, name):
    with pytest.raises(RenderError) as caught:
        renderer.render(name, Context({"a": f"javascript:{SECRET}"}))
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(vars(caught.value))


@pytest.mark.parametrize("address", ["javascript:alert(1)", " java\tscript:alert(1)", "data:text/html,x", "VBSCRIPT:x"])
def test_links_from_data_lead_to_no_script(renderer, address):
    with pytest.raises(RenderError, match="leads to no web page"):
        renderer.render("address", Context({"a": address}))
    assert renderer.render("address", Context({"a": "/a:b"})).html


def test_the_process_has_neither_the_secrets_nor_the_files_of_the_sender(monkeypatch, tmp_path):
    monkeypatch.setenv("RELAY_PASSWORD", SECRET)
    with (tmp_path / "journal").open("w") as journal, Renderer(Messages({"plain": ALL[0]})) as made:
        import os

        os.set_inheritable(journal.fileno(), True)
        made.render("plain", Context({"a": 1}, {"x": 2}))
        process = f"/proc/{made._process.pid}"
        with open(f"{process}/environ", "rb") as environ:
            assert SECRET.encode() not in environ.read()
        opened = {os.readlink(f"{process}/fd/{one}") for one in os.listdir(f"{process}/fd")}
    assert not any("journal" in one or "socket" in one for one in opened)


def test_a_killed_process_is_started_anew(renderer):
    renderer.render("tests", Context({"a": "x"}))
    renderer._process.kill()
    renderer._process.wait()
    with pytest.raises(RenderError):
        renderer.render("tests", Context({"a": "x"}))
    assert renderer.render("tests", Context({"a": "x"})).text == "xx\n"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_value_leaves_its_place_in_the_html(renderer, value):
    html = renderer.render("plain", Context({"a": value}, {"x": 1})).html
    assert html.count("<p ") == html.count("</p>") == 1
    assert "<script" not in html


def test_previews_of_a_table_of_contacts_and_their_page(tmp_path):
    messages = Messages.read(fixtures() / "messages")
    contacts = pd.DataFrame({"contact": ["a", "b"], "trial_ends_on": ["2026-04-01", None]})
    one, other = preview(messages, "reminder", contacts)
    assert one.subject == "Your trial is open until 1 April 2026"
    assert other.subject == "Your trial is still open"
    assert "None" not in other.html + other.text
    save_page([("a <b>", one), ("b", other)], "Reminder", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == preview_page([("a <b>", one), ("b", other)], "Reminder")
    assert page.count('sandbox=""') == 2
    assert "a &lt;b&gt;" in page


def test_bundled_messages_render_from_their_examples():
    messages = Messages.read(fixtures() / "messages")
    with Renderer(messages) as made:
        for name in messages:
            rendered = made.render(name, example_context(messages[name]))
            assert rendered.subject
            assert "None" not in rendered.html + rendered.text
            assert max(len(line) for line in rendered.text.splitlines() if "https://" not in line) <= 78


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<p>Read <a href="https://a.example/x">this page</a>.</p>', "Read this page <https://a.example/x>."),
        ('<a href="https://a.example/x">https://a.example/x</a>', "https://a.example/x"),
        ('<a href="https://a.example/"><img alt="Our shop" src="x"></a>', "Our shop <https://a.example/>"),
        ('<a href="mailto:a@b.example">Write</a> <a href="#top">Up</a>', "Write <a@b.example> Up"),
        ("<ul><li>a</li><li>b<ol start=3><li>c</li><li>d</li></ol></li></ul><p>e</p>", "- a\n- b\n  3. c\n  4. d\n\ne"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td><p>2</p></td></tr></table>", "a | b\n1 | 2"),
        ('<table role="presentation"><tr><td>a</td><td>b</td></tr></table>', "a\n\nb"),
        ("<h1>Żółw</h1><h2>b</h2><p>c<br>d</p><hr><blockquote>e</blockquote>",
         "Żółw\n====\n\nb\n-\n\nc\nd\n\n--------------------\n\n> e"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ('<head><title>t</title><style>p{}</style></head><div style="display:none">x<p>y</p></div><p hidden>z</p>'
         "<script>s</script>A&nbsp;&amp;&#8203;B", "A &B"),
    ],
)  # fmt: skip
def test_text_parts(html, text):
    assert text_of(html) == text + "\n"


def test_text_parts_are_wrapped_and_addresses_stay_whole():
    address = "https://a.example/" + "x" * 90
    lines = text_of(f"<p>{'word ' * 40}<a href='{address}'>link</a></p>").splitlines()
    assert f"<{address}>" in lines
    assert all(len(line) <= 76 for line in lines if address not in line)


TAGS = st.sampled_from(
    ["<p>", "</p>", "<ul>", "</ul>", "<ol start=x>", "<li>", "</li>", "<table>",
     '<table role="presentation">', "</table>", "<tr>", "</tr>", "<td>", "</td>",
     "<a href='https://a.example/'>", "</a>", "<pre>", "</pre>", "<blockquote>",
     "</blockquote>", "<div hidden>", "</div>", "<br>", "<img alt=\"x\">", "<style>", "</style>", "<!--", "-->", "<",
     "&lt;", '"', "'", "<h1>", "</h1>", "word "]
)  # fmt: skip


@given(st.lists(TAGS | st.text(max_size=5), max_size=30).map("".join))
def test_a_text_part_is_made_of_any_html(html):
    assert text_of(html).endswith("\n")


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9), min_size=1, max_size=30))
def test_a_text_part_has_every_word_in_its_order(words):
    cells = "".join(f"<td>{word}</td>" if i % 3 else f"<td><p><b>{word}</b></p></td>" for i, word in enumerate(words))
    assert text_of(f"<table role=none><tr>{cells}</tr></table>").split() == words
    assert text_of(f"<div>{' '.join(words)}</div>").split() == words
