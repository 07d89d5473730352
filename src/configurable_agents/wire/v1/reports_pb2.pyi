from configurable_agents.wire.v1 import telemetry_pb2 as _telemetry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scope(_message.Message):
    __slots__ = ("experiment", "run_id", "since_unix_ns")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    experiment: str
    run_id: str
    since_unix_ns: int
    def __init__(self, experiment: _Optional[str] = ..., run_id: _Optional[str] = ..., since_unix_ns: _Optional[int] = ...) -> None: ...

class CallTotals(_message.Message):
    __slots__ = ("calls", "cost_nanos", "usage", "priced_calls", "stated_calls", "free_calls", "unpriced_calls", "no_usage_calls", "unpriced_tokens", "failed_calls", "stated_tokens", "free_tokens", "merged_calls")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PRICED_CALLS_FIELD_NUMBER: _ClassVar[int]
    STATED_CALLS_FIELD_NUMBER: _ClassVar[int]
    FREE_CALLS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_CALLS_FIELD_NUMBER: _ClassVar[int]
    NO_USAGE_CALLS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FAILED_CALLS_FIELD_NUMBER: _ClassVar[int]
    STATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FREE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MERGED_CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: int
    cost_nanos: int
    usage: _telemetry_pb2.Usage
    priced_calls: int
    stated_calls: int
    free_calls: int
    unpriced_calls: int
    no_usage_calls: int
    unpriced_tokens: int
    failed_calls: int
    stated_tokens: int
    free_tokens: int
    merged_calls: int
    def __init__(self, calls: _Optional[int] = ..., cost_nanos: _Optional[int] = ..., usage: _Optional[_Union[_telemetry_pb2.Usage, _Mapping]] = ..., priced_calls: _Optional[int] = ..., stated_calls: _Optional[int] = ..., free_calls: _Optional[int] = ..., unpriced_calls: _Optional[int] = ..., no_usage_calls: _Optional[int] = ..., unpriced_tokens: _Optional[int] = ..., failed_calls: _Optional[int] = ..., stated_tokens: _Optional[int] = ..., free_tokens: _Optional[int] = ..., merged_calls: _Optional[int] = ...) -> None: ...

class ModelCost(_message.Message):
    __slots__ = ("provider", "model", "totals")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    totals: CallTotals
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., totals: _Optional[_Union[CallTotals, _Mapping]] = ...) -> None: ...

class CostSummary(_message.Message):
    __slots__ = ("models", "experiment", "run_id", "since_unix_ns", "run_count", "wasted")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    WASTED_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelCost]
    experiment: str
    run_id: str
    since_unix_ns: int
    run_count: int
    wasted: CallTotals
    def __init__(self, models: _Optional[_Iterable[_Union[ModelCost, _Mapping]]] = ..., experiment: _Optional[str] = ..., run_id: _Optional[str] = ..., since_unix_ns: _Optional[int] = ..., run_count: _Optional[int] = ..., wasted: _Optional[_Union[CallTotals, _Mapping]] = ...) -> None: ...

class GroupRequest(_message.Message):
    __slots__ = ("scope", "by", "sort", "top")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    SORT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    by: _containers.RepeatedScalarFieldContainer[str]
    sort: str
    top: int
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., by: _Optional[_Iterable[str]] = ..., sort: _Optional[str] = ..., top: _Optional[int] = ...) -> None: ...

class CostGroup(_message.Message):
    __slots__ = ("values", "totals", "wasted")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    WASTED_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    totals: CallTotals
    wasted: CallTotals
    def __init__(self, values: _Optional[_Iterable[str]] = ..., totals: _Optional[_Union[CallTotals, _Mapping]] = ..., wasted: _Optional[_Union[CallTotals, _Mapping]] = ...) -> None: ...

class GroupedCosts(_message.Message):
    __slots__ = ("by", "groups", "rest", "group_count", "totals", "wasted", "experiment", "run_id", "since_unix_ns", "run_count")
    BY_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    GROUP_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    WASTED_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    by: _containers.RepeatedScalarFieldContainer[str]
    groups: _containers.RepeatedCompositeFieldContainer[CostGroup]
    rest: CostGroup
    group_count: int
    totals: CallTotals
    wasted: CallTotals
    experiment: str
    run_id: str
    since_unix_ns: int
    run_count: int
    def __init__(self, by: _Optional[_Iterable[str]] = ..., groups: _Optional[_Iterable[_Union[CostGroup, _Mapping]]] = ..., rest: _Optional[_Union[CostGroup, _Mapping]] = ..., group_count: _Optional[int] = ..., totals: _Optional[_Union[CallTotals, _Mapping]] = ..., wasted: _Optional[_Union[CallTotals, _Mapping]] = ..., experiment: _Optional[str] = ..., run_id: _Optional[str] = ..., since_unix_ns: _Optional[int] = ..., run_count: _Optional[int] = ...) -> None: ...

