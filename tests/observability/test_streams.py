"""What chunks say: every provider's way of streaming usage, whole or cut short."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from configurable_agents.observability.streams import StreamAccumulator
from configurable_agents.observability.usage import read_usage
from configurable_agents.telemetry import Usage

RECORDER_SAW_NO_USAGE = {"548dead760": 242, "91d7cde398": 326, "96fb90482d": 211}
"""Interaction streams whose usage stands in an event's metadata, with their totals as stated there."""
SEARCHES = {"fa8e3e2e41": 2, "5e859dca4a": 1}
"""Web searches stand beside the usage, in the output."""


def gathered(chunks, *, ended: bool = True) -> StreamAccumulator:
    stream = StreamAccumulator()
    for chunk in chunks:
        stream.add(chunk)
    if ended:
        stream.end()
    return stream


def chat_chunk(content=None, **fields):
    choices = [] if content is None else [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "gpt-4o",
        "choices": choices,
        **fields,
    }


CHAT_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ANTHROPIC_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": 2_694, "cache_read_input_tokens": 7, "output_tokens": 1},
    },
}
ANTHROPIC_TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
ANTHROPIC_DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn"},
    "usage": {"input_tokens": 12_957, "output_tokens": 152},
}
GEMINI_CHUNKS = [
    {
        "candidates": [{"content": {"parts": [{"text": "a"}]}}],
        "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
    },
    {
        "candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 20,
            "totalTokenCount": 32,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
    },
]


