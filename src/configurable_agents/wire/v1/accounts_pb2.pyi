from configurable_agents.wire.v1 import reports_pb2 as _reports_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeadLetterFilter(_message.Message):
    __slots__ = ("scope", "exporter", "reason")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    EXPORTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    scope: _reports_pb2.Scope
    exporter: str
    reason: str
    def __init__(self, scope: _Optional[_Union[_reports_pb2.Scope, _Mapping]] = ..., exporter: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetryRequest(_message.Message):
    __slots__ = ("filter", "whole_run")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    WHOLE_RUN_FIELD_NUMBER: _ClassVar[int]
    filter: DeadLetterFilter
    whole_run: bool
    def __init__(self, filter: _Optional[_Union[DeadLetterFilter, _Mapping]] = ..., whole_run: _Optional[bool] = ...) -> None: ...

class DeadLetterGroup(_message.Message):
    __slots__ = ("exporter", "run_id", "experiment", "state", "reason", "events", "first_unix_ns", "last_unix_ns")
    EXPORTER_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    exporter: str
    run_id: str
    experiment: str
    state: int
    reason: str
    events: int
    first_unix_ns: int
    last_unix_ns: int
    def __init__(self, exporter: _Optional[str] = ..., run_id: _Optional[str] = ..., experiment: _Optional[str] = ..., state: _Optional[int] = ..., reason: _Optional[str] = ..., events: _Optional[int] = ..., first_unix_ns: _Optional[int] = ..., last_unix_ns: _Optional[int] = ...) -> None: ...

class DeadLetterList(_message.Message):
    __slots__ = ("groups", "group_count", "events_set_aside", "events_retrying", "events_dropped")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    GROUP_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_RETRYING_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[DeadLetterGroup]
    group_count: int
    events_set_aside: int
    events_retrying: int
    events_dropped: int
    def __init__(self, groups: _Optional[_Iterable[_Union[DeadLetterGroup, _Mapping]]] = ..., group_count: _Optional[int] = ..., events_set_aside: _Optional[int] = ..., events_retrying: _Optional[int] = ..., events_dropped: _Optional[int] = ...) -> None: ...

class DeadLetterCount(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: int
    def __init__(self, events: _Optional[int] = ...) -> None: ...

class PurgeRequest(_message.Message):
    __slots__ = ("run_id", "apply")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    APPLY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    apply: bool
    def __init__(self, run_id: _Optional[str] = ..., apply: _Optional[bool] = ...) -> None: ...

class PurgeReport(_message.Message):
    __slots__ = ("run_id", "experiment", "status", "events", "mlflow_run_id", "is_attached", "tracking_uri", "purged", "bytes_removed")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    MLFLOW_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    IS_ATTACHED_FIELD_NUMBER: _ClassVar[int]
    TRACKING_URI_FIELD_NUMBER: _ClassVar[int]
    PURGED_FIELD_NUMBER: _ClassVar[int]
    BYTES_REMOVED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    experiment: str
    status: int
    events: int
    mlflow_run_id: str
    is_attached: bool
    tracking_uri: str
    purged: bool
    bytes_removed: bool
    def __init__(self, run_id: _Optional[str] = ..., experiment: _Optional[str] = ..., status: _Optional[int] = ..., events: _Optional[int] = ..., mlflow_run_id: _Optional[str] = ..., is_attached: _Optional[bool] = ..., tracking_uri: _Optional[str] = ..., purged: _Optional[bool] = ..., bytes_removed: _Optional[bool] = ...) -> None: ...

class Balance(_message.Message):
    __slots__ = ("events_committed", "events_kept", "events_removed", "events_purged", "rows_expected", "rows_counted", "exporter", "tracking_uri", "state", "events_exported", "events_waiting", "events_set_aside", "events_dropped", "runs_to_compare")
    EVENTS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_KEPT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PURGED_FIELD_NUMBER: _ClassVar[int]
    ROWS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ROWS_COUNTED_FIELD_NUMBER: _ClassVar[int]
    EXPORTER_FIELD_NUMBER: _ClassVar[int]
    TRACKING_URI_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_EXPORTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_WAITING_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    RUNS_TO_COMPARE_FIELD_NUMBER: _ClassVar[int]
    events_committed: int
    events_kept: int
    events_removed: int
    events_purged: int
    rows_expected: int
    rows_counted: int
    exporter: str
    tracking_uri: str
    state: str
    events_exported: int
    events_waiting: int
    events_set_aside: int
    events_dropped: int
    runs_to_compare: int
    def __init__(self, events_committed: _Optional[int] = ..., events_kept: _Optional[int] = ..., events_removed: _Optional[int] = ..., events_purged: _Optional[int] = ..., rows_expected: _Optional[int] = ..., rows_counted: _Optional[int] = ..., exporter: _Optional[str] = ..., tracking_uri: _Optional[str] = ..., state: _Optional[str] = ..., events_exported: _Optional[int] = ..., events_waiting: _Optional[int] = ..., events_set_aside: _Optional[int] = ..., events_dropped: _Optional[int] = ..., runs_to_compare: _Optional[int] = ...) -> None: ...

class ExpectedRunRequest(_message.Message):
    __slots__ = ("scope", "after_row")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    AFTER_ROW_FIELD_NUMBER: _ClassVar[int]
    scope: _reports_pb2.Scope
    after_row: int
    def __init__(self, scope: _Optional[_Union[_reports_pb2.Scope, _Mapping]] = ..., after_row: _Optional[int] = ...) -> None: ...

class ExpectedRun(_message.Message):
    __slots__ = ("row", "run_id", "experiment", "mlflow_run_id", "is_attached", "events", "dead_letters", "has_rows", "status", "totals", "params", "tags")
    class TotalsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ROW_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    MLFLOW_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    IS_ATTACHED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    HAS_ROWS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    row: int
    run_id: str
    experiment: str
    mlflow_run_id: str
    is_attached: bool
    events: int
    dead_letters: int
    has_rows: bool
    status: str
    totals: _containers.ScalarMap[str, float]
    params: _containers.ScalarMap[str, str]
    tags: _containers.ScalarMap[str, str]
    def __init__(self, row: _Optional[int] = ..., run_id: _Optional[str] = ..., experiment: _Optional[str] = ..., mlflow_run_id: _Optional[str] = ..., is_attached: _Optional[bool] = ..., events: _Optional[int] = ..., dead_letters: _Optional[int] = ..., has_rows: _Optional[bool] = ..., status: _Optional[str] = ..., totals: _Optional[_Mapping[str, float]] = ..., params: _Optional[_Mapping[str, str]] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExpectedPointsRequest(_message.Message):
    __slots__ = ("row", "after_seq")
    ROW_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQ_FIELD_NUMBER: _ClassVar[int]
    row: int
    after_seq: int
    def __init__(self, row: _Optional[int] = ..., after_seq: _Optional[int] = ...) -> None: ...

class ExpectedPoint(_message.Message):
    __slots__ = ("seq", "metric", "step", "at_ms", "value")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    metric: str
    step: int
    at_ms: int
    value: float
    def __init__(self, seq: _Optional[int] = ..., metric: _Optional[str] = ..., step: _Optional[int] = ..., at_ms: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...

class ExpectedPointList(_message.Message):
    __slots__ = ("points", "next_seq")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQ_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[ExpectedPoint]
    next_seq: int
    def __init__(self, points: _Optional[_Iterable[_Union[ExpectedPoint, _Mapping]]] = ..., next_seq: _Optional[int] = ...) -> None: ...
