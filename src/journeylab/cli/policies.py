"""The command that values policies over a logged table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.display import counted

from .options import AsJson
from .screen import show_json, step, table_lines

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.policy import PolicyValue

__all__ = ["policy"]

_INTERVALS = ("normal", "empirical-bernstein", "anytime")


def _interval(text: str) -> str:
    if text not in _INTERVALS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(_INTERVALS)}")
    return text


def _level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = 0.0
    if not 0 < level < 1:
        raise typer.BadParameter(f"{text!r} does not lie between 0 and 1; write 0.9 for 90%")
    return level


def _range(text: str) -> tuple[float, float]:
    low, comma, high = text.partition(",")
    try:
        least_and_most = float(low), float(high)
    except ValueError:
        least_and_most = 0.0, 0.0
    if not comma or not least_and_most[0] < least_and_most[1]:
        raise typer.BadParameter(f"{text!r} is no range; write LEAST,MOST such as 0,250", param_hint="--reward-range")
    return least_and_most


def policy(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="The logged table: Parquet, CSV, JSON Lines, Arrow, or a database's URL."),
    ],
    action: Annotated[str, typer.Option("--action", metavar="COL", help="What was done.")],
    reward: Annotated[str, typer.Option("--reward", metavar="COL", help="What came of it: numbers or flags.")],
    propensity: Annotated[
        str | None,
        typer.Option("--propensity", metavar="COL", help="The probability with which it was done."),
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="COL", help="What the policy would do.")] = None,
    target_propensity: Annotated[
        str | None,
        typer.Option("--target-propensity", metavar="COL", help="The policy's probability of what was done."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="COL", help="What was known before; may be given several times."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option("--unit", metavar="COL", help="Whom a decision is about, where one has several."),
    ] = None,
    estimate_propensity: Annotated[
        bool,
        typer.Option("--estimate-propensity", help="Estimate the probabilities from --context, as none was logged."),
    ] = False,
    level: Annotated[float, typer.Option("--level", parser=_level, metavar="SHARE", help="Of all intervals.")] = "0.9",  # type: ignore[assignment]
    interval: Annotated[
        str,
        typer.Option(
            "--interval", parser=_interval, metavar="KIND", help="Which is shown: normal, empirical-bernstein, anytime."
        ),
    ] = "normal",
    reward_range: Annotated[
        str | None,
        typer.Option("--reward-range", metavar="LEAST,MOST", help="Between which rewards can lie, for bounds."),
    ] = None,
    half_width: Annotated[
        float | None,
        typer.Option("--half-width", metavar="X", help="How sure the experiment named upon a refusal should make you."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="The query that gives the rows of a database.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what another policy would have earned by a log of decisions, or why the log cannot say.

    The log has a row for each decision: what was done, with which probability, and what came of it. Where it carries no
    estimate, the exit status is 0 all the same: the answer is why, bounds, and the cheapest experiment that would tell.

    \b
    Examples:
      journeylab policy sends.csv --action subject --reward clicked --propensity chance --target plan
      journeylab policy sends.parquet --action subject --reward clicked --propensity chance \\
          --target-propensity planned_chance --context country --context plan --unit contact --json
      journeylab policy history.csv --action subject --reward clicked --target plan --estimate-propensity \\
          --context country --context days_inactive
    """
    contexts = list(context or [])
    if len(data) > 1:
        if not contexts:
            raise typer.BadParameter(f"one table is read, got {' '.join(data)}", param_hint="DATA")
        contexts += data[1:]  # as in --context country plan
    if (target is None) == (target_propensity is None):
        given = "neither is" if target is None else "both are"
        raise typer.BadParameter(f"give one of the two, {given} given", param_hint="--target / --target-propensity")
    if (propensity is None) != estimate_propensity:
        given = "neither is" if propensity is None else "both are"
        hint = "--propensity / --estimate-propensity"
        raise typer.BadParameter(f"give one of the two, {given} given", param_hint=hint)
    least_and_most = None if reward_range is None else _range(reward_range)
    if half_width is not None and not half_width > 0:
        raise typer.BadParameter(f"{half_width:g} is not greater than zero", param_hint="--half-width")
    from journeylab.policy import estimate_propensities, policy_value

    frame = _read(data[0], query)
    with step("valuing the policy") as valuing:
        logged: Any = propensity
        if estimate_propensity:
            logged = estimate_propensities(frame, action=action, context=contexts, unit=unit)
        value = policy_value(
            frame,
            action=action,
            reward=reward,
            propensity=logged,
            target=target,
            target_propensity=target_propensity,
            context=contexts,
            unit=unit,
            level=level,
            interval=interval.replace("-", "_"),  # type: ignore[arg-type]
            reward_range=least_and_most,
            half_width=half_width,
        )
        valuing.done = f"valued the policy over {counted(value.n, 'decision')}"
    if as_json:
        show_json(value.to_dict())
        return
    for line in _lines(value, data[0]):
        typer.echo(line)


def _read(place: str, query: str | None) -> pd.DataFrame:
    """The table, its index the numbers that people give its rows.

    Raises:
        DataError: when it cannot be read, or lines of it are malformed.
    """
    import numpy as np
    import pandas as pd

    from journeylab.errors import DataError
    from journeylab.logsource import open_source

    source = open_source(place, query, what="decisions")
    if source.rejects:
        bad, line = source.rejects.table, source.rejects.place
        shown = "".join(f"\n  {line} {one['row']}: {one['reason']}" for one in bad.slice(0, 3).to_pylist())
        raise DataError(f"{source.name}: {counted(len(bad), line)} cannot be read:{shown}")
    frame: pd.DataFrame = source.read(source.columns).to_pandas()
    numbers = source.rejects.number(np.arange(len(frame)))
    return frame.set_index(pd.Index(numbers, name=source.rejects.place))


def _lines(value: PolicyValue, place: str) -> Iterator[str]:
    """What was found, for people."""
    yield f"the policy {value.policy!r} over {counted(value.n, value.row)} of {place}"
    yield ""
    tables = [value.estimate_rows()] if value.refused is not None else [value.estimate_rows(), value.contrast_rows()]
    for head, rows in tables:
        yield from table_lines(head, rows, right="value difference error")
        yield ""
    yield from table_lines(("diagnostic", "figure"), value.diagnostic_rows())
    yield ""
    if value.sensitivity is not None:
        yield from table_lines(*value.sensitivity_rows())
        yield ""
    yield from value.sentences()
