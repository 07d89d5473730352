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

DOUBT_PAUSES_S = (1.0, 3.0)
"""What was refused in doubt is tried again after each of these. An MLflow that is in trouble for longer, and
takes other writes all the while, has values set aside that it would have taken later."""

DOUBTS_MAX = 200
"""Values of one export that are tried again so. Those beyond are set aside at once; they can be tried again
by hand."""


class RefusedError(Exception):
    """MLflow will never take this; the reason is kept with what is set aside."""

    in_doubt = False
    """MLflow may have been in trouble itself."""


class Refused(NamedTuple):
    """One value that MLflow will not take."""

    seq: int
    """Its event; 0: it has none."""
    reason: str
    is_refused_again: Callable[[], bool] | None = None
    """Tries once more, where the refusal is in doubt. Raises when MLflow takes nothing at all."""


class Doubt(NamedTuple):
    """Events that are to be set aside, unless MLflow takes what it refused."""

    seqs: list[int]
    run: int
    refused: Refused


def settled(doubts: Sequence[Doubt], pause: Callable[[float], None]) -> list[Doubt]:
    """Those that MLflow goes on refusing, while it takes other writes."""
    looked_at, beyond = list(doubts[:DOUBTS_MAX]), doubts[DOUBTS_MAX:]
    for pause_s in DOUBT_PAUSES_S:
        if not looked_at:
            break
        pause(pause_s)
        looked_at = [each for each in looked_at if _is_refused_again(each.refused)]
    return [*looked_at, *beyond]


def _is_refused_again(refused: Refused) -> bool:
    return refused.is_refused_again is None or refused.is_refused_again()


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
        return [
            each._replace(seq=point.seq, reason=f"metric {point.name!r}: {each.reason}")
            for point, each in self._log_all(by_name, METRICS_MAX, log)
        ]

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

        return [
            each._replace(reason=f"param {name!r}: {each.reason}")
            for (name, _), each in self._log_all(list(params.items()), PARAMS_MAX, log)
        ]

    def log_tags(self, tags: Mapping[str, str]) -> list[Refused]:
        return [
            each._replace(reason=f"tag {name!r}: {each.reason}")
            for (name, _), each in self._log_all(list(tags.items()), TAGS_MAX, self._log_tags)
        ]

    def _log_tags(self, some: Sequence[tuple[str, str]]) -> None:
        self._client.log_batch(self.foreign_id, tags=_tags(some))

    def _log_all(
        self, items: Sequence[T], size: int, log: Callable[[Sequence[T]], None]
    ) -> list[tuple[T, Refused]]:
        refused: list[tuple[T, Refused]] = []
        for start in range(0, len(items), size):
            refused.extend(self._log_some(items[start : start + size], log))
        if refused:
            _log.warning(
                "MLflow run %s refuses %d values: %s", self.foreign_id, len(refused), refused[0][1].reason
            )
        return refused

    def _log_some(self, items: Sequence[T], log: Callable[[Sequence[T]], None]) -> list[tuple[T, Refused]]:
        refusal = self._refusal(lambda: log(items), tries=2)
        if refusal is None:
            return []
        self._check_is_active(refusal)
        if len(items) == 1 or self._isolations_left <= 0:
            self._isolations_left -= 1
            return [(item, self._refused(item, refusal, log)) for item in items]
        middle = len(items) // 2
        return [*self._log_some(items[:middle], log), *self._log_some(items[middle:], log)]

    def _refused(self, item: T, refusal: RefusedError, log: Callable[[Sequence[T]], None]) -> Refused:
        def is_refused_again() -> bool:
            return self._refusal(lambda: log([item]), tries=1) is not None

        return Refused(0, str(refusal), is_refused_again if refusal.in_doubt else None)

    def _refusal(self, log: Callable[[], None], *, tries: int) -> RefusedError | None:
        """Why it is not taken; `None` when it is. An error in doubt counts when MLflow takes other things."""
        refusal = None
        for _ in range(tries):
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
                refusal.in_doubt = True
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
    """MLflow's error code, where it is MLflow's word on what was sent: its server's, or its database store's.

    Its client makes codes up of the pages of gateways and of connections that fail: `None`. An error of the
    database is in doubt. That this process has no memory left says nothing either.
    """
    from mlflow.exceptions import RestException  # noqa: PLC0415

    code: str | None = getattr(error, "error_code", None)
    if ran_out_of_memory(error):
        return None
    if isinstance(error, RestException) or code not in {_MADE_UP, _DOUBTFUL}:
        return code
    cause = error.__cause__ or error.__context__
    return None if cause is None or isinstance(cause, OSError) else _DOUBTFUL


def first_line(error: BaseException) -> str:
    """What it says, without the user and password of an address in it."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return _CREDENTIALS.sub("", text)[:500]
