"""The vocabulary: what a workflow can report, as immutable records without any I/O.

Times are Unix nanoseconds, durations are nanoseconds of a monotonic clock, money is an integer of
nano-dollars (1e-9 USD). Records on the path of every event are `NamedTuple`s: as immutable as a
frozen dataclass and four times cheaper to make (0.25 µs against 1.0 µs for nine fields).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from operator import add
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

NANOS_PER_USD = 1_000_000_000
"""Money in the ledger and on the wire is counted in these."""

NO_SPAN = 0
"""The `parent_span_id` of a node that runs directly in its run."""

OTHER_NAME = "__other__"
"""The node, provider or model under which everything beyond a limit of distinct names is added up. Its
totals are exact."""


class Status(IntEnum):
    """How a run, a node execution or a call ended. The numbers are the wire's and the ledger's."""

    UNSPECIFIED = 0
    OK = 1
    ERROR = 2
    CANCELLED = 3
    RUNNING = 4
    INTERRUPTED = 5

    @property
    def label(self) -> str:
        """The name shown to people and written to JSON: `ok`, `error`, `cancelled`, …"""
        return self.name.lower()


class PriceStatus(StrEnum):
    """What is known about the price of a call. See `docs/semantics.md`."""

    PRICED = "priced"
    STATED = "stated"
    FREE = "free"
    UNPRICED = "unpriced"
    NO_USAGE = "no_usage"


class Usage(NamedTuple):
    """Token counts of one call (or a sum of calls) in classes that never overlap.

    `total_tokens` is therefore their sum. `web_searches` counts requests, not tokens.
    """

    input_tokens: int = 0
    """Uncached text (and image) input."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """Written to a cache with the provider's default lifetime."""
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    """Visible output, without reasoning."""
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    web_searches: int = 0

    @property
    def total_tokens(self) -> int:
        return sum(self) - self.web_searches

    def by_class(self) -> dict[str, int]:
        """The counts under the names that reports and `prices.toml` have for the classes."""
        return dict(zip(TOKEN_CLASSES, self, strict=True))

    @property
    def all_input_tokens(self) -> int:
        """Everything sent to the model, cached or not."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
            + self.audio_input_tokens
        )

    @property
    def all_output_tokens(self) -> int:
        """Everything the model produced, visible or not."""
        return self.output_tokens + self.reasoning_tokens + self.audio_output_tokens

    def plus(self, other: Usage) -> Usage:
        """The class-wise sum. (`+` would join the tuples.)"""
        return Usage(*map(add, self, other))


TOKEN_CLASSES = tuple(name.removesuffix("_tokens") for name in Usage._fields)
"""What the classes are called wherever they are shown, in the order of `Usage`: `input`, `cache_read`, …

`input_tokens` and `output_tokens` in a report are everything sent and everything produced.
"""


class Graph(NamedTuple):
    """A declared workflow graph. Nodes and edges are optional knowledge: runs work without."""

    nodes: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()


class RunStarted(NamedTuple):
    run_id: str
    experiment: str
    workflow: str
    started_unix_ns: int
    tags: tuple[tuple[str, str], ...] = ()
    graph: Graph | None = None
    mlflow_run_id: str = ""
    """An existing MLflow run to write into; empty: one is created."""


class NodeStarted(NamedTuple):
    """Sent only for executions that still run when a batch leaves, so a short node costs one event."""

    run_id: str
    span_id: int
    parent_span_id: int
    node_id: str
    attempt: int
    started_unix_ns: int


class NodeFinished(NamedTuple):
    run_id: str
    span_id: int
    """Unique in its run; 1 to 2**64-1."""
    parent_span_id: int
    """The enclosing execution, or `NO_SPAN`."""
    node_id: str
    attempt: int
    """1 for the first try of a node, 2 for its first retry."""
    started_unix_ns: int
    duration_ns: int
    status: Status
    error_type: str
    """Class name of the exception; empty when there was none. Never its message."""


class LlmCall(NamedTuple):
    run_id: str
    call_id: str
    """Unique in its run."""
    span_id: int
    """The node execution it ran in, or `NO_SPAN`."""
    node_id: str
    provider: str
    model: str
    usage: Usage | None
    """`None` when the response carried no usage; that is not zero tokens."""
    started_unix_ns: int
    duration_ns: int
    status: Status = Status.OK
    service_tier: str = ""
    batch: bool = False
    """Priced at the provider's batch rate."""
    time_to_first_token_ns: int = 0
    """0 when unknown."""
    response_id: str = ""
    stated_cost_nanos: int | None = None
    """What the provider or gateway itself said the call cost."""
    error_type: str = ""
    attempt: int = 1
    anomalies: tuple[str, ...] = ()
    """Short codes of what was odd about the response, e.g. `cached_exceeds_input`."""
    provider_known_by: str = ""
    """`caller`, `model_prefix`, `response_shape`, `model_name` or `unknown`; empty: not told."""
    model_known_by: str = ""
    """`caller` or `response`; empty: not told."""
    model_as_given: str = ""
    """The model's name before it was brought into the provider's form; empty when it is the same."""


class RunFinished(NamedTuple):
    run_id: str
    finished_unix_ns: int
    duration_ns: int
    status: Status
    error_type: str = ""


Event: TypeAlias = RunStarted | NodeStarted | NodeFinished | LlmCall | RunFinished


@runtime_checkable
class Recorder(Protocol):
    """Takes events from a workflow.

    `record` is called from any thread, never raises and never waits for anything but the kernel.
    """

    def record(self, event: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkflowRunRecord:
    """What is known of one run, as kept in the ledger and returned by the executor."""

    run_id: str
    experiment: str
    workflow: str
    status: Status
    started_unix_ns: int
    finished_unix_ns: int | None = None
    """`None` while the run is in flight."""
    tags: dict[str, str] = field(default_factory=dict)
    total_cost_nanos: int = 0
    total_tokens: int = 0
    llm_calls: int = 0
    unpriced_calls: int = 0
    """Calls outside the sum: `unpriced` and `no_usage` together."""
    node_executions: int = 0
    bottleneck_info: str = ""
    """JSON: `slowest_node`, `bottlenecks`, `total_time_ms`; empty until a node has finished."""
    mlflow_run_id: str = ""
    no_usage_calls: int = 0
    """Of `unpriced_calls`: those that did not say what they used. They are not in `total_tokens`."""

    @property
    def calls_covered_percent(self) -> float:
        """Share of calls whose cost is known; 100 for no calls at all."""
        known = self.llm_calls - self.unpriced_calls
        return 100.0 * known / self.llm_calls if self.llm_calls else 100.0
