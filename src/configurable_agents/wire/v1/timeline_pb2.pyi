from configurable_agents.wire.v1 import reports_pb2 as _reports_pb2
from configurable_agents.wire.v1 import telemetry_pb2 as _telemetry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TimelinePart(_message.Message):
    __slots__ = ("run", "graph", "ended_unix_ns", "cut", "names", "spans", "calls")
    RUN_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    ENDED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    run: _reports_pb2.RunRecord
    graph: _telemetry_pb2.Graph
    ended_unix_ns: int
    cut: bool
    names: _containers.RepeatedScalarFieldContainer[str]
    spans: TimelineSpans
    calls: _containers.RepeatedCompositeFieldContainer[TimelineCall]
    def __init__(self, run: _Optional[_Union[_reports_pb2.RunRecord, _Mapping]] = ..., graph: _Optional[_Union[_telemetry_pb2.Graph, _Mapping]] = ..., ended_unix_ns: _Optional[int] = ..., cut: _Optional[bool] = ..., names: _Optional[_Iterable[str]] = ..., spans: _Optional[_Union[TimelineSpans, _Mapping]] = ..., calls: _Optional[_Iterable[_Union[TimelineCall, _Mapping]]] = ...) -> None: ...

class TimelineSpans(_message.Message):
    __slots__ = ("span_id", "parent_span_id", "node", "started_unix_ns", "duration_ns", "status", "attempt")
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    span_id: _containers.RepeatedScalarFieldContainer[int]
    parent_span_id: _containers.RepeatedScalarFieldContainer[int]
    node: _containers.RepeatedScalarFieldContainer[int]
    started_unix_ns: _containers.RepeatedScalarFieldContainer[int]
    duration_ns: _containers.RepeatedScalarFieldContainer[int]
    status: _containers.RepeatedScalarFieldContainer[int]
    attempt: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, span_id: _Optional[_Iterable[int]] = ..., parent_span_id: _Optional[_Iterable[int]] = ..., node: _Optional[_Iterable[int]] = ..., started_unix_ns: _Optional[_Iterable[int]] = ..., duration_ns: _Optional[_Iterable[int]] = ..., status: _Optional[_Iterable[int]] = ..., attempt: _Optional[_Iterable[int]] = ...) -> None: ...

class TimelineCall(_message.Message):
    __slots__ = ("span_id", "node", "provider", "model", "started_unix_ns", "duration_ns", "time_to_first_token_ns", "cost_nanos", "cost_known", "tokens", "status", "counted")
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_NS_FIELD_NUMBER: _ClassVar[int]
    COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    COST_KNOWN_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    span_id: int
    node: int
    provider: int
    model: int
    started_unix_ns: int
    duration_ns: int
    time_to_first_token_ns: int
    cost_nanos: int
    cost_known: bool
    tokens: int
    status: int
    counted: bool
    def __init__(self, span_id: _Optional[int] = ..., node: _Optional[int] = ..., provider: _Optional[int] = ..., model: _Optional[int] = ..., started_unix_ns: _Optional[int] = ..., duration_ns: _Optional[int] = ..., time_to_first_token_ns: _Optional[int] = ..., cost_nanos: _Optional[int] = ..., cost_known: _Optional[bool] = ..., tokens: _Optional[int] = ..., status: _Optional[int] = ..., counted: _Optional[bool] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("every_ms",)
    EVERY_MS_FIELD_NUMBER: _ClassVar[int]
    every_ms: int
    def __init__(self, every_ms: _Optional[int] = ...) -> None: ...

class WatchUpdate(_message.Message):
    __slots__ = ("at_unix_ns", "runs", "runs_live", "events_committed", "events_pending", "cost_nanos", "exporters", "calls", "unpriced_calls")
    AT_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    RUNS_LIVE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PENDING_FIELD_NUMBER: _ClassVar[int]
    COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    EXPORTERS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_CALLS_FIELD_NUMBER: _ClassVar[int]
    at_unix_ns: int
    runs: _containers.RepeatedCompositeFieldContainer[LiveRun]
    runs_live: int
    events_committed: int
    events_pending: int
    cost_nanos: int
    exporters: _containers.RepeatedCompositeFieldContainer[_reports_pb2.ExporterStatus]
    calls: int
    unpriced_calls: int
    def __init__(self, at_unix_ns: _Optional[int] = ..., runs: _Optional[_Iterable[_Union[LiveRun, _Mapping]]] = ..., runs_live: _Optional[int] = ..., events_committed: _Optional[int] = ..., events_pending: _Optional[int] = ..., cost_nanos: _Optional[int] = ..., exporters: _Optional[_Iterable[_Union[_reports_pb2.ExporterStatus, _Mapping]]] = ..., calls: _Optional[int] = ..., unpriced_calls: _Optional[int] = ...) -> None: ...

class LiveRun(_message.Message):
    __slots__ = ("run", "nodes")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    run: _reports_pb2.RunRecord
    nodes: _containers.RepeatedCompositeFieldContainer[OpenNode]
    def __init__(self, run: _Optional[_Union[_reports_pb2.RunRecord, _Mapping]] = ..., nodes: _Optional[_Iterable[_Union[OpenNode, _Mapping]]] = ...) -> None: ...

class OpenNode(_message.Message):
    __slots__ = ("node_id", "started_unix_ns", "count")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    started_unix_ns: int
    count: int
    def __init__(self, node_id: _Optional[str] = ..., started_unix_ns: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("scope", "limit", "before_unix_ns")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    scope: _reports_pb2.Scope
    limit: int
    before_unix_ns: int
    def __init__(self, scope: _Optional[_Union[_reports_pb2.Scope, _Mapping]] = ..., limit: _Optional[int] = ..., before_unix_ns: _Optional[int] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[PastRun]
    def __init__(self, runs: _Optional[_Iterable[_Union[PastRun, _Mapping]]] = ...) -> None: ...

class PastRun(_message.Message):
    __slots__ = ("run_id", "started_unix_ns", "status", "wall_ns", "nodes", "models")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WALL_NS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    started_unix_ns: int
    status: int
    wall_ns: int
    nodes: _containers.RepeatedCompositeFieldContainer[PastNode]
    models: _containers.RepeatedCompositeFieldContainer[_reports_pb2.ModelCost]
    def __init__(self, run_id: _Optional[str] = ..., started_unix_ns: _Optional[int] = ..., status: _Optional[int] = ..., wall_ns: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[PastNode, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[_reports_pb2.ModelCost, _Mapping]]] = ...) -> None: ...

class PastNode(_message.Message):
    __slots__ = ("node_id", "calls", "total_ns", "p95_ns", "errors")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NS_FIELD_NUMBER: _ClassVar[int]
    P95_NS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    calls: int
    total_ns: int
    p95_ns: int
    errors: int
    def __init__(self, node_id: _Optional[str] = ..., calls: _Optional[int] = ..., total_ns: _Optional[int] = ..., p95_ns: _Optional[int] = ..., errors: _Optional[int] = ...) -> None: ...