class TestEveryProvidersWay:
    def test_openai_chat_states_usage_in_its_last_chunk(self):
        reading = gathered([chat_chunk(""), chat_chunk("Hi"), chat_chunk(usage=CHAT_USAGE)]).read_usage()
        assert reading.usage == Usage(10, output_tokens=5)
        assert (reading.model, reading.response_id, reading.shape) == ("gpt-4o", "chatcmpl-1", "openai.chat")
        assert reading.anomalies == ()

    def test_openai_chat_without_include_usage_has_none(self):
        reading = gathered([chat_chunk("Hi"), chat_chunk("")]).read_usage()
        assert reading.usage is None
        assert reading.model == "gpt-4o"
        assert reading.anomalies == ()

    def test_openai_responses_bring_the_whole_response_at_the_end(self):
        final = {
            "id": "resp_1",
            "object": "response",
            "model": "gpt-5",
            "service_tier": "flex",
            "output": [{"type": "web_search_call", "action": {"type": "search"}}],
            "usage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8},
        }
        stream = gathered(
            [
                {"type": "response.created", "response": {"id": "resp_1", "object": "response"}},
                {"type": "response.output_text.delta", "delta": "Hi"},
                {"type": "response.completed", "response": final},
            ],
            ended=False,
        )
        reading = stream.read_usage()
        assert reading.usage == Usage(5, output_tokens=3, web_searches=1)
        assert reading.service_tier == "flex"
        assert stream.is_complete

    def test_anthropics_last_message_delta_supersedes_its_start(self):
        reading = gathered([ANTHROPIC_START, ANTHROPIC_TEXT, ANTHROPIC_DELTA]).read_usage()
        assert reading.usage == Usage(12_957, cache_read_tokens=7, output_tokens=152)
        assert (reading.provider, reading.model, reading.response_id) == (
            "anthropic",
            "claude-sonnet-4-5",
            "msg_1",
        )
        assert reading.anomalies == ()

    def test_gemini_states_the_total_so_far_in_every_chunk(self):
        reading = gathered(GEMINI_CHUNKS).read_usage()
        assert reading.usage == Usage(8, output_tokens=4, reasoning_tokens=20)
        assert (reading.provider, reading.model, reading.response_id) == ("google", "gemini-2.5-flash", "r1")

    def test_gemini_searches_told_of_in_the_middle_are_remembered(self):
        searched = {
            **GEMINI_CHUNKS[0],
            "candidates": [{"content": {}, "groundingMetadata": {"webSearchQueries": ["x"]}}],
        }
        reading = gathered([searched, GEMINI_CHUNKS[1]]).read_usage()
        assert reading.anomalies == ("grounding_searches_not_counted",)

    def test_ollama_counts_in_its_last_line(self):
        lines = (
            b'{"model":"llama3","message":{"content":"Hi"},"done":false}\n'
            b'{"model":"llama3","message":{"content":""},"done":true,"prompt_eval_count":26,"eval_count":9}\n'
        )
        stream = gathered([lines[:40], lines[40:]])
        reading = stream.read_usage()
        assert reading.usage == Usage(26, output_tokens=9)
        assert (reading.provider, reading.model) == ("ollama", "llama3")
        assert stream.has_output

    def test_bedrock_converse_states_usage_in_its_metadata_event(self):
        metadata = {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}}}
        stream = gathered([{"contentBlockDelta": {"delta": {"text": "x"}}}, metadata], ended=False)
        assert stream.read_usage().usage == Usage(3, output_tokens=2)
        assert stream.is_complete
        assert stream.has_output

    def test_cohere_states_usage_at_the_end_of_the_message(self):
        usage = {"billed_units": {"input_tokens": 4, "output_tokens": 6}}
        reading = gathered([{"type": "message-end", "delta": {"usage": usage}}]).read_usage()
        assert reading.usage == Usage(4, output_tokens=6)

    def test_langchain_chunks_carry_parts_that_add_up(self):
        chunks = [
            SimpleNamespace(
                content="",
                usage_metadata={
                    "input_tokens": 11,
                    "output_tokens": 0,
                    "total_tokens": 11,
                    "input_token_details": {"cache_read": 4},
                },
                response_metadata={"model_name": "claude-sonnet-4-5"},
            ),
            SimpleNamespace(content="Hi", usage_metadata=None, response_metadata={}),
            SimpleNamespace(
                content="",
                usage_metadata={
                    "input_tokens": 0,
                    "output_tokens": 7,
                    "total_tokens": 7,
                    "input_token_details": {"cache_read": 0},
                },
                response_metadata={},
            ),
        ]
        reading = gathered(chunks).read_usage()
        assert reading.usage == Usage(7, cache_read_tokens=4, output_tokens=7)
        assert reading.model == "claude-sonnet-4-5"

    def test_what_a_langchain_chunk_tells_of_the_call_is_not_lost_in_later_ones(self):
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        chunks = [
            SimpleNamespace(content="Hi", response_metadata={"model_provider": "openai"}),
            SimpleNamespace(content="", response_metadata={"model_name": "gpt-5", "service_tier": "flex"}),
            SimpleNamespace(content="", response_metadata={"model_provider": "openai"}, usage_metadata=usage),
        ]
        reading = gathered(chunks).read_usage()
        assert (reading.model, reading.service_tier) == ("gpt-5", "flex")

    def test_clients_that_cut_the_events_out_themselves_pass_the_last_word_on_too(self):
        texts = [json.dumps(chat_chunk()), json.dumps(chat_chunk(usage=CHAT_USAGE)), "[DONE]"]
        reading = gathered(texts).read_usage()
        assert (reading.usage, reading.anomalies) == (Usage(10, output_tokens=5), ())

    def test_the_helpers_of_sdks_wrap_their_chunks(self):
        wrapped = SimpleNamespace(data=SimpleNamespace(**chat_chunk(usage=CHAT_USAGE)))
        assert gathered([wrapped]).read_usage().usage == Usage(10, output_tokens=5)


