"""Consent: asked for, given and withdrawn, with the proof of each.

>>> from datetime import UTC, datetime
>>> from tempfile import TemporaryDirectory
>>> from journeylab.sender.consent.proofs import proofs_of
>>> from journeylab.sender.consent.requests import ask, confirm
>>> from journeylab.sender.consent.withdrawals import withdraw
>>> from journeylab.sender.keys import Keys
>>> from journeylab.sender.live.intake import Person, receive_people
>>> from journeylab.sender.store import Store
>>> now = datetime(2026, 3, 2, 9, tzinfo=UTC)
>>> with TemporaryDirectory() as folder:
...     store = Store.open(f"sqlite:///{folder}/sender.db", Keys(bytes(32)), create=True)
...     with store.writing() as connection:
...         _ = receive_people(connection, [Person("ada", "ada@mail.example")], now)
...         request = ask(connection, "ada", "marketing", "Yes, write to me.", "en", "form", {}, now)
...         confirmed = confirm(connection, request.request_key, {"network": "192.0.2.0/24"}, now)
...         receipt = withdraw(connection, "ada", "marketing", "one_click", {}, now)
...         proofs = proofs_of(connection, "ada")
...     store.close()
>>> confirmed.outcome, receipt.cancelled == (request.message_key,), receipt.on_its_way
('given', True, ())
>>> [(proof["what"], proof["route"]) for proof in proofs]
[('requested', 'form'), ('given', 'confirmation'), ('withdrawn', 'one_click')]
"""
