from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_OK: _ClassVar[Status]
    STATUS_ERROR: _ClassVar[Status]
    STATUS_CANCELLED: _ClassVar[Status]
STATUS_UNSPECIFIED: Status
STATUS_OK: Status
STATUS_ERROR: Status
STATUS_CANCELLED: Status

class Batch(_message.Message):
    __slots__ = ("producer_id", "first_sequence", "events")
    PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    producer_id: bytes
    first_sequence: int
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, producer_id: _Optional[bytes] = ..., first_sequence: _Optional[int] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class RawBatch(_message.Message):
    __slots__ = ("producer_id", "first_sequence", "events")
    PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    producer_id: bytes
    first_sequence: int
    events: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, producer_id: _Optional[bytes] = ..., first_sequence: _Optional[int] = ..., events: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("next_sequence", "refusals")
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    next_sequence: int
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, next_sequence: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("sequence", "reason")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    reason: str
    def __init__(self, sequence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("run_started", "node_started", "node_finished", "llm_call", "run_finished")
    RUN_STARTED_FIELD_NUMBER: _ClassVar[int]
    NODE_STARTED_FIELD_NUMBER: _ClassVar[int]
    NODE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    LLM_CALL_FIELD_NUMBER: _ClassVar[int]
    RUN_FINISHED_FIELD_NUMBER: _ClassVar[int]
    run_started: RunStarted
    node_started: NodeStarted
    node_finished: NodeFinished
    llm_call: LlmCall
    run_finished: RunFinished
    def __init__(self, run_started: _Optional[_Union[RunStarted, _Mapping]] = ..., node_started: _Optional[_Union[NodeStarted, _Mapping]] = ..., node_finished: _Optional[_Union[NodeFinished, _Mapping]] = ..., llm_call: _Optional[_Union[LlmCall, _Mapping]] = ..., run_finished: _Optional[_Union[RunFinished, _Mapping]] = ...) -> None: ...

class RunStarted(_message.Message):
    __slots__ = ("run_id", "experiment", "workflow", "started_unix_ns", "tags", "graph", "mlflow_run_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    MLFLOW_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    experiment: str
    workflow: str
    started_unix_ns: int
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    graph: Graph
    mlflow_run_id: str
    def __init__(self, run_id: _Optional[str] = ..., experiment: _Optional[str] = ..., workflow: _Optional[str] = ..., started_unix_ns: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., graph: _Optional[_Union[Graph, _Mapping]] = ..., mlflow_run_id: _Optional[str] = ...) -> None: ...

class Tag(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Graph(_message.Message):
    __slots__ = ("nodes", "edges")
    NODES_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    edges: _containers.RepeatedCompositeFieldContainer[Edge]
    def __init__(self, nodes: _Optional[_Iterable[str]] = ..., edges: _Optional[_Iterable[_Union[Edge, _Mapping]]] = ...) -> None: ...

class Edge(_message.Message):
    __slots__ = ("from_node", "to_node")
    FROM_NODE_FIELD_NUMBER: _ClassVar[int]
    TO_NODE_FIELD_NUMBER: _ClassVar[int]
    from_node: str
    to_node: str
    def __init__(self, from_node: _Optional[str] = ..., to_node: _Optional[str] = ...) -> None: ...

class NodeStarted(_message.Message):
    __slots__ = ("run_id", "span_id", "parent_span_id", "node_id", "attempt", "started_unix_ns")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    span_id: int
    parent_span_id: int
    node_id: str
    attempt: int
    started_unix_ns: int
    def __init__(self, run_id: _Optional[str] = ..., span_id: _Optional[int] = ..., parent_span_id: _Optional[int] = ..., node_id: _Optional[str] = ..., attempt: _Optional[int] = ..., started_unix_ns: _Optional[int] = ...) -> None: ...

class NodeFinished(_message.Message):
    __slots__ = ("run_id", "span_id", "parent_span_id", "node_id", "attempt", "started_unix_ns", "duration_ns", "status", "error_type")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    span_id: int
    parent_span_id: int
    node_id: str
    attempt: int
    started_unix_ns: int
    duration_ns: int
    status: Status
    error_type: str
    def __init__(self, run_id: _Optional[str] = ..., span_id: _Optional[int] = ..., parent_span_id: _Optional[int] = ..., node_id: _Optional[str] = ..., attempt: _Optional[int] = ..., started_unix_ns: _Optional[int] = ..., duration_ns: _Optional[int] = ..., status: _Optional[_Union[Status, str]] = ..., error_type: _Optional[str] = ...) -> None: ...

class LlmCall(_message.Message):
    __slots__ = ("run_id", "call_id", "span_id", "node_id", "provider", "model", "usage", "started_unix_ns", "duration_ns", "status", "service_tier", "batch", "time_to_first_token_ns", "response_id", "stated_cost_nanos", "error_type", "attempt", "anomalies", "provider_known_by", "model_known_by", "model_as_given")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_NS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    STATED_COST_NANOS_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ANOMALIES_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_KNOWN_BY_FIELD_NUMBER: _ClassVar[int]
    MODEL_KNOWN_BY_FIELD_NUMBER: _ClassVar[int]
    MODEL_AS_GIVEN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    call_id: str
    span_id: int
    node_id: str
    provider: str
    model: str
    usage: Usage
    started_unix_ns: int
    duration_ns: int
    status: Status
    service_tier: str
    batch: bool
    time_to_first_token_ns: int
    response_id: str
    stated_cost_nanos: int
    error_type: str
    attempt: int
    anomalies: _containers.RepeatedScalarFieldContainer[str]
    provider_known_by: str
    model_known_by: str
    model_as_given: str
    def __init__(self, run_id: _Optional[str] = ..., call_id: _Optional[str] = ..., span_id: _Optional[int] = ..., node_id: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., started_unix_ns: _Optional[int] = ..., duration_ns: _Optional[int] = ..., status: _Optional[_Union[Status, str]] = ..., service_tier: _Optional[str] = ..., batch: _Optional[bool] = ..., time_to_first_token_ns: _Optional[int] = ..., response_id: _Optional[str] = ..., stated_cost_nanos: _Optional[int] = ..., error_type: _Optional[str] = ..., attempt: _Optional[int] = ..., anomalies: _Optional[_Iterable[str]] = ..., provider_known_by: _Optional[str] = ..., model_known_by: _Optional[str] = ..., model_as_given: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "web_searches")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_READ_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_1H_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    WEB_SEARCHES_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    web_searches: int
    def __init__(self, input_tokens: _Optional[int] = ..., cache_read_tokens: _Optional[int] = ..., cache_write_tokens: _Optional[int] = ..., cache_write_1h_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., audio_input_tokens: _Optional[int] = ..., audio_output_tokens: _Optional[int] = ..., web_searches: _Optional[int] = ...) -> None: ...

class RunFinished(_message.Message):
    __slots__ = ("run_id", "finished_unix_ns", "duration_ns", "status", "error_type")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    FINISHED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    DURATION_NS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    finished_unix_ns: int
    duration_ns: int
    status: Status
    error_type: str
    def __init__(self, run_id: _Optional[str] = ..., finished_unix_ns: _Optional[int] = ..., duration_ns: _Optional[int] = ..., status: _Optional[_Union[Status, str]] = ..., error_type: _Optional[str] = ...) -> None: ...
