"""The door: every event gets its verdict, at each limit and beyond it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurable_agents.errors import InvalidValueError, RecordRefusedError
from configurable_agents.obsd.door import check, checked
from configurable_agents.runtime import bounds
from configurable_agents.runtime.names import NAME_LENGTH_MAX, checked_run_id
from configurable_agents.telemetry import (
    Event,
    Graph,
    LlmCall,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    Status,
    Usage,
)

NOW = 1_795_336_467_000_000_000
LONGEST = "n" * NAME_LENGTH_MAX
STARTED = RunStarted("run", "support", "triage", NOW)
NODE_STARTED = NodeStarted("run", 1, 0, "draft", 1, NOW)
NODE = NodeFinished("run", 1, 0, "draft", 1, NOW, 1000, Status.OK, "")
CALL = LlmCall("run", "call", 0, "draft", "openai", "gpt-4o", Usage(10), NOW, 1000)
FINISHED = RunFinished("run", NOW, 1000, Status.OK)


def verdict(event: Event) -> str:
    """What becomes of an event, alone and among others that nothing is wrong with."""
    refusal = check(event)
    before, found, after = checked([NODE, event, CALL])
    assert (before, after) == (NODE, CALL)
    if refusal is None:
        assert found == event
        return "taken"
    assert isinstance(found, RecordRefusedError)
    assert (found.reason, str(found)) == (refusal.reason, str(refusal))
    return refusal.reason


@pytest.mark.parametrize(
    "event", [STARTED, NODE_STARTED, NODE, CALL, FINISHED], ids=lambda e: type(e).__name__
)
def test_a_plain_event_enters(event: Event) -> None:
    assert verdict(event) == "taken"


AT_THE_LIMIT: list[tuple[Any, dict[str, Any]]] = [
    (NODE, {"node_id": LONGEST}),
    (NODE, {"node_id": "naïve — 東京 🚀"}),
    (NODE, {"span_id": bounds.UINT64_MAX}),
    (NODE, {"parent_span_id": bounds.UINT64_MAX}),
    (NODE, {"attempt": bounds.ATTEMPT_MAX}),
    (NODE, {"attempt": 0}),
    (NODE, {"started_unix_ns": 1}),
    (NODE, {"started_unix_ns": bounds.INT64_MAX}),
    (NODE, {"duration_ns": 0}),
    (NODE, {"duration_ns": bounds.DURATION_NS_MAX}),
    (CALL, {"usage": Usage(*[bounds.TOKENS_MAX] * 9)}),
    (CALL, {"usage": None}),
    (CALL, {"stated_cost_nanos": 0}),
    (CALL, {"stated_cost_nanos": bounds.COST_NANOS_MAX}),
    (CALL, {"anomalies": ("odd",) * bounds.ANOMALIES_MAX}),
    (CALL, {"node_id": "", "provider": "", "model": ""}),
    (CALL, {"time_to_first_token_ns": bounds.DURATION_NS_MAX}),
    (STARTED, {"tags": (("key", ""),) * bounds.TAGS_MAX}),
    (STARTED, {"graph": Graph(("n",) * bounds.GRAPH_NODES_MAX, (("a", "b"),) * bounds.GRAPH_EDGES_MAX)}),
]


@pytest.mark.parametrize(("event", "changes"), AT_THE_LIMIT, ids=["-".join(each) for _, each in AT_THE_LIMIT])
def test_what_is_at_a_limit_enters(event: Any, changes: dict[str, Any]) -> None:
    assert verdict(event._replace(**changes)) == "taken"


BEYOND: list[tuple[Any, dict[str, Any], str]] = [
    (NODE, {"run_id": ""}, "no_run_id"),
    (NODE, {"node_id": ""}, "no_node_id"),
    (NODE, {"node_id": LONGEST + "n"}, "name_too_long"),
    (NODE, {"node_id": "nul\x00"}, "unprintable_name"),
    (NODE, {"node_id": "\x1b[31mred"}, "unprintable_name"),
    (NODE, {"node_id": "\x9b31mred"}, "unprintable_name"),
    (NODE, {"node_id": "two\nlines"}, "unprintable_name"),
    (NODE, {"node_id": "trailing\n"}, "unprintable_name"),
    (NODE, {"node_id": "line\u2028end"}, "unprintable_name"),
    (NODE, {"node_id": "lone \ud800"}, "unprintable_name"),
    (NODE, {"error_type": "\x00"}, "unprintable_name"),
    (NODE, {"run_id": "it's"}, "unfit_run_id"),
    (NODE, {"run_id": "a`b"}, "unfit_run_id"),
    (NODE, {"run_id": "latest"}, "unfit_run_id"),
    (NODE, {"span_id": 0}, "no_span_id"),
    (NODE, {"span_id": 2**64}, "no_span_id"),
    (NODE, {"parent_span_id": 1}, "own_parent"),
    (NODE, {"parent_span_id": -1}, "span_id_out_of_range"),
    (NODE, {"parent_span_id": 2**64}, "span_id_out_of_range"),
    (CALL, {"span_id": 2**64}, "span_id_out_of_range"),
    (NODE, {"attempt": -1}, "attempt_out_of_range"),
    (NODE, {"attempt": 2**32}, "attempt_out_of_range"),
    (NODE, {"started_unix_ns": 0}, "time_out_of_range"),
    (NODE, {"started_unix_ns": -1}, "time_out_of_range"),
    (NODE, {"started_unix_ns": 2**63}, "time_out_of_range"),
    (NODE, {"duration_ns": -1}, "duration_out_of_range"),
    (NODE, {"duration_ns": bounds.DURATION_NS_MAX + 1}, "duration_out_of_range"),
    (NODE, {"status": Status.UNSPECIFIED}, "no_status"),
    (NODE, {"status": Status.RUNNING}, "no_status"),
    (NODE, {"status": Status.INTERRUPTED}, "no_status"),
    (NODE_STARTED, {"span_id": 0}, "no_span_id"),
    (NODE_STARTED, {"started_unix_ns": 0}, "time_out_of_range"),
    (CALL, {"call_id": ""}, "no_call_id"),
    (CALL, {"model": LONGEST + "m"}, "name_too_long"),
    (CALL, {"provider": "\x07"}, "unprintable_name"),
    (CALL, {"response_id": "\x07"}, "unprintable_name"),
    (CALL, {"service_tier": "\x07"}, "unprintable_name"),
    (CALL, {"usage": Usage(output_tokens=-1)}, "tokens_out_of_range"),
    (CALL, {"usage": Usage(web_searches=bounds.TOKENS_MAX + 1)}, "tokens_out_of_range"),
    (CALL, {"stated_cost_nanos": -1}, "cost_out_of_range"),
    (CALL, {"stated_cost_nanos": bounds.COST_NANOS_MAX + 1}, "cost_out_of_range"),
    (CALL, {"anomalies": ("odd",) * (bounds.ANOMALIES_MAX + 1)}, "too_many_anomalies"),
    (CALL, {"anomalies": ("",)}, "no_anomaly"),
    (CALL, {"time_to_first_token_ns": -1}, "duration_out_of_range"),
    (CALL, {"status": Status.UNSPECIFIED}, "no_status"),
    (CALL, {"attempt": 2**32}, "attempt_out_of_range"),
    (STARTED, {"experiment": ""}, "no_experiment"),
    (STARTED, {"workflow": ""}, "no_workflow"),
    (STARTED, {"started_unix_ns": 2**63}, "time_out_of_range"),
    (STARTED, {"mlflow_run_id": "\x00"}, "unprintable_name"),
    (STARTED, {"tags": (("key", "value"),) * (bounds.TAGS_MAX + 1)}, "too_many_tags"),
    (STARTED, {"tags": (("", "value"),)}, "no_tag"),
    (STARTED, {"tags": (("key", "v" * (NAME_LENGTH_MAX + 1)),)}, "name_too_long"),
    (STARTED, {"graph": Graph(("n",) * (bounds.GRAPH_NODES_MAX + 1))}, "graph_too_large"),
    (STARTED, {"graph": Graph(edges=(("a", "b"),) * (bounds.GRAPH_EDGES_MAX + 1))}, "graph_too_large"),
    (STARTED, {"graph": Graph(("",))}, "no_node_id"),
    (STARTED, {"graph": Graph(edges=(("a", "\x00"),))}, "unprintable_name"),
    (FINISHED, {"run_id": ""}, "no_run_id"),
    (FINISHED, {"finished_unix_ns": 0}, "time_out_of_range"),
    (FINISHED, {"duration_ns": -1}, "duration_out_of_range"),
    (FINISHED, {"status": Status.INTERRUPTED}, "no_status"),
    (FINISHED, {"error_type": "\x00"}, "unprintable_name"),
]


@pytest.mark.parametrize(
    ("event", "changes", "reason"),
    BEYOND,
    ids=[
        f"{type(event).__name__}-{'-'.join(changes)}-{number}"
        for number, (event, changes, _) in enumerate(BEYOND)
    ],
)
def test_what_is_beyond_a_limit_is_refused_for_its_reason(
    event: Any, changes: dict[str, Any], reason: str
) -> None:
    assert verdict(event._replace(**changes)) == reason


def test_bidirectional_and_invisible_characters_enter_as_names_are_escaped_where_they_are_shown() -> None:
    assert verdict(NODE._replace(node_id="abc\u202ecba\u200b")) == "taken"


@given(st.text(min_size=1, max_size=300))
def test_a_name_that_enters_can_be_shown_and_stored(name: str) -> None:
    if verdict(NODE._replace(node_id=name)) == "taken":
        assert name.encode("utf-8")
        assert len(name.splitlines()) == 1
        assert not any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in name)


def test_messages_of_refusals_are_one_line() -> None:
    for event, changes, _ in BEYOND:
        refusal = check(event._replace(**changes))
        assert refusal is not None
        assert "\n" not in str(refusal)


@given(st.text(alphabet=st.sampled_from("ab'\"`\\\x00\n\u2028é latest"), max_size=8) | st.just("latest"))
def test_a_run_id_that_the_recorder_takes_is_one_that_the_door_takes(run_id: str) -> None:
    try:
        checked_run_id(run_id)
    except InvalidValueError:
        assert verdict(NODE._replace(run_id=run_id)) != "taken"
    else:
        assert verdict(NODE._replace(run_id=run_id)) == "taken"