class NodeProfile(_message.Message):
    __slots__ = ("node_id", "calls", "total_ns", "self_ns", "max_ns", "errors", "p95_ns", "p50_ns", "p90_ns", "p99_ns", "critical_ns", "slack_ns", "p95_history_ns")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NS_FIELD_NUMBER: _ClassVar[int]
    SELF_NS_FIELD_NUMBER: _ClassVar[int]
    MAX_NS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    P95_NS_FIELD_NUMBER: _ClassVar[int]
    P50_NS_FIELD_NUMBER: _ClassVar[int]
    P90_NS_FIELD_NUMBER: _ClassVar[int]
    P99_NS_FIELD_NUMBER: _ClassVar[int]
    CRITICAL_NS_FIELD_NUMBER: _ClassVar[int]
    SLACK_NS_FIELD_NUMBER: _ClassVar[int]
    P95_HISTORY_NS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    calls: int
    total_ns: int
    self_ns: int
    max_ns: int
    errors: int
    p95_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    critical_ns: int
    slack_ns: int
    p95_history_ns: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, node_id: _Optional[str] = ..., calls: _Optional[int] = ..., total_ns: _Optional[int] = ..., self_ns: _Optional[int] = ..., max_ns: _Optional[int] = ..., errors: _Optional[int] = ..., p95_ns: _Optional[int] = ..., p50_ns: _Optional[int] = ..., p90_ns: _Optional[int] = ..., p99_ns: _Optional[int] = ..., critical_ns: _Optional[int] = ..., slack_ns: _Optional[int] = ..., p95_history_ns: _Optional[_Iterable[int]] = ...) -> None: ...

class ProfileReport(_message.Message):
    __slots__ = ("nodes", "experiment", "workflow", "run_id", "since_unix_ns", "run_count", "status", "wall_ns", "times", "models")
    NODES_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WALL_NS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeProfile]
    experiment: str
    workflow: str
    run_id: str
    since_unix_ns: int
    run_count: int
    status: int
    wall_ns: int
    times: RunTimes
    models: _containers.RepeatedCompositeFieldContainer[ModelProfile]
    def __init__(self, nodes: _Optional[_Iterable[_Union[NodeProfile, _Mapping]]] = ..., experiment: _Optional[str] = ..., workflow: _Optional[str] = ..., run_id: _Optional[str] = ..., since_unix_ns: _Optional[int] = ..., run_count: _Optional[int] = ..., status: _Optional[int] = ..., wall_ns: _Optional[int] = ..., times: _Optional[_Union[RunTimes, _Mapping]] = ..., models: _Optional[_Iterable[_Union[ModelProfile, _Mapping]]] = ...) -> None: ...

class RunTimes(_message.Message):
    __slots__ = ("wall_ns", "between_ns", "model_ns", "python_ns", "retry_wait_ns", "queue_ns", "framework_ns", "concurrency_ns", "speedups_ns", "slot_saved_ns", "bottlenecks", "run_count")
    class ConcurrencyNsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class SpeedupsNsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class BottlenecksEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    WALL_NS_FIELD_NUMBER: _ClassVar[int]
    BETWEEN_NS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NS_FIELD_NUMBER: _ClassVar[int]
    PYTHON_NS_FIELD_NUMBER: _ClassVar[int]
    RETRY_WAIT_NS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_NS_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_NS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_NS_FIELD_NUMBER: _ClassVar[int]
    SPEEDUPS_NS_FIELD_NUMBER: _ClassVar[int]
    SLOT_SAVED_NS_FIELD_NUMBER: _ClassVar[int]
    BOTTLENECKS_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    wall_ns: int
    between_ns: int
    model_ns: int
    python_ns: int
    retry_wait_ns: int
    queue_ns: int
    framework_ns: int
    concurrency_ns: _containers.ScalarMap[int, int]
    speedups_ns: _containers.ScalarMap[str, int]
    slot_saved_ns: int
    bottlenecks: _containers.ScalarMap[str, int]
    run_count: int
    def __init__(self, wall_ns: _Optional[int] = ..., between_ns: _Optional[int] = ..., model_ns: _Optional[int] = ..., python_ns: _Optional[int] = ..., retry_wait_ns: _Optional[int] = ..., queue_ns: _Optional[int] = ..., framework_ns: _Optional[int] = ..., concurrency_ns: _Optional[_Mapping[int, int]] = ..., speedups_ns: _Optional[_Mapping[str, int]] = ..., slot_saved_ns: _Optional[int] = ..., bottlenecks: _Optional[_Mapping[str, int]] = ..., run_count: _Optional[int] = ...) -> None: ...

