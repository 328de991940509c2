"""A folder from which the bundled journey `trial_welcome` can be promoted: settings, messages, key, and send times."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

import journeylab as jl
from journeylab.datasets import fixtures
from journeylab.journey import Journey

SETTINGS = """\
sender: akacja
store: sqlite:///journeylab.db
domain: akacja.example
from: {name: Akacja, address: hello@akacja.example}
list_id: news.akacja.example
bounces: bounces.akacja.example
public_url: https://mail.akacja.example
postal_address: Akacja, ul. Prosta 1, 00-001 Warszawa
dkim: {domain: akacja.example, selector: s1, key: dkim.pem}
tracking: {opens: true, clicks: true}
relays:
  - {host: 127.0.0.1, port: 2525, tls: none}
"""
HTML = """\
<!doctype html><html lang="en"><head><title>{{ subject }}</title></head><body>
<p>Hello from Akacja, where you are on the plan {{ plan }}.</p>
<p><a href="{{ link('shop', 'https://akacja.example/shop') }}">Have a look around</a></p>
<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>
"""
MESSAGES = ("welcome_1", "offer_discount", "offer_free_month", "offer_plain", "reminder")


def write_messages(folder: Path, *names: str) -> None:
    """Messages that keep all rules."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.html").write_text(HTML)
        (folder / f"{name}.yaml").write_text(
            f"message: {name}\nsubject: News from Akacja\nattributes: [plan]\nexample: {{plan: trial}}\n"
        )


def write_key(path: Path) -> None:
    """A new DKIM key."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(65537, 2048)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)


def write_promotable(folder: Path) -> Path:
    """All files, of which `trial_welcome.yaml` is given back."""
    for name in ("trial_welcome.yaml", "trial_welcome.tests.yaml", "keen_care.yaml"):
        shutil.copy(fixtures() / "journeys" / name, folder / name)
    (folder / "sender.yaml").write_text(SETTINGS)
    write_messages(folder / "messages", *MESSAGES)
    write_key(folder / "dkim.pem")
    hours = pd.DataFrame({"contact": ["akacja-00001"], "hour_of_week": [9]})
    jl.SendTimes.of_hours(hours).write(folder / "best.parquet")
    return folder / "trial_welcome.yaml"


def summary(journey: Journey) -> dict[str, object]:
    """What `journeylab simulate --json` prints of a journey, with one share at each node, made up."""
    nodes: dict[str, object] = {}
    for name, node in journey.nodes.items():
        branches = node.branches()
        if branches:
            share = 1 / len({one for one, *_ in branches})
            one = {"n_visits": 1000 * share, "share": share, "interval": [share - 0.02, min(1, share + 0.02)]}
            nodes[name] = {"n_visits": 1000, "branches": {branch: one for branch, *_ in branches}}
    exits = {
        "finished": {
            "n_entries": 1000, "interval": [1000, 1000], "share": 1.0, "share_interval": [1.0, 1.0], "is_goal": False
        }
    }  # fmt: skip
    return {
        "journey": journey.journey, "version": journey.version, "draws": 200, "level": 0.9, "n_entries": 1000,
        "nodes": nodes, "exits": exits, "until": "2026-05-26T00:00:00+00:00", "notes": ["made up"],
    }  # fmt: skip
