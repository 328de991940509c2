"""How response models are shown: the model card as Markdown, tables and calibration curves as static HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .display import block, counted, table
from .durations import duration_text
from .errors import listed

if TYPE_CHECKING:
    import pandas as pd

    from .responses import ResponseModel

__all__ = ["card_of", "html_of"]

_SIDE, _MARGIN = 120, 30
_COLOURS = {"boosted": "#1f6fb2", "baseline": "#d97a00"}
_MEANING = {
    "delivered": "of the send",
    "opened": "of a send that is not bounced; opens by machines count",
    "clicked": "of a send that is opened, counted from the open",
    "bounced": "of the send",
    "complained": "of a send that is not bounced",
    "unsubscribed": "of a send that is not bounced",
}


def card_of(model: ResponseModel, data: str = "") -> str:
    """The model card as Markdown."""
    within = duration_text(model.within)
    better = [one.response for one in model.validation.itertuples() if one.used == "boosted"]
    not_better = [name for name in model.responses if name not in better]
    meaning = {**_MEANING, "converted": f"`{model.converts}`, the next one before any other send to the contact"}
    lines = [
        "# Response model",
        "",
        f"Predicts what comes of a send within {within}, and when. What rests on it is `predicted`, not `observed`.",
        "",
        "## What it predicts",
        "",
        *(f"- **{name}**: {meaning[name]}" for name in model.responses),
        "",
        "## What it was fitted to",
        "",
        *([f"- Data: {data}"] if data else []),
        f"- {counted(model.n_sends, 'send')} to {counted(model.n_contacts, 'contact')}, "
        f"{model.start_at:%Y-%m-%d} to {model.until:%Y-%m-%d}; nothing later was looked at",
        f"- {counted(len(model.messages), 'message')}: {listed(model.messages, most=30)}",
        f"- {counted(len(model.features), 'feature')}, each as of the send: "
        + ", ".join(f"`{text}`" for text in model.features),
        f"- Contacts without a time zone are taken to live in {model.timezone}",
        "",
        "## What it is worth",
        "",
        f"Fitted to what was known by {model.cut_at:%Y-%m-%d} and asked about the sends from then on whose outcome is "
        "known. Boosted trees are used where their log loss is lower than that of the shrunken rates of messages by "
        "more than one standard error; otherwise the rates are used.",
        "",
        *_markdown(model.validation),
        "",
        "Better than the rates of messages: " + (", ".join(better) if better else "nothing") + ".",
        *([f"No better than a rate for each message, and that is what is used: {', '.join(not_better)}."]
          if not_better else []),
        "",
        *(["## What a backtest found wrong", ""] if model.failures else []),
        *(f"- {one}" for one in model.failures),
        *([""] if model.failures else []),
        "## What it must not be used for",
        "",
        "- To say what a message *causes*: it says what came of sends like those on record, to whom and when they were "
        "made. Where messages, waits or hours were not chosen at random, another choice may do better or worse (rule "
        "32).",
        "- Hours at which nothing was sent at random: it knows when people respond to what was sent when it was sent, "
        "not the best time to send.",
        f"- Messages that were never sent, other than with the spread between messages as its error (in log-odds: "
        f"{', '.join(f'{name} {sd:.2f}' for name, sd in zip(model.responses, model.unseen_sd, strict=True))}).",
        "- Opens as proof of reading: mail clients and scanners open by machine, and those opens are in the rates. "
        "Judge by clicks and conversions.",
        "- One contact at a time: rates are calibrated over many sends. Responses of one send other than a click and "
        "its open are taken as independent of each other, given the features.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _rows(validation: pd.DataFrame) -> list[tuple[str, ...]]:
    return [
        (
            one.response, f"{one.n_sends:,}", f"{one.n_responses:,}", _number(100 * one.rate, 2, "%"),
            _number(one.log_loss, 4), _number(one.baseline_log_loss, 4), _number(one.brier, 4),
            _number(one.baseline_brier, 4),
            f"{_number(one.gain, 4)} ± {_number(one.gain_se, 4)}" if np.isfinite(one.gain) else "not tried",
            _number(one.calibration_intercept, 2), _number(one.calibration_slope, 2), one.used,
        )
        for one in validation.itertuples()
    ]  # fmt: skip


_HEAD = (
    "response", "sends", "responses", "rate", "log loss", "of rates", "Brier", "of rates", "gain", "intercept", "slope",
    "used",
)  # fmt: skip


def _number(value: float, digits: int, unit: str = "") -> str:
    return f"{value:.{digits}f}{unit}" if np.isfinite(value) else "-"


def _markdown(validation: pd.DataFrame) -> list[str]:
    rows = [_HEAD, tuple("---" if i == 0 else "--:" for i in range(len(_HEAD))), *_rows(validation)]
    return [f"| {' | '.join(row)} |" for row in rows]


def html_of(model: ResponseModel) -> str:
    """The model as static HTML: its validation by time, and the calibration of what is used."""
    curves = [
        _curve(name, model.calibration[model.calibration["response"] == name])
        for name in model.responses
        if (model.calibration["response"] == name).any()
    ]
    cut = f"<p>Validated on sends from {model.cut_at:%Y-%m-%d} on; predicted against observed rates, 95% intervals:</p>"
    return block(repr(model), table(_HEAD, _rows(model.validation)), cut, "".join(curves))


def _curve(response: str, bins: pd.DataFrame) -> str:
    """A calibration curve as SVG: on the diagonal, predicted is observed."""
    most = min(max(float(bins[["predicted_rate", "observed_rate"]].max().max()) * 1.15, 1e-6), 1.0)
    width, height = _SIDE + 2 * _MARGIN, _SIDE + 2 * _MARGIN + 12

    def x(rate: float) -> str:
        return f"{_MARGIN + _SIDE * min(rate / most, 1.0):.1f}"

    def y(rate: float) -> str:
        return f"{_MARGIN + _SIDE * (1 - min(rate / most, 1.0)):.1f}"

    parts = [
        f'<svg role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-size="10" '
        f'font-family="system-ui,sans-serif" fill="currentColor"><title>Calibration of {escape(response)}</title>',
        f'<text x="{_MARGIN}" y="{_MARGIN - 12}" font-weight="600">{escape(response)}</text>',
        f'<path d="M{x(0)} {y(0)}V{y(most)}M{x(0)} {y(0)}H{x(most)}" stroke="currentColor" stroke-opacity=".4" '
        'fill="none"/>',
        f'<path d="M{x(0)} {y(0)}L{x(most)} {y(most)}" stroke="currentColor" stroke-opacity=".3" '
        'stroke-dasharray="3 3" fill="none"/>',
        f'<text x="{x(most)}" y="{_MARGIN + _SIDE + 12}" text-anchor="end">to {most:.2g}</text>',
    ]
    for model, points in bins.groupby("model", sort=True):
        colour = _COLOURS[str(model)]
        parts += [
            f'<path d="M{x(one.predicted_rate)} {y(one.low)}V{y(one.high)}" stroke="{colour}" stroke-opacity=".5"/>'
            f'<circle cx="{x(one.predicted_rate)}" cy="{y(one.observed_rate)}" r="2.5" fill="{colour}"/>'
            for one in points.itertuples()
        ]
        place = _MARGIN + _SIDE + (14 if str(model) == "baseline" else 26)
        parts.append(f'<text x="{_MARGIN}" y="{place}" fill="{colour}">{model}</text>')
    return "".join([*parts, "</svg>"])
