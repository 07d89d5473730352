"""A provider that answers what a test says, in OpenAI's chat format, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from configurable_agents.core.checks import Checked, workflow_of


@dataclass
class Answer:
    """One response. `hangs` keeps the caller waiting until the test is over."""

    content: str = "fine"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    tokens: tuple[int, int] | None = (10, 5)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    hangs: bool = False
    model: str = "gpt-4o-mini-2024-07-18"

    def body(self) -> dict[str, Any]:
        if self.status != 200:
            return {"error": {"message": self.content, "type": "scripted", "param": None, "code": None}}
        message = {
            "role": "assistant",
            "content": self.content or None,
            "tool_calls": self.tool_calls or None,
        }
        prompt, completion = self.tokens or (0, 0)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": self.model,
            "choices": [choice],
            "usage": usage if self.tokens is not None else None,
        }


class ScriptedProvider(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Answer] = [Answer()]
        self.requests: list[dict[str, Any]] = []
        self.asked = threading.Event()
        self.over = threading.Event()
        self._turn = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answers(self, *answers: Answer) -> None:
        """In this order; the last one again and again."""
        self.script = list(answers)

    def take(self, request: dict[str, Any]) -> Answer:
        with self._turn:
            self.requests.append(request)
            self.asked.set()
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedProvider

    def do_POST(self) -> None:
        answer = self.server.take(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        if answer.hangs:
            self.server.over.wait(60)
            self.close_connection = True
            return
        body = json.dumps(answer.body()).encode()
        self.send_response(answer.status)
        for name, value in {"content-type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedProvider]:
    server = ScriptedProvider()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.address}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


Parts = dict[str, Any]


def workflow_data(**changes: Any) -> Parts:
    """The least workflow that a prompt needs, with the given parts in place of its own."""
    whole: Parts = {
        "schema_version": "1.0",
        "flow": {"name": "greeting"},
        "state": {
            "fields": {"name": {"type": "str", "required": True}, "text": {"type": "str", "default": ""}}
        },
        "nodes": [{"id": "greet", "prompt": "Greet {state.name}", "outputs": ["text"]}],
        "edges": [{"from": "START", "to": "greet"}, {"from": "greet", "to": "END"}],
        "config": {"llm": {"provider": "openai", "model": "gpt-4o-mini"}},
    }
    return {**whole, **changes}


@pytest.fixture
def data() -> Callable[..., Parts]:
    return workflow_data


@pytest.fixture
def checked() -> Callable[..., Checked]:
    return lambda **changes: workflow_of(workflow_data(**changes))
