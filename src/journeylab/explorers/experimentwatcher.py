"""The experiment watcher: what an experiment said as of any day, by intervals that hold whenever one looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.errors import DataError, JourneyLabError, known
from journeylab.eventlog import EventLog
from journeylab.experimentlines import ratio_svg, watch_svg
from journeylab.language import again, date_text, say, sentences_text

from .controls import Choice, Control, ControlError, Slider
from .explorer import Explorer
from .views import Picture, View

if TYPE_CHECKING:
    from journeylab.experiments import Experiment
    from journeylab.experiments.exposed import Exposed
    from journeylab.experiments.watching import Watch

__all__ = ["ExperimentWatcher"]

_MOST_DAYS = 24
_END = "end"


class ExperimentWatcher(Explorer):
    """Shows what an experiment said as of a day: effect with sequential interval, the arms' ratio, a verdict in words.

    Its values are `as_of` (a date, 00:00 UTC, or "end") and the number of `looks` ("10", "20" or "40"). Its tables are
    `path` and `ratio`. As of an earlier day nothing later is looked at: what is seen is that of a replay until then.
    """

    def __init__(
        self, experiment: Experiment, source: EventLog | pd.DataFrame, *, language: str = "en", **options: Any
    ) -> None:
        """Shows the experiment as of the end of what is known.

        Args:
            experiment: what was asked.
            source: the event log in which it runs; or the table of an experiment on one, with `exposed_at`.
            language: of the explorer, `en` or `pl`.
            **options: further arguments of `experiment.watch`, such as `send_times`.

        Raises:
            DataError: when the source does not fit the experiment, or does not say when units were exposed.
            DefinitionError: when a journey does not fit the log.
        """
        self._experiment, self._source, self._options = experiment, source, options
        self._watches: dict[tuple[str, int], Watch] = {}
        self._exposed: Exposed | None = None
        if isinstance(source, EventLog):
            from journeylab.experiments.exposed import exposed_units

            self._exposed = exposed_units(experiment, source, **options)
            assert self._exposed.exposures is not None
            start, end = experiment.start_at or source.start_at, self._exposed.exposures.until
        else:
            column = experiment.exposed_at
            if not isinstance(source, pd.DataFrame) or column not in source.columns:
                there = known(str(column), getattr(source, "columns", ()), "columns")
                raise DataError(f"watching a table needs a data frame that says when units were exposed; {there}")
            start, end = source[column].min().to_pydatetime(), source[column].max().to_pydatetime()
        self._days = _days(start, end)
        super().__init__({"as_of": _END, "looks": "10"}, language=language)

    def title(self) -> str:
        return say("Experiment {name}", name=self._experiment.experiment)

    def controls(self, values: Mapping[str, Any]) -> Sequence[Control]:  # noqa: ARG002
        days = [(day, date_text(datetime.fromisoformat(day))) for day in self._days]
        return (
            Slider(name="as_of", label=say("As of"), options=[*days, (_END, say("the end of what is known"))]),
            Choice(name="looks", label=say("Looks"), options=[(one, one) for one in ("10", "20", "40")]),
        )

    def look(self, values: Mapping[str, Any]) -> View:
        watch = self._watch(values["as_of"], int(values["looks"]))
        stopping = watch.stopping
        path, ratio = watch.path, watch.ratio
        drawn = "" if path.empty else watch_svg(path, stopping.planned_n)
        pictures = [
            Picture(
                name="path",
                title=say("The effect as units came in"),
                svg=drawn,
                table=path,
                heads={
                    "looked_at": say("Looked at"),
                    "n_units": say("Units"),
                    "metric": say("Metric"),
                    "arm": say("Arm"),
                    "effect": say("Effect"),
                    "low": say("from"),
                    "high": say("to"),
                    "p_value": say("p"),
                },
                notes=[
                    say("No unit has been watched for its whole window yet, so that there is no effect to draw.")
                    if path.empty
                    else say(
                        "The interval holds whenever one looks; that of a single look, drawn dashed, misleads whoever "
                        "looks again."
                    )
                ],
            )
        ]
        if ratio.path is not None and len(ratio.path):
            pictures.append(
                Picture(
                    name="ratio",
                    title=say("Whether the arms have their shares, as units came in"),
                    svg=ratio_svg(ratio.path, ratio.alpha),
                    table=ratio.path,
                    heads={"exposed_at": say("Exposed"), "n_units": say("Units"), "p_value": say("p")},
                    notes=[
                        say(
                            "A ratio that fails says that arms lost or won units otherwise than by the draw: then no "
                            "effect is to be believed."
                        )
                    ],
                )
            )
        said = watch.sentences() if ratio.passed is False else [*watch.sentences(), *ratio.sentences()]
        return View(
            finding=sentences_text([again(one) for one in dict.fromkeys(said)]),
            pictures=pictures,
            notes=[say("A verdict is given by `experiment.analyze` at the planned end; watching says when to look.")],
            code=self._code(values),
        )

    def _watch(self, as_of: str, looks: int) -> Watch:
        if (as_of, looks) not in self._watches:
            at = None if as_of == _END else datetime.fromisoformat(as_of).replace(tzinfo=UTC)
            try:
                self._watches[as_of, looks] = self._watched(at, looks)
            except JourneyLabError as error:
                raise ControlError("as_of", str(error)) from None
        return self._watches[as_of, looks]

    def _watched(self, at: datetime | None, looks: int) -> Watch:
        """What `experiment.watch` gives as of an instant, a log being replayed only once."""
        from journeylab.experiments.watching import watch

        if self._exposed is None:
            table: Any = self._source
            source = table if at is None else table[table[self._experiment.exposed_at] <= at]
            return self._experiment.watch(source, looks=looks, **self._options)
        units = self._exposed.units if at is None else self._exposed.as_of(at)
        return watch(units, stopping=self._experiment.stopping, alpha=self._experiment.alpha, looks=looks)

    def _code(self, values: Mapping[str, Any]) -> str:
        source, until = "log" if isinstance(self._source, EventLog) else "table", ""
        lines = []
        if values["as_of"] != _END:
            at = f"{values['as_of']}T00:00:00+00:00"
            if source == "log":
                until = f", until={at!r}"
            else:
                column = self._experiment.exposed_at
                lines = [f"table = table[table[{column!r}] <= {at!r}]"]
        options = "".join(f", {name}={name}" for name in self._options)
        lines += [
            f"watch = experiment.watch({source}, looks={values['looks']}{until}{options})",
            "path = watch.path",
            "ratio = watch.ratio.path",
            "",
        ]
        return "\n".join(lines)


def _days(start: datetime, end: datetime) -> list[str]:
    """Dates between two instants, at most 24 of them, evenly spaced."""
    first = start.astimezone(UTC).date() + timedelta(days=1)
    n = (end.astimezone(UTC).date() - first).days + 1
    if n < 1:
        return []
    places = np.unique(np.linspace(0, n - 1, min(n, _MOST_DAYS)).astype(int)).tolist()
    return [(first + timedelta(days=one)).isoformat() for one in places]
