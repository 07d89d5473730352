"""An empty function, bare and then observed by the tool named on the command line."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from answering import absent, added_us, answer, call_times_ns

Nothing = Callable[[], None]
OTLP_VARIABLE = "BENCH_OTLP_ENDPOINT"


def empty() -> None:
    return None


async def empty_async() -> None:
    return None


def ours() -> Nothing:
    from configurable_agents.observe import observe_run
    from configurable_agents.runtime.profiler import profile_node

    observe_run("benchmarks", "hot-path").__enter__()
    return profile_node("draft")(empty)


def opentelemetry() -> Nothing:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_otlp_exporter()))
    tracer = provider.get_tracer("benchmarks")
    assert trace is not None

    def observed() -> None:
        with tracer.start_as_current_span("draft"):
            empty()

    return observed


def _otlp_exporter() -> Any:
    """To the sink of the runner; where no OTLP exporter is installed, to nowhere, which is cheaper."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002
            return SpanExportResult.SUCCESS

    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError:
        return Nowhere()
    return OTLPSpanExporter(endpoint=os.environ[OTLP_VARIABLE], insecure=True)


def _mlflow() -> Any:
    import mlflow

    folder = tempfile.mkdtemp(prefix="bench-mlflow-")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("benchmarks")
    return mlflow


def mlflow_metric() -> Nothing:
    mlflow = _mlflow()
    mlflow.start_run()

    def observed() -> None:
        before = time.perf_counter()
        empty()
        mlflow.log_metric("draft_ms", 1000 * (time.perf_counter() - before))

    return observed


def mlflow_span() -> Nothing:
    mlflow = _mlflow()
    return mlflow.trace(name="draft")(empty)


def langfuse() -> Nothing:
    os.environ["LANGFUSE_PUBLIC_KEY"] = "pk-lf-none"
    os.environ["LANGFUSE_SECRET_KEY"] = "sk-lf-none"
    os.environ["LANGFUSE_BASE_URL"] = os.environ["LANGFUSE_HOST"] = "http://127.0.0.1:9"
    os.environ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"] = "1"
    from langfuse import get_client

    client = get_client()
    start = getattr(client, "start_as_current_observation", None) or client.start_as_current_span

    def observed() -> None:
        with start(name="draft"):
            empty()

    return observed


def logfire() -> Nothing:
    import logfire as tool

    tool.configure(send_to_logfire=False, console=False)

    def observed() -> None:
        with tool.span("draft"):
            empty()

    return observed


def turn(observed: Nothing, count: int) -> dict[str, Any]:
    bare = call_times_ns(empty, count)
    return added_us(call_times_ns(observed, count), bare)


async def _awaited_ns(function: Callable[[], Any], count: int) -> list[int]:
    clock = time.perf_counter_ns
    times = [0] * count
    for index in range(count):
        before = clock()
        await function()
        times[index] = clock() - before
    times.sort()
    return times


def turn_async(count: int) -> dict[str, Any]:
    from configurable_agents.runtime.profiler import profile_node

    observed = profile_node("draft")(empty_async)

    async def both() -> dict[str, Any]:
        bare = await _awaited_ns(empty_async, count)
        return added_us(await _awaited_ns(observed, count), bare)

    return asyncio.run(both())


TOOLS = {
    "ours": ours,
    "ours_async": ours,
    "opentelemetry": opentelemetry,
    "mlflow_metric": mlflow_metric,
    "mlflow_span": mlflow_span,
    "langfuse": langfuse,
    "logfire": logfire,
}


def main() -> None:
    name, share = sys.argv[1], int(sys.argv[2])
    try:
        observed = TOOLS[name]()
    except ImportError as error:
        absent(f"not installed ({error})")
    turn(observed, 20)

    def take(count: int) -> dict[str, Any]:
        each = max(20, count // share)
        return turn_async(each) if name.endswith("_async") else turn(observed, each)

    answer(take)


if __name__ == "__main__":
    main()