class ModelProfile(_message.Message):
    __slots__ = ("provider", "model", "calls", "max_ns", "p50_ns", "p90_ns", "p95_ns", "p99_ns", "first_token_p50_ns", "first_token_p95_ns", "timed_output_tokens", "generation_ns", "timed_calls")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_NS_FIELD_NUMBER: _ClassVar[int]
    P50_NS_FIELD_NUMBER: _ClassVar[int]
    P90_NS_FIELD_NUMBER: _ClassVar[int]
    P95_NS_FIELD_NUMBER: _ClassVar[int]
    P99_NS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_P50_NS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_P95_NS_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_NS_FIELD_NUMBER: _ClassVar[int]
    TIMED_CALLS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    calls: int
    max_ns: int
    p50_ns: int
    p90_ns: int
    p95_ns: int
    p99_ns: int
    first_token_p50_ns: int
    first_token_p95_ns: int
    timed_output_tokens: int
    generation_ns: int
    timed_calls: int
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., calls: _Optional[int] = ..., max_ns: _Optional[int] = ..., p50_ns: _Optional[int] = ..., p90_ns: _Optional[int] = ..., p95_ns: _Optional[int] = ..., p99_ns: _Optional[int] = ..., first_token_p50_ns: _Optional[int] = ..., first_token_p95_ns: _Optional[int] = ..., timed_output_tokens: _Optional[int] = ..., generation_ns: _Optional[int] = ..., timed_calls: _Optional[int] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("scope", "limit")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    limit: int
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., limit: _Optional[int] = ...) -> None: ...

class RunRecord(_message.Message):
    __slots__ = ("run_id", "experiment", "workflow", "status", "started_unix_ns", "finished_unix_ns", "tags", "total_cost_nanos", "total_tokens", "llm_calls", "unpriced_calls", "node_executions", "bottleneck_info", "mlflow_run_id", "no_usage_calls")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LLM_CALLS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_CALLS_FIELD_NUMBER: _ClassVar[int]
    NODE_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    BOTTLENECK_INFO_FIELD_NUMBER: _ClassVar[int]
    MLFLOW_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NO_USAGE_CALLS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    experiment: str
    workflow: str
    status: int
    started_unix_ns: int
    finished_unix_ns: int
    tags: _containers.RepeatedCompositeFieldContainer[_telemetry_pb2.Tag]
    total_cost_nanos: int
    total_tokens: int
    llm_calls: int
    unpriced_calls: int
    node_executions: int
    bottleneck_info: str
    mlflow_run_id: str
    no_usage_calls: int
    def __init__(self, run_id: _Optional[str] = ..., experiment: _Optional[str] = ..., workflow: _Optional[str] = ..., status: _Optional[int] = ..., started_unix_ns: _Optional[int] = ..., finished_unix_ns: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[_telemetry_pb2.Tag, _Mapping]]] = ..., total_cost_nanos: _Optional[int] = ..., total_tokens: _Optional[int] = ..., llm_calls: _Optional[int] = ..., unpriced_calls: _Optional[int] = ..., node_executions: _Optional[int] = ..., bottleneck_info: _Optional[str] = ..., mlflow_run_id: _Optional[str] = ..., no_usage_calls: _Optional[int] = ...) -> None: ...

class RunList(_message.Message):
    __slots__ = ("runs", "matching")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    MATCHING_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunRecord]
    matching: int
    def __init__(self, runs: _Optional[_Iterable[_Union[RunRecord, _Mapping]]] = ..., matching: _Optional[int] = ...) -> None: ...

class CacheUse(_message.Message):
    __slots__ = ("node_id", "provider", "model", "calls", "input_tokens", "read_tokens", "written_tokens", "saved_nanos", "unread_tokens", "unread_nanos", "rateless_read_tokens", "rateless_unread_tokens")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    READ_TOKENS_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANOS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_TOKENS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_NANOS_FIELD_NUMBER: _ClassVar[int]
    RATELESS_READ_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RATELESS_UNREAD_TOKENS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    provider: str
    model: str
    calls: int
    input_tokens: int
    read_tokens: int
    written_tokens: int
    saved_nanos: int
    unread_tokens: int
    unread_nanos: int
    rateless_read_tokens: int
    rateless_unread_tokens: int
    def __init__(self, node_id: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., calls: _Optional[int] = ..., input_tokens: _Optional[int] = ..., read_tokens: _Optional[int] = ..., written_tokens: _Optional[int] = ..., saved_nanos: _Optional[int] = ..., unread_tokens: _Optional[int] = ..., unread_nanos: _Optional[int] = ..., rateless_read_tokens: _Optional[int] = ..., rateless_unread_tokens: _Optional[int] = ...) -> None: ...

