"""What the dashboard says, in English and in Polish. Alerts and commands are English, as on the command line."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from .words import LANGUAGES, Language

__all__ = ["duration_in", "number_in", "percent_in", "word"]

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "title": ("What the sender does", "Co robi nadawca"),
    "as_of": ("As of {at}; renews itself every minute", "Stan na {at}; odświeża się co minutę"),
    "staging": (
        "Staging: only {domains} can be reached, and outside calls are recorded, not made.",
        "Środowisko testowe: wiadomości docierają tylko do {domains}, wywołania zewnętrzne są tylko zapisywane.",
    ),
    "well": ("Nothing needs a person.", "Nic nie wymaga interwencji."),
    "alerts": ("What needs a person", "Co wymaga interwencji"),
    "severity": ("Severity", "Waga"),
    "critical": ("critical", "krytyczna"),
    "error": ("error", "błąd"),
    "warning": ("warning", "ostrzeżenie"),
    "info": ("note", "informacja"),
    "what": ("What", "Co"),
    "since": ("Since", "Od"),
    "times_seen": ("Times seen", "Ile razy"),
    "now": ("Right now", "W tej chwili"),
    "queue_age": ("oldest message waiting", "najstarsza czekająca wiadomość"),
    "nothing_waits": ("none", "brak"),
    "latency": ("to acceptance: median, 95 % of the last hour", "do przyjęcia: mediana, 95 % z ostatniej godziny"),
    "n_ambiguous": ("messages without a known end", "wiadomości o nieznanym losie"),
    "n_sent_today": ("sent in the last 24 hours", "wysłane w ciągu 24 godzin"),
    "sends_by_hour": ("Sent per hour, last 24 hours", "Wysłane co godzinę, ostatnie 24 godziny"),
    "utc": ("hours are UTC", "godziny w UTC"),
    "most": ("at most {n} in an hour", "najwięcej {n} w godzinie"),
    "releases": ("Releases", "Wydania"),
    "no_releases": (
        "Nothing is released yet; `journeylab promote` does that.",
        "Nic jeszcze nie wydano; służy do tego `journeylab promote`.",
    ),
    "journey": ("Journey", "Ścieżka"),
    "version": ("Version", "Wersja"),
    "takes": ("Takes entries of", "Przyjmuje"),
    "of_contacts": ("of contacts", "kontaktów"),
    "canary": ("canary", "próba"),
    "state": ("State", "Stan"),
    "runs": ("runs", "działa"),
    "paused_by": ("paused by {who} since {at}: {why}", "wstrzymana przez {who} od {at}: {why}"),
    "by": ("By", "Przez"),
    "sends": ("Messages by state", "Wiadomości według stanu"),
    "all": ("All", "Razem"),
    "planned": ("planned", "planowane"),
    "ready": ("ready", "gotowe"),
    "claimed": ("claimed", "pobrane"),
    "transmitting": ("transmitting", "w drodze"),
    "accepted": ("accepted", "przyjęte"),
    "rejected": ("rejected", "odrzucone"),
    "failed": ("failed", "nieudane"),
    "ambiguous": ("ambiguous", "niepewne"),
    "suppressed": ("suppressed", "zablokowane"),
    "cancelled": ("cancelled", "anulowane"),
    "expired": ("expired", "przeterminowane"),
    "to_resolve": ("Messages that somebody has to decide on", "Wiadomości, o których ktoś musi zdecydować"),
    "to_resolve_text": (
        "Nobody knows whether these went: the relay did not answer. Look for them at the relay, then type one of",
        "Nie wiadomo, czy te wiadomości wyszły: serwer nie odpowiedział. Sprawdź je na serwerze, potem wpisz jedno z",
    ),
    "relay": ("Relay", "Serwer"),
    "sent_at": ("Sent at", "Wysłano"),
    "command": ("Command", "Polecenie"),
    "forecast": ("Forecast and reality", "Prognoza a rzeczywistość"),
    "no_forecast": ("No running release has a forecast.", "Żadne działające wydanie nie ma prognozy."),
    "figure": ("Figure", "Wielkość"),
    "n_contacts": ("Contacts", "Kontakty"),
    "live": ("Reality", "Rzeczywistość"),
    "expected": ("Forecast", "Prognoza"),
    "verdict": ("Verdict", "Ocena"),
    "outside": ("outside", "poza prognozą"),
    "within": ("within", "zgodna"),
    "too_few": ("too few yet", "za mało danych"),
    "seen": ("Opens and clicks, 7 days", "Otwarcia i kliknięcia, 7 dni"),
    "n_sent": ("Sent", "Wysłane"),
    "opened": ("Opened", "Otwarte"),
    "clicked": ("Clicked", "Kliknięte"),
    "opened_by_machines": ("Opened by machines only", "Otwarte tylko przez automaty"),
    "clicked_by_machines": ("Clicked by machines only", "Kliknięte tylko przez automaty"),
    "others": ("Other systems", "Inne systemy"),
    "name": ("Name", "Nazwa"),
    "waiting": ("Waiting", "Czeka"),
    "failing": ("Failing", "Z błędami"),
    "dead": ("Given up", "Porzucone"),
    "oldest": ("Oldest", "Najstarsze"),
    "relays": ("Relays", "Serwery"),
    "closed": ("works", "działa"),
    "half_open": ("is tried with one message", "sprawdzany jedną wiadomością"),
    "open": ("is left alone", "odstawiony"),
    "try_at": ("Next try", "Następna próba"),
    "calls": ("Outside calls", "Wywołania zewnętrzne"),
    "service": ("Service", "Usługa"),
    "succeeded": ("succeeded", "udane"),
    "workers": ("Workers", "Procesy"),
    "no_workers": (
        "No worker is running; `journeylab run` starts one.",
        "Żaden proces nie działa; uruchamia go `journeylab run`.",
    ),
    "worker": ("Worker", "Proces"),
    "host": ("Host", "Komputer"),
    "seen_before": ("Last seen", "Ostatnio widziany"),
    "ago": ("{time} ago", "{time} temu"),
    "none": ("none", "brak"),
}
_UNITS: Final = ((86_400, ("d", "d")), (3_600, ("h", "godz.")), (60, ("min", "min")), (1, ("s", "s")))


def word(name: str, language: Language, **values: object) -> str:
    """A text of the dashboard in a language, with values in it.

    >>> word("ago", "pl", time=duration_in(timedelta(minutes=3), "pl"))
    '3 min temu'
    """
    return _WORDS[name][LANGUAGES.index(language)].format(**values)


def duration_in(length: timedelta, language: Language) -> str:
    """A length of time in its two largest units.

    >>> duration_in(timedelta(hours=26, minutes=5), "en"), duration_in(timedelta(milliseconds=420), "en")
    ('1 d 2 h', '0.4 s')
    """
    seconds = length.total_seconds()
    if seconds < 10:
        return f"{_decimal(f'{seconds:.1f}', language)} s"
    parts: list[str] = []
    left = round(seconds)
    for size, names in _UNITS:
        n, left = divmod(left, size)
        if n or parts:
            parts.append(f"{n} {names[LANGUAGES.index(language)]}" if n else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def percent_in(share: float, language: Language) -> str:
    r"""A share in percent; a dash where there is none.

    >>> percent_in(0.0523, "pl"), percent_in(1.0, "en"), percent_in(float("nan"), "en") == "\u2013"
    ('5,2 %', '100 %', True)
    """
    if math.isnan(share):
        return "\u2013"
    return _decimal(f"{100 * share:.1f}".removesuffix(".0"), language) + " %"


def number_in(n: int, language: Language) -> str:
    r"""A whole number with its thousands apart.

    >>> number_in(1234567, "en"), number_in(1234, "pl")
    ('1,234,567', '1\xa0234')
    """
    return f"{n:,}".replace(",", "\u00a0") if language == "pl" else f"{n:,}"


def _decimal(text: str, language: Language) -> str:
    return text.replace(".", ",") if language == "pl" else text
