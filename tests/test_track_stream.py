"""Streams through a run: the call is recorded when the stream has ended, however it ends."""

import asyncio
import sys
import threading

import pytest

from configurable_agents import observe_run
from configurable_agents.runtime.profiler import profile_node
from configurable_agents.telemetry import Status, Usage
from configurable_agents.testing import MemoryRecorder

CHUNKS = [
    {"id": "chatcmpl-7", "model": "gpt-4o", "choices": [{"delta": {"content": ""}}]},
    {"id": "chatcmpl-7", "model": "gpt-4o", "choices": [{"delta": {"content": "Hi"}}]},
    {
        "id": "chatcmpl-7",
        "model": "gpt-4o",
        "choices": [],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100},
    },
]


class SdkStream:
    """As SDKs make them: iterable, closable, with attributes of their own."""

    def __init__(self, chunks):
        self._chunks = iter(chunks)
        self.closed = False
        self.request_id = "req-1"

    def __iter__(self):
        return self._chunks

    def close(self):
        self.closed = True


class AsyncSdkStream:
    def __init__(self, chunks):
        self._chunks = iter(chunks)
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None

    async def close(self):
        self.closed = True


def failing(error):
    yield from CHUNKS[:2]
    raise error


@pytest.fixture
def recorder():
    return MemoryRecorder()


def only_call(recorder):
    (call,) = recorder.calls
    return call


class TestAStreamReadToItsEnd:
    def test_passes_every_chunk_unchanged_and_is_recorded_once(self, recorder):
        with observe_run(recorder=recorder) as run:
            stream = run.track_stream(SdkStream(CHUNKS), provider="openai")
            assert list(stream) == CHUNKS
            assert list(stream) == []
        call = only_call(recorder)
        assert call.usage == Usage(1_000, output_tokens=100)
        assert (call.model, call.response_id, call.status) == ("gpt-4o", "chatcmpl-7", Status.OK)
        assert stream.figures["cost_nanos"] == 3_500_000
        assert run.cost_summary().totals.calls == 1

    def test_the_time_to_its_first_token_is_within_its_duration(self, recorder):
        with observe_run(recorder=recorder) as run:
            for _ in run.track_stream(iter(CHUNKS), provider="openai"):
                pass
        call = only_call(recorder)
        assert 0 < call.time_to_first_token_ns <= call.duration_ns

    def test_a_start_taken_before_the_request_counts(self, recorder):
        with observe_run(recorder=recorder) as run:
            began = run.scope.unix_ns() - 5_000_000_000
            list(run.track_stream(iter(CHUNKS), provider="openai", started_unix_ns=began))
        call = only_call(recorder)
        assert call.started_unix_ns == began
        assert call.time_to_first_token_ns >= 5_000_000_000

    def test_it_belongs_to_the_node_that_opened_it(self, recorder):
        with observe_run(recorder=recorder) as run:

            @profile_node("ask")
            def ask():
                return run.track_stream(iter(CHUNKS), provider="openai")

            list(ask())
        assert only_call(recorder).node_id == "ask"

    def test_attributes_and_closing_are_those_of_the_stream(self, recorder):
        source = SdkStream(CHUNKS)
        with observe_run(recorder=recorder) as run:
            with run.track_stream(source, provider="openai") as stream:
                assert stream.request_id == "req-1"
                list(stream)
            assert source.closed
        assert only_call(recorder).status is Status.OK


class TestAStreamThatEndsEarly:
    def test_left_in_the_middle_it_is_cancelled_and_has_no_usage(self, recorder):
        with (
            observe_run(recorder=recorder) as run,
            run.track_stream(iter(CHUNKS), provider="openai") as stream,
        ):
            next(stream)
        call = only_call(recorder)
        assert (call.status, call.usage) == (Status.CANCELLED, None)
        assert "stream_ended_early" in call.anomalies
        assert run.cost_summary().totals.no_usage_calls == 1

    def test_dropped_and_forgotten_it_is_recorded_all_the_same(self, recorder):
        with observe_run(recorder=recorder) as run:
            for _ in run.track_stream(iter(CHUNKS), provider="openai"):
                break
            assert only_call(recorder).status is Status.CANCELLED

    def test_still_open_when_the_run_ends_it_is_recorded_before_the_end(self, recorder):
        with observe_run(recorder=recorder) as run:
            stream = run.track_stream(iter(CHUNKS), provider="openai")
            next(stream)
        assert recorder.events.index(only_call(recorder)) == len(recorder.events) - 2
        assert stream.figures["price_status"] == "no_usage"

    def test_one_that_begins_in_another_thread_while_the_run_ends_is_recorded_too(self, recorder):
        held = []

        def step(frame, event, _):
            """While the streams that are open are looked through."""
            code = frame.f_code
            looks = code.co_name == "__iter__" and "_weakrefset" in code.co_filename
            if event == "return" and looks and len(held) < 3:
                begins = threading.Thread(target=lambda: held.append(run.track_stream(iter(CHUNKS))))
                begins.start()
                begins.join()

        with observe_run(recorder=recorder) as run:
            held += [run.track_stream(iter(CHUNKS)) for _ in range(2)]
            sys.setprofile(step)
        sys.setprofile(None)
        assert len(held) == len(recorder.calls) == 3

    def test_an_error_passes_through_and_marks_the_call(self, recorder):
        with observe_run(recorder=recorder) as run, pytest.raises(ConnectionError):
            list(run.track_stream(failing(ConnectionError("reset")), provider="openai"))
        call = only_call(recorder)
        assert (call.status, call.error_type) == (Status.ERROR, "ConnectionError")

    def test_closed_after_its_last_chunk_it_is_whole(self, recorder):
        with observe_run(recorder=recorder) as run:
            stream = run.track_stream(iter(CHUNKS), provider="openai")
            for _ in CHUNKS:
                next(stream)
            stream.close()
        call = only_call(recorder)
        assert (call.status, call.anomalies) == (Status.OK, ())


class TestAnAsynchronousStream:
    def test_is_recorded_at_its_end(self, recorder):
        async def ask():
            async with observe_run(recorder=recorder) as run:
                stream = run.track_stream(AsyncSdkStream(CHUNKS), provider="openai")
                assert [chunk async for chunk in stream] == CHUNKS

        asyncio.run(ask())
        assert only_call(recorder).usage == Usage(1_000, output_tokens=100)

    def test_is_cancelled_with_its_task(self, recorder):
        async def endless():
            yield CHUNKS[1]
            await asyncio.Event().wait()

        async def ask():
            async with observe_run(recorder=recorder) as run:
                started = asyncio.Event()

                async def read():
                    async for _ in run.track_stream(endless(), provider="openai"):
                        started.set()

                reading = asyncio.create_task(read())
                await started.wait()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

        asyncio.run(ask())
        call = only_call(recorder)
        assert (call.status, call.error_type) == (Status.CANCELLED, "CancelledError")
        assert call.time_to_first_token_ns > 0

    def test_closes_its_source_with_it(self, recorder):
        source = AsyncSdkStream(CHUNKS)

        async def ask():
            run_context = observe_run(recorder=recorder)
            async with run_context as run, run.track_stream(source, provider="openai") as stream:
                await anext(aiter(stream))

        asyncio.run(ask())
        assert source.closed
        assert only_call(recorder).status is Status.CANCELLED
