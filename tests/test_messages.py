"""Messages: a folder of templates in which what is declared and what is used are the same, frozen as a whole."""

import json

import pytest

from journeylab.datasets import fixtures, journey_file
from journeylab.errors import DefinitionError
from journeylab.journey import Send
from journeylab.journeyfile import read
from journeylab.sender.mail.messages import Messages

LAYOUT = """<html lang="en"><body>
{% block main %}{% endblock %}
{% if unsubscribe_url %}<a href="{{ unsubscribe_url }}">Unsubscribe</a>{% endif %}
</body></html>"""
HELLO = """{% extends "layout.html" %}
{% block main %}
<p>Hi {{ first_name }}, you paid {{ entry.amount }}. <a href="{{ link('shop', 'https://shop.example/') }}">Shop</a></p>
{% endblock %}"""
OWN = """message: hello
subject: Hi {{ first_name|default('you') }}
attributes: [first_name]
entry: [amount]
example: {first_name: Ala, entry.amount: 12.5}
"""


@pytest.fixture
def folder(tmp_path):
    """Writes files into a folder of messages, which has a good message `hello` and its layout."""

    def write(**files):
        given = {"layout.html": LAYOUT, "hello.html": HELLO, "hello.yaml": OWN}
        given |= {name.replace("__", "."): text for name, text in files.items()}
        for name, text in given.items():
            if text is not None:
                (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def faults(path):
    with pytest.raises(DefinitionError) as caught:
        Messages.read(path)
    return [str(fault).replace(f"{path}/", "") for fault in caught.value.faults]


def test_a_message_says_what_it_is_made_of(folder):
    hello = Messages.read(folder())["hello"]
    assert hello.body == "hello.html"
    assert hello.text is None
    assert sorted(hello.templates) == ["hello.html", "layout.html"]
    assert hello.links == {"shop": "https://shop.example/"}
    assert not hello.asks_to_confirm


def test_what_is_used_must_be_declared_with_its_line_and_the_nearest_name(folder):
    own = OWN.replace("[first_name]", "[first_nam]").replace("{first_name: Ala, entry.amount: 12.5}", "{}")
    found = faults(folder(hello__yaml=own))
    assert any(one.startswith("hello.yaml:2:10: subject: first_name is not declared") for one in found)
    assert any("did you mean 'first_nam'?" in one for one in found)
    assert any("attributes.0: 'first_nam' is declared and no template uses it" in one for one in found)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("{{ plan }}", "hello.html:3", "plan is not declared"),
        ("{{ entry.sum }}", "hello.html:3", "entry.sum is not declared"),
        ("{{ entry }}", "hello.html:3", "entry.NAME"),
        ("{% if %}", "hello.html:3", "no Jinja2 template"),
        ("{{ first_name|uper }}", "hello.html:3", "No filter named 'uper'"),
        ("{% include 'fot.html' %}", "hello.html:3", "there is no template 'fot.html'"),
        ("{% include first_name %}", "hello.html:3", "written out, in quotes"),
        ("{{ link('shop', 'https://other.example/') }}", "hello.html", "leads to https://other.example/ elsewhere"),
        ("{{ link('x', first_name) }}", "hello.html:3", "both written out"),
        ("{{ link('x', 'javascript:alert(1)') }}", "hello.html:3", "must lead to https://"),
        ("{{ link('a b', 'https://shop.example/') }}", "hello.html:3", "letters, digits and underscores"),
        ("{% set go = link %}", "hello.html:3", "link is called"),
        ("{{ recommend(3) }}", "hello.html:3", "write recommend: 3"),
        ("{{ recommend(n=3) }}", "hello.html:3", "recommend(3)"),
        ("{{ confirm_url }}", "hello.html:3", "write transactional: true"),
    ],
)
def test_faults_of_templates_have_their_place(folder, text, where, what):
    found = faults(folder(hello__html=HELLO.replace("<p>Hi", f"{text}<p>Hi")))
    assert any(one.startswith(where) and what in one for one in found), found


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"hello__html": None}, "its HTML is missing"),
        ({"hello__mjml": "<mjml/>"}, "keep one"),
        ({"hello__yaml": OWN.replace("message: hello", "message: helo")}, "is called helo.yaml"),
        ({"hello__yaml": OWN + "preheader: More\n"}, "no template shows the preheader"),
        ({"hello__yaml": OWN + "recommend: 3\n"}, "no template asks for recommend"),
        ({"hello__yaml": OWN.replace("Ala", "Ala, plan: x")}, "example has 'plan'"),
        ({"hello__yaml": OWN.replace("[first_name]", "[first_name, first_name]")}, "twice"),
        ({"hello__yaml": OWN.replace("[first_name]", "[first_name, subject]")}, "cannot be used"),
        ({"hello__yaml": OWN + "colour: red\n"}, "has no 'colour'"),
        ({"hello__yaml": "subject: x\n"}, "begins with `message: NAME`"),
        ({"hello__yaml": OWN + "from: {address: nobody}\n"}, "is no e-mail address"),
        ({"other__html": "<p>Hi</p>"}, "other.yaml is missing"),
    ],
)
def test_faults_of_a_message_and_its_files(folder, files, what):
    found = faults(folder(**files))
    assert any(what in one for one in found), found


