"""What the pages say, in English and in Polish."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

__all__ = ["LANGUAGES", "Language", "instant_in", "language_in", "preferred", "say"]

Language: TypeAlias = Literal["en", "pl"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "pl")

_MONTHS: Final[dict[Language, tuple[str, ...]]] = {
    "en": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ),
    "pl": (
        "stycznia", "lutego", "marca", "kwietnia", "maja", "czerwca", "lipca", "sierpnia", "września", "października",
        "listopada", "grudnia",
    ),
}  # fmt: skip

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "stop_title": ("Stop these messages?", "Nie chcesz już tych wiadomości?"),
    "stop_text": (
        "{sender} will send you no more messages of this kind. What you need, such as receipts, still comes.",
        "{sender} nie będzie już wysyłać Ci wiadomości tego rodzaju. To, co niezbędne, na przykład potwierdzenia "
        "zamówień, nadal będzie przychodzić.",
    ),
    "stop_button": ("Unsubscribe", "Wypisz mnie"),
    "stopped_title": ("You are unsubscribed", "Rezygnacja przyjęta"),
    "stopped_text": (
        "Since {at}, {sender} sends you no more messages of this kind: {title}.",
        "Od {at} {sender} nie wysyła Ci już wiadomości tego rodzaju: {title}.",
    ),
    "on_its_way": (
        "What had left before may still arrive:",
        "To, co zostało wysłane wcześniej, może jeszcze przyjść:",
    ),
    "left_at": ("sent {at}", "wysłano {at}"),
    "choose_link": ("Choose what you get", "Wybierz, co chcesz dostawać"),
    "choose_title": ("What would you like to get?", "Co chcesz dostawać?"),
    "choose_text": (
        "Choose what {sender} may send you by e-mail. You can change it at any time.",
        "Wybierz, co {sender} może Ci wysyłać e-mailem. Wybór możesz zmienić w każdej chwili.",
    ),
    "choose_legend": ("Messages", "Wiadomości"),
    "choose_button": ("Save", "Zapisz"),
    "choose_wording": (
        "Yes, {sender} may send me this by e-mail: {title}.",
        "Tak, {sender} może mi to wysyłać e-mailem: {title}.",
    ),
    "chosen": ("Your choice is saved.", "Twój wybór został zapisany."),
    "always_title": ("What comes in any case", "Co przychodzi zawsze"),
    "always_text": ("You get these because you need them:", "Te wiadomości dostajesz, bo są niezbędne:"),
    "confirm_title": ("Please confirm", "Prosimy o potwierdzenie"),
    "confirm_text": ("With the button you agree to this:", "Przyciskiem wyrażasz zgodę o tej treści:"),
    "confirm_button": ("Yes, I agree", "Tak, zgadzam się"),
    "confirm_else": (
        "If you did not ask for this, close the page. Without your confirmation nothing comes.",
        "Jeśli to nie Twoja prośba, zamknij tę stronę. Bez potwierdzenia nic nie przyjdzie.",
    ),
    "given_title": ("Thank you, it is confirmed", "Dziękujemy, potwierdzone"),
    "given_text": (
        "You agreed on {at}. You can change your mind at any time, by a link in every message.",
        "Zgoda wyrażona {at}. Możesz ją wycofać w każdej chwili, linkiem w każdej wiadomości.",
    ),
    "expired_title": ("This link has expired", "Ten link wygasł"),
    "expired_text": (
        "It could be used until {at}. Sign up once more, and a new one comes.",
        "Był ważny do {at}. Zapisz się jeszcze raz, a przyjdzie nowy.",
    ),
    "void_title": ("This link is not valid any more", "Ten link nie jest już ważny"),
    "void_text": (
        "You unsubscribed after it was sent. If you have changed your mind, sign up once more.",
        "Po jego wysłaniu zgoda została wycofana. Jeśli to się zmieniło, zapisz się jeszcze raz.",
    ),
    "unknown_title": ("This link does not work", "Ten link nie działa"),
    "unknown_text": (
        "Nothing was changed. The link is not complete, or what it stood for is no longer there. Copy the whole link "
        "from the message, or write to {mailbox}.",
        "Nic się nie zmieniło. Link jest niepełny albo to, do czego prowadził, już nie istnieje. Skopiuj cały link z "
        "wiadomości albo napisz na adres {mailbox}.",
    ),
    "busy_title": ("Too many requests", "Za dużo zapytań"),
    "busy_text": (
        "Nothing was changed. Please wait a minute and try again.",
        "Nic się nie zmieniło. Odczekaj minutę i spróbuj jeszcze raz.",
    ),
    "trouble_title": ("This did not work", "To się nie udało"),
    "trouble_text": (
        "Nothing was changed. Please try again in a few minutes.",
        "Nic się nie zmieniło. Spróbuj jeszcze raz za kilka minut.",
    ),
}


def say(name: str, language: Language, **values: str) -> str:
    """A text in a language, with values in it.

    >>> say("left_at", "pl", at="2 marca 2026, 09:00 UTC")
    'wysłano 2 marca 2026, 09:00 UTC'
    """
    return _WORDS[name][LANGUAGES.index(language)].format(**values)


def instant_in(at: datetime, language: Language) -> str:
    """An instant in words.

    >>> instant_in(datetime(2026, 3, 2, 9, tzinfo=UTC), "en")
    '2 March 2026, 09:00 UTC'
    """
    at = at.astimezone(UTC)
    return f"{at.day} {_MONTHS[language][at.month - 1]} {at.year}, {at:%H:%M} UTC"


def language_in(tag: object) -> Language | None:
    """The language of a tag such as `pl` or `pl-PL`; None where the pages do not speak it."""
    main = str(tag or "").strip().lower().replace("_", "-").partition("-")[0]
    return next((one for one in LANGUAGES if one == main), None)


def preferred(accept_language: str) -> Language | None:
    """The language that a browser would rather have (RFC 9110, 12.5.4), of those that the pages speak.

    >>> preferred("de, pl;q=0.8, en;q=0.9"), preferred("de"), preferred("pl;q=0")
    ('en', None, None)
    """
    found: list[tuple[float, int, Language]] = []
    for place, part in enumerate(accept_language[:500].split(",")):
        tag, _, weight = part.partition(";")
        language = language_in(tag)
        try:
            quality = float(weight.strip().lower().removeprefix("q=") or 1)
        except ValueError:
            continue
        if language is not None and quality > 0:
            found.append((-quality, place, language))
    return min(found)[2] if found else None