class CacheReport(_message.Message):
    __slots__ = ("entries", "experiment", "run_id", "since_unix_ns", "run_count")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNT_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[CacheUse]
    experiment: str
    run_id: str
    since_unix_ns: int
    run_count: int
    def __init__(self, entries: _Optional[_Iterable[_Union[CacheUse, _Mapping]]] = ..., experiment: _Optional[str] = ..., run_id: _Optional[str] = ..., since_unix_ns: _Optional[int] = ..., run_count: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("scope", "call_id", "limit")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    call_id: str
    limit: int
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., call_id: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("call", "counted", "price", "history")
    CALL_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    call: _telemetry_pb2.LlmCall
    counted: bool
    price: PriceEntry
    history: _containers.RepeatedCompositeFieldContainer[PriceEntry]
    def __init__(self, call: _Optional[_Union[_telemetry_pb2.LlmCall, _Mapping]] = ..., counted: _Optional[bool] = ..., price: _Optional[_Union[PriceEntry, _Mapping]] = ..., history: _Optional[_Iterable[_Union[PriceEntry, _Mapping]]] = ...) -> None: ...

class PriceEntry(_message.Message):
    __slots__ = ("status", "cost_nanos", "table_cost_nanos", "rate_card", "reason", "replaced_at_unix_ns", "replaced_because")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    TABLE_COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    RATE_CARD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REPLACED_AT_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    REPLACED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    status: str
    cost_nanos: int
    table_cost_nanos: int
    rate_card: str
    reason: str
    replaced_at_unix_ns: int
    replaced_because: str
    def __init__(self, status: _Optional[str] = ..., cost_nanos: _Optional[int] = ..., table_cost_nanos: _Optional[int] = ..., rate_card: _Optional[str] = ..., reason: _Optional[str] = ..., replaced_at_unix_ns: _Optional[int] = ..., replaced_because: _Optional[str] = ...) -> None: ...

class ReceiptList(_message.Message):
    __slots__ = ("receipts",)
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    def __init__(self, receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DaemonStatus(_message.Message):
    __slots__ = ("version", "pid", "started_unix_ns", "home", "address", "events_committed", "events_duplicate", "events_refused", "events_pending", "runs_live", "runs_total", "ledger_bytes", "spool_bytes", "producers_connected", "exporters", "names_folded", "events_kept", "events_purged", "events_removed", "prices_problem", "storage", "parts", "events_acknowledged", "bytes_pending", "oldest_pending_ns", "commit_p50_ns", "commit_p99_ns")
    class EventsRefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PENDING_FIELD_NUMBER: _ClassVar[int]
    RUNS_LIVE_FIELD_NUMBER: _ClassVar[int]
    RUNS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LEDGER_BYTES_FIELD_NUMBER: _ClassVar[int]
    SPOOL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    EXPORTERS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FOLDED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_KEPT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PURGED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    PRICES_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    BYTES_PENDING_FIELD_NUMBER: _ClassVar[int]
    OLDEST_PENDING_NS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_P50_NS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_P99_NS_FIELD_NUMBER: _ClassVar[int]
    version: str
    pid: int
    started_unix_ns: int
    home: str
    address: str
    events_committed: int
    events_duplicate: int
    events_refused: _containers.ScalarMap[str, int]
    events_pending: int
    runs_live: int
    runs_total: int
    ledger_bytes: int
    spool_bytes: int
    producers_connected: int
    exporters: _containers.RepeatedCompositeFieldContainer[ExporterStatus]
    names_folded: int
    events_kept: int
    events_purged: int
    events_removed: int
    prices_problem: str
    storage: StorageStatus
    parts: _containers.RepeatedCompositeFieldContainer[PartStatus]
    events_acknowledged: int
    bytes_pending: int
    oldest_pending_ns: int
    commit_p50_ns: int
    commit_p99_ns: int
    def __init__(self, version: _Optional[str] = ..., pid: _Optional[int] = ..., started_unix_ns: _Optional[int] = ..., home: _Optional[str] = ..., address: _Optional[str] = ..., events_committed: _Optional[int] = ..., events_duplicate: _Optional[int] = ..., events_refused: _Optional[_Mapping[str, int]] = ..., events_pending: _Optional[int] = ..., runs_live: _Optional[int] = ..., runs_total: _Optional[int] = ..., ledger_bytes: _Optional[int] = ..., spool_bytes: _Optional[int] = ..., producers_connected: _Optional[int] = ..., exporters: _Optional[_Iterable[_Union[ExporterStatus, _Mapping]]] = ..., names_folded: _Optional[int] = ..., events_kept: _Optional[int] = ..., events_purged: _Optional[int] = ..., events_removed: _Optional[int] = ..., prices_problem: _Optional[str] = ..., storage: _Optional[_Union[StorageStatus, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[PartStatus, _Mapping]]] = ..., events_acknowledged: _Optional[int] = ..., bytes_pending: _Optional[int] = ..., oldest_pending_ns: _Optional[int] = ..., commit_p50_ns: _Optional[int] = ..., commit_p99_ns: _Optional[int] = ...) -> None: ...

class PartStatus(_message.Message):
    __slots__ = ("name", "state", "stuck_since_unix_ns", "problem", "is_vital")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STUCK_SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    IS_VITAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    stuck_since_unix_ns: int
    problem: str
    is_vital: bool
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., stuck_since_unix_ns: _Optional[int] = ..., problem: _Optional[str] = ..., is_vital: _Optional[bool] = ...) -> None: ...

class ExporterStatus(_message.Message):
    __slots__ = ("name", "target", "state", "events_exported", "events_waiting", "events_set_aside", "last_success_unix_ns", "last_error", "runs_waiting", "events_dropped", "events_purged")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_EXPORTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_WAITING_FIELD_NUMBER: _ClassVar[int]
    EVENTS_SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    LAST_SUCCESS_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    RUNS_WAITING_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PURGED_FIELD_NUMBER: _ClassVar[int]
    name: str
    target: str
    state: str
    events_exported: int
    events_waiting: int
    events_set_aside: int
    last_success_unix_ns: int
    last_error: str
    runs_waiting: int
    events_dropped: int
    events_purged: int
    def __init__(self, name: _Optional[str] = ..., target: _Optional[str] = ..., state: _Optional[str] = ..., events_exported: _Optional[int] = ..., events_waiting: _Optional[int] = ..., events_set_aside: _Optional[int] = ..., last_success_unix_ns: _Optional[int] = ..., last_error: _Optional[str] = ..., runs_waiting: _Optional[int] = ..., events_dropped: _Optional[int] = ..., events_purged: _Optional[int] = ...) -> None: ...

class StorageStatus(_message.Message):
    __slots__ = ("free_bytes", "reserve_bytes", "waiting_bytes", "allowance_bytes", "refuses_because", "raw_kept_s", "totals_kept_s", "ledger_bytes_max", "note", "checked", "repaired", "events_retired", "runs_retired", "runs_retired_for_size", "runs_removed", "spools_damaged")
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESERVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAITING_BYTES_FIELD_NUMBER: _ClassVar[int]
    ALLOWANCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REFUSES_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    RAW_KEPT_S_FIELD_NUMBER: _ClassVar[int]
    TOTALS_KEPT_S_FIELD_NUMBER: _ClassVar[int]
    LEDGER_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_RETIRED_FIELD_NUMBER: _ClassVar[int]
    RUNS_RETIRED_FIELD_NUMBER: _ClassVar[int]
    RUNS_RETIRED_FOR_SIZE_FIELD_NUMBER: _ClassVar[int]
    RUNS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    SPOOLS_DAMAGED_FIELD_NUMBER: _ClassVar[int]
    free_bytes: int
    reserve_bytes: int
    waiting_bytes: int
    allowance_bytes: int
    refuses_because: str
    raw_kept_s: int
    totals_kept_s: int
    ledger_bytes_max: int
    note: str
    checked: str
    repaired: str
    events_retired: int
    runs_retired: int
    runs_retired_for_size: int
    runs_removed: int
    spools_damaged: int
    def __init__(self, free_bytes: _Optional[int] = ..., reserve_bytes: _Optional[int] = ..., waiting_bytes: _Optional[int] = ..., allowance_bytes: _Optional[int] = ..., refuses_because: _Optional[str] = ..., raw_kept_s: _Optional[int] = ..., totals_kept_s: _Optional[int] = ..., ledger_bytes_max: _Optional[int] = ..., note: _Optional[str] = ..., checked: _Optional[str] = ..., repaired: _Optional[str] = ..., events_retired: _Optional[int] = ..., runs_retired: _Optional[int] = ..., runs_retired_for_size: _Optional[int] = ..., runs_removed: _Optional[int] = ..., spools_damaged: _Optional[int] = ...) -> None: ...
