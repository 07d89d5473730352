from configurable_agents.wire.v1 import reports_pb2 as _reports_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RepriceRequest(_message.Message):
    __slots__ = ("scope", "as_of_unix_ns", "apply", "reason")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    APPLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    scope: _reports_pb2.Scope
    as_of_unix_ns: int
    apply: bool
    reason: str
    def __init__(self, scope: _Optional[_Union[_reports_pb2.Scope, _Mapping]] = ..., as_of_unix_ns: _Optional[int] = ..., apply: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ModelRepricing(_message.Message):
    __slots__ = ("provider", "model", "changed_calls", "before", "after")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHANGED_CALLS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    changed_calls: int
    before: _reports_pb2.CallTotals
    after: _reports_pb2.CallTotals
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., changed_calls: _Optional[int] = ..., before: _Optional[_Union[_reports_pb2.CallTotals, _Mapping]] = ..., after: _Optional[_Union[_reports_pb2.CallTotals, _Mapping]] = ...) -> None: ...

class RepricingReport(_message.Message):
    __slots__ = ("models", "run_count", "changed_runs", "applied", "table_version")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_RUNS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelRepricing]
    run_count: int
    changed_runs: int
    applied: bool
    table_version: str
    def __init__(self, models: _Optional[_Iterable[_Union[ModelRepricing, _Mapping]]] = ..., run_count: _Optional[int] = ..., changed_runs: _Optional[int] = ..., applied: _Optional[bool] = ..., table_version: _Optional[str] = ...) -> None: ...
