"""Writes to one MLflow run, and finds by bisection what of it MLflow will never take."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from configurable_agents.obsd.exporters.projection import Point
from configurable_agents.obsd.exporters.worker_memory import ran_out_of_memory
from configurable_agents.observability import mlflow_names as names

_log = logging.getLogger(__name__)

T = TypeVar("T")

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")

METRICS_MAX = 1000
PARAMS_MAX = 100
TAGS_MAX = 100
"""MLflow's bounds on one `log_batch`."""

ISOLATED_MAX = 200
"""Values that are singled out in one export. What is refused beyond that is set aside together, or the
export would not end within its deadline; it can be tried again."""

_PERMANENT = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
        "INVALID_STATE",
        "BAD_REQUEST",
    }
)
"""MLflow's error codes that a repetition does not cure."""

_MADE_UP = "BAD_REQUEST"
"""What MLflow's client makes of the status 400 without an answer of MLflow's, and its database store of
any error of the database that is not a broken connection."""

_DOUBTFUL = "INTERNAL_ERROR"
"""What MLflow answers both to a value that its database cannot hold and when it is in trouble itself."""


class RefusedError(Exception):
    """MLflow will never take this; the reason is kept with what is set aside."""


class Refused(NamedTuple):
    """One value that MLflow will not take."""

    seq: int
    """Its event; 0: it has none."""
    reason: str


class RunWriter:
    """Writes to the MLflow run of one run. What may be repeated is: see `projection`.

    Each method returns what was refused, each value by itself, and raises `RefusedError` when the MLflow
    run as a whole takes nothing more (deleted, gone); MLflow's own errors when it cannot be reached.
    """

    def __init__(
        self, client: Any, foreign_id: str, run_id: str, *, isolated_max: int = ISOLATED_MAX
    ) -> None:
        self._client = client
        self.foreign_id = foreign_id
        self._run_id = run_id
        self._isolations_left = isolated_max

    def log_points(self, points: Sequence[Point]) -> list[Refused]:
        """Those of a metric together: MLflow then keeps fewer latest values per call, a tenth of its time."""

        def log(some: Sequence[Point]) -> None:
            self._client.log_batch(self.foreign_id, metrics=_metrics(some))

        by_name = sorted(points, key=lambda point: point.name)
        refused = self._log_all(by_name, METRICS_MAX, log)
        return [Refused(point.seq, f"metric {point.name!r}: {reason}") for point, reason in refused]

    def takes_at_once(
        self, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> bool:
        """Writes all in one call. False when that is refused: then a part of it may be written."""
        try:
            self._client.log_batch(
                self.foreign_id,
                metrics=_metrics(points),
                params=_params(params.items()),
                tags=_tags(tags.items()),
            )
        except Exception as error:
            if not may_be_the_values(error):
                raise
            return False
        return True

    def log_params(self, params: Mapping[str, str]) -> list[Refused]:
        def log(some: Sequence[tuple[str, str]]) -> None:
            self._client.log_batch(self.foreign_id, params=_params(some))

        refused = self._log_all(list(params.items()), PARAMS_MAX, log)
        return [Refused(0, f"param {name!r}: {reason}") for (name, _), reason in refused]

    def log_tags(self, tags: Mapping[str, str]) -> list[Refused]:
        refused = self._log_all(list(tags.items()), TAGS_MAX, self._log_tags)
        return [Refused(0, f"tag {name!r}: {reason}") for (name, _), reason in refused]

    def _log_tags(self, some: Sequence[tuple[str, str]]) -> None:
        self._client.log_batch(self.foreign_id, tags=_tags(some))

    def _log_all(
        self, items: Sequence[T], size: int, log: Callable[[Sequence[T]], None]
    ) -> list[tuple[T, str]]:
        refused: list[tuple[T, str]] = []
        for start in range(0, len(items), size):
            refused.extend(self._log_some(items[start : start + size], log))
        if refused:
            _log.warning("MLflow run %s refuses %d values: %s", self.foreign_id, len(refused), refused[0][1])
        return refused

    def _log_some(self, items: Sequence[T], log: Callable[[Sequence[T]], None]) -> list[tuple[T, str]]:
        refusal = self._refusal(lambda: log(items))
        if refusal is None:
            return []
        self._check_is_active(refusal)
        if len(items) == 1 or self._isolations_left <= 0:
            self._isolations_left -= 1
            return [(item, str(refusal)) for item in items]
        middle = len(items) // 2
        return [*self._log_some(items[:middle], log), *self._log_some(items[middle:], log)]

    def _refusal(self, log: Callable[[], None]) -> RefusedError | None:
        """Why it is not taken; `None` when it is. An error in doubt counts when MLflow takes other things."""
        refusal = None
        for _ in range(2):
            try:
                with permanent_errors():
                    log()
            except RefusedError as error:
                return error
            except Exception as error:
                if _code_of(error) != _DOUBTFUL:
                    raise
                self._write_a_known_value()
                refusal = RefusedError(first_line(error))
            else:
                return None
        return refusal

    def _write_a_known_value(self) -> None:
        """Raises when MLflow takes nothing at all: then it is not the values' fault."""
        with permanent_errors():
            self._log_tags([(names.TAG_RUN_ID, self._run_id)])

    def _check_is_active(self, refusal: RefusedError) -> None:
        with permanent_errors():
            stage = self._client.get_run(self.foreign_id).info.lifecycle_stage
        if stage != "active":
            raise RefusedError(f"the MLflow run {self.foreign_id} is deleted") from refusal


def _metrics(points: Iterable[Point]) -> list[Any]:
    from mlflow.entities import Metric  # noqa: PLC0415

    return [Metric(point.name, point.value, point.at_ms, point.step) for point in points]


def _params(params: Iterable[tuple[str, str]]) -> list[Any]:
    from mlflow.entities import Param  # noqa: PLC0415

    return [Param(*each) for each in params]


def _tags(tags: Iterable[tuple[str, str]]) -> list[Any]:
    from mlflow.entities import RunTag  # noqa: PLC0415

    return [RunTag(*each) for each in tags]


class permanent_errors(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """Turns MLflow's errors that no repetition cures into `RefusedError`; others stay what they are."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and _code_of(error) in _PERMANENT:
            raise RefusedError(first_line(error)) from error


def may_be_the_values(error: BaseException) -> bool:
    """Whether the same without some of its values may be taken."""
    return _code_of(error) in _PERMANENT | {_DOUBTFUL}


def _code_of(error: BaseException) -> str | None:
    """MLflow's error code, where it is a server's. Of those that its client makes up, the page of a gateway
    that says 400 is no verdict on what was sent, and an error of the database is in doubt. That this process
    has no memory left is none either."""
    from mlflow.exceptions import RestException  # noqa: PLC0415

    if ran_out_of_memory(error):
        return None
    code: str | None = getattr(error, "error_code", None)
    if code != _MADE_UP or isinstance(error, RestException):
        return code
    return None if error.__cause__ is None else _DOUBTFUL


def first_line(error: BaseException) -> str:
    """What it says, without the user and password of an address in it."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return _CREDENTIALS.sub("", text)[:500]
