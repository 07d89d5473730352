"""OpenAI, Anthropic, Google and Ollama on one local port, without keys, costs or a network.

    python examples/provider_simulator.py --port 8800

Point an SDK's base URL at it (OPENAI_BASE_URL ends in `/v1`, the others are the bare address). Responses
have each provider's true format; the counts in them follow simple rules (`simulated/completions.py`), and
latency is that of a real model divided by `--speed`. `GET /statements` tells what all responses together
stated. A request with the header `X-Simulate-Rate-Limit: N` is refused with 429 on its first N attempts;
a key that contains `invalid` is refused as a wrong one.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from simulated import anthropic_api, google_api, ollama_api, openai_api
from simulated.completions import PrefixCache
from simulated.exchange import Reply, Request, StatementBook, json_reply

DEFAULT_SPEED = 10.0
REQUEST_BYTES_MAX = 4 * 1024 * 1024
IDLE_CONNECTION_S = 60
STOP_CHECK_S = 0.05
PENDING_CONNECTIONS_MAX = 128

Answer = Callable[[Request, PrefixCache], Reply]
ANSWERS: dict[str, Answer] = {
    "/v1/chat/completions": openai_api.answer_chat,
    "/v1/responses": openai_api.answer_responses,
    "/v1/messages": anthropic_api.answer_messages,
    "/api/chat": ollama_api.answer_chat,
    "/api/generate": ollama_api.answer_generate,
}


class ProviderSimulator(ThreadingHTTPServer):
    """Listens on loopback only. One thread for each connection."""

    daemon_threads = True
    request_queue_size = PENDING_CONNECTIONS_MAX

    def __init__(self, *, port: int = 0, speed: float = DEFAULT_SPEED) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.speed = speed
        self.cache = PrefixCache()
        self.statements = StatementBook()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keeps quiet about callers that hang up, as a workflow that is stopped does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def answer(self, request: Request) -> Reply:
        answer = ANSWERS.get(request.path)
        if answer is None and google_api.is_path(request.path):
            answer = google_api.answer_generate
        if answer is None:
            return json_reply(404, {"error": {"message": f"no such path: {request.path}"}})
        return answer(request, self.cache)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_CONNECTION_S
    disable_nagle_algorithm = True
    server: ProviderSimulator

    def do_GET(self) -> None:
        if self.path == "/statements":
            self._send(json_reply(200, self.server.statements.to_json()))
        else:
            self._send(json_reply(404, {"error": {"message": f"no such path: {self.path}"}}))

    def do_POST(self) -> None:
        request = self._read_request()
        if request is None:
            self.close_connection = True
            self._send(json_reply(400, {"error": {"message": "the body is not a JSON object we can read"}}))
            return
        self._send(self.server.answer(request))

    def log_message(self, *_: object) -> None:
        """Says nothing: a demo's output is its reports."""

    def _read_request(self) -> Request | None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > REQUEST_BYTES_MAX:
            return None
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return None
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(path, query, headers, body) if isinstance(body, dict) else None

    def _send(self, reply: Reply) -> None:
        try:
            if reply.is_streamed:
                self._send_stream(reply)
            else:
                self._send_whole(reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send_heading(self, reply: Reply, framing: tuple[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in (("content-type", reply.content_type), framing, *reply.headers):
            self.send_header(name, value)
        self.end_headers()

    def _send_whole(self, reply: Reply) -> None:
        body = b""
        for part in reply.parts:
            self._think(part.delay_s)
            body += part.data
        self._note(reply)
        self._send_heading(reply, ("content-length", str(len(body))))
        self.wfile.write(body)

    def _send_stream(self, reply: Reply) -> None:
        self._send_heading(reply, ("transfer-encoding", "chunked"))
        for part in reply.parts:
            self._think(part.delay_s)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part.data), part.data))
        self._note(reply)
        self.wfile.write(b"0\r\n\r\n")

    def _note(self, reply: Reply) -> None:
        """Before the last bytes, so that who has the response finds it in the statements."""
        if reply.statement is not None:
            self.server.statements.add(reply.statement)

    def _think(self, delay_s: float) -> None:
        if delay_s:
            time.sleep(delay_s / self.server.speed)


def main() -> None:
    arguments = _parse_arguments()
    simulator = ProviderSimulator(port=arguments.port, speed=arguments.speed)
    if arguments.until_stdin_closes:
        threading.Thread(target=_stop_with_stdin, args=(simulator,), daemon=True).start()
    print(f"listening on {simulator.address}", flush=True)
    try:
        simulator.serve_forever(poll_interval=STOP_CHECK_S)
    except KeyboardInterrupt:
        pass
    finally:
        simulator.server_close()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one (default)")
    parser.add_argument("--speed", type=_positive, default=DEFAULT_SPEED, help="times a real model's speed")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started it"
    )
    return parser.parse_args()


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _stop_with_stdin(simulator: ProviderSimulator) -> None:
    sys.stdin.buffer.read()
    simulator.shutdown()


if __name__ == "__main__":
    main()
