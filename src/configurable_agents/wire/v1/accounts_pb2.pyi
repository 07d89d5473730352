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