class TestStreamsThatEndEarly:
    def test_anthropics_start_alone_is_marked_as_not_the_whole(self):
        reading = gathered([ANTHROPIC_START, ANTHROPIC_TEXT]).read_usage()
        assert reading.usage == Usage(2_694, cache_read_tokens=7, output_tokens=1)
        assert reading.anomalies == ("stream_ended_early",)

    def test_gemini_cut_off_keeps_the_total_so_far_and_says_so(self):
        reading = gathered(GEMINI_CHUNKS[:1], ended=False).read_usage()
        assert reading.usage == Usage(8)
        assert "stream_ended_early" in reading.anomalies

    def test_one_cut_off_after_its_last_chunk_is_whole(self):
        assert gathered(GEMINI_CHUNKS, ended=False).read_usage().anomalies == ()
        chat = [chat_chunk("Hi"), chat_chunk(usage=CHAT_USAGE)]
        assert gathered(chat, ended=False).read_usage().anomalies == ()

    def test_openai_chat_cut_off_has_no_usage(self):
        reading = gathered([chat_chunk("Hi")], ended=False).read_usage()
        assert reading.usage is None
        assert reading.anomalies == ("stream_ended_early",)

    def test_an_error_in_the_stream_is_noted(self):
        event = {"type": "error", "error": {"type": "overloaded_error"}}
        assert "error_response" in gathered([ANTHROPIC_START, event]).read_usage().anomalies


class TestTheFirstOutput:
    @pytest.mark.parametrize(
        ("before", "first"),
        [
            ([chat_chunk("")], chat_chunk("Hi")),
            ([ANTHROPIC_START], ANTHROPIC_TEXT),
            ([{"type": "response.created", "response": {}}], {"type": "response.output_text.delta"}),
            ([{"candidates": [], "usageMetadata": {}}], GEMINI_CHUNKS[0]),
            ([{"message": {"content": ""}, "done": False}], {"message": {"content": "H"}, "done": False}),
            ([{"response": "", "done": False}], {"response": "H", "done": False}),
        ],
    )
    def test_is_the_first_chunk_with_something_in_it(self, before, first):
        stream = gathered(before, ended=False)
        assert not stream.has_output
        stream.add(first)
        assert stream.has_output


class Hostile:
    @property
    def usage(self):
        raise RuntimeError("no")


class TestOddStreams:
    @pytest.mark.parametrize(
        "chunk",
        [
            None,
            7,
            Hostile(),
            {},
            [],
            {"usage": "x"},
            b"\xff\xfe\n",
            "data: {oops\n",
            b"data: " + b"[" * 10_000,
        ],
    )
    def test_nothing_that_passes_raises_or_makes_up_a_number(self, chunk):
        stream = gathered([chunk, chunk])
        assert stream.read_usage().usage is None

    def test_an_endless_line_is_dropped_and_said_so(self, monkeypatch):
        monkeypatch.setattr("configurable_agents.observability.streams.LINE_BYTES_MAX", 100)
        stream = gathered([b"x" * 60, b"y" * 60, b'\ndata: {"usage": {"prompt_tokens": 1}}\n'])
        assert stream.read_usage().anomalies == ("stream_event_too_long",)


@pytest.mark.shared_data
@pytest.mark.parametrize("piece", [1, 11, 2_048, None])
def test_every_recorded_stream_says_what_its_recorder_noted_however_it_is_cut(shared_data: Path, piece):
    count = 0
    for line in (shared_data / "replay_bodies.jsonl").read_text().splitlines():
        body = json.loads(line)
        if not body["stream"]:
            continue
        raw = body["response"].encode()
        pieces = (
            body["response"].split("\n")
            if piece is None
            else [raw[at : at + piece] for at in range(0, len(raw), piece)]
        )
        stream = gathered(pieces)
        found = stream.read_usage(provider=body["provider"]).usage
        if body["id"] in RECORDER_SAW_NO_USAGE:
            assert found.total_tokens == RECORDER_SAW_NO_USAGE[body["id"]]
        else:
            noted = read_usage(body["usage"], provider=body["provider"]).usage
            searches = SEARCHES.get(body["id"], 0)
            expected = noted._replace(web_searches=searches) if searches else noted
            assert found == expected, body["id"]
        assert stream.has_output, body["id"]
        count += 1
    assert count == 59
