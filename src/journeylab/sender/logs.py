"""What the sender says of its steps: one line of JSON each, on standard error, with keys and never with addresses.

Each step is an event with facts: `logger("outbox").info("delivered", webhook_id=…, status=200)`. Until `log_to` is
called nothing is written, as behoves a library. Whatever looks like an e-mail address is taken out of every line, also
out of those of other libraries and out of tracebacks.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

__all__ = ["export_traces", "log_to", "logger", "trace", "without_addresses"]

_ADDRESS: Final = re.compile(r"[^\s<>()\[\],;:\"\\]+?(?:@|%40|=40)[^\s<>()\[\],;:\"\\]+")
_ROOT: Final = "journeylab.sender"
logging.getLogger(_ROOT).addHandler(logging.NullHandler())


def without_addresses(text: str) -> str:
    """The text with `(address)` in the place of whatever looks like an e-mail address.

    >>> without_addresses("550 5.1.1 <jo.d+x@shop.example>: no such user")
    '550 5.1.1 <(address)>: no such user'
    """
    return _ADDRESS.sub("(address)", text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return without_addresses(value)
    if isinstance(value, Mapping):
        return {_clean(name): _clean(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float)) else without_addresses(str(value))


def _cleaned(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if not name.startswith("_"):  # what structlog hands on to itself
            event[name] = _clean(value)
    return event


def _steps() -> list[Any]:
    """What becomes of a step before the standard library's logging has it."""
    import structlog

    return [
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        _cleaned,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]


@cache
def logger(name: str) -> BoundLogger:
    """The logger of a part of the sender: `.info(step, **facts)`, `.warning(...)`, `.exception(...)`."""
    import structlog

    found: BoundLogger = structlog.wrap_logger(
        logging.getLogger(f"{_ROOT}.{name}"), _steps(), structlog.stdlib.BoundLogger, dict
    )
    return found


def log_to(stream: TextIO | None = None, level: int = logging.INFO) -> logging.Handler:
    """Writes every step as a line of JSON to a stream, by default standard error, and gives the handler that does.

    Lines have `at` (when, UTC), `level`, `logger`, `event` and the step's facts. Other libraries' warnings are among
    them.
    """
    import structlog

    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _cleaned,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.getLogger().addHandler(handler)
    logging.getLogger(_ROOT).setLevel(level)
    # Whoever asks structlog itself for a logger gets the same.
    structlog.configure(_steps(), structlog.stdlib.BoundLogger, dict, structlog.stdlib.LoggerFactory())
    return handler


@cache
def _tracer() -> Any:
    try:
        from opentelemetry import trace as opentelemetry
    except ModuleNotFoundError:
        return None
    return opentelemetry.get_tracer(_ROOT)


@contextmanager
def trace(name: str, **facts: str | int | float | bool) -> Iterator[None]:
    """A span of OpenTelemetry around what is done inside, where the extra `otel` is installed; otherwise nothing."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    from opentelemetry.trace import Status, StatusCode

    attributes = {key: _clean(value) for key, value in facts.items()}
    # An exception's text is not recorded: it may have anything in it.
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except BaseException as problem:
            span.set_status(Status(StatusCode.ERROR, type(problem).__name__))
            raise


def export_traces(service: str) -> bool:
    """Whether spans leave for a collector: the extra `otel` is there, and its environment variables name one.

    These are OpenTelemetry's own, `OTEL_EXPORTER_OTLP_ENDPOINT` first of all.
    """
    import os

    if not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return False
    try:
        from opentelemetry import trace as opentelemetry
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        logger("logs").warning("traces are not exported", remedy="install journeylab[otel]")
        return False
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    opentelemetry.set_tracer_provider(provider)
    return True