def test_all_faults_of_all_messages_come_at_once(folder):
    found = faults(folder(hello__html=HELLO + "{{ a }}\n{{ b }}", other__yaml="message: other\nsubject: x\n"))
    assert len(found) == 3


def test_names_that_templates_set_themselves_are_no_attributes(folder):
    parts = "{% macro item(name) %}<li>{{ name }} {{ strong }}</li>{% endmacro %}"
    html = (
        '{% extends "layout.html" %}{% from "parts.html" import item with context %}{% set strong = "!" %}'
        "{% block main %}{{ first_name }}{{ entry['amount'] }}{{ strong }}"
        '{% for one in recommend(2) %}{{ item(one) }}{% include "card.html" %}{% endfor %}{% endblock %}'
    )
    made = Messages.read(
        folder(hello__html=html, parts__html=parts, card__html="{{ one }}", hello__yaml=OWN + "recommend: 2\n")
    )
    assert sorted(made["hello"].templates) == ["card.html", "hello.html", "layout.html", "parts.html"]


def test_reading_templates_computes_nothing(folder):
    html = HELLO.replace("<p>Hi", "{{ 'a' * 10**11 }}{% if 10**10**8 %}{% endif %}<p>Hi")
    assert "hello" in Messages.read(folder(hello__html=html))


def test_a_release_keeps_all_of_it_and_the_hash_tells_any_change(folder):
    made = Messages.read(folder())
    again = Messages.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again["hello"] == made["hello"]
    assert again["hello"].templates == made["hello"].templates
    assert again["hello"].hash == made["hello"].hash
    assert len(made["hello"].hash) == 12
    changed = Messages.read(folder(layout__html=LAYOUT.replace("Unsubscribe", "Leave")))
    assert changed["hello"].hash != made["hello"].hash


def test_unknown_message_names_the_nearest(folder):
    with pytest.raises(DefinitionError, match="did you mean 'hello'"):
        Messages.read(folder())["helo"]


def test_a_folder_without_messages_is_refused(tmp_path):
    with pytest.raises(DefinitionError, match="there are no messages here"):
        Messages.read(tmp_path)
    with pytest.raises(DefinitionError, match="no such folder"):
        Messages.read(tmp_path / "none")


@pytest.mark.parametrize("name", ["trial_welcome", "shop_portfolio", "keen_care", "trial_ends"])
def test_bundled_messages_cover_the_shops_journeys(name):
    messages = Messages.read(fixtures() / "messages")
    portfolio = read(journey_file(name))
    sent = {node.send for one in portfolio.journeys for node in one.nodes.values() if isinstance(node, Send)}
    assert sent <= {*messages}
    assert messages["confirm_subscription"].asks_to_confirm
