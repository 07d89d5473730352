"""A prefork web server whose workers record: prefork_server.py HOME JOURNALS WORKERS REQUESTS

The application is loaded before the fork, and has recorded by then. Each request is a run. Prints the
number of workers that answered.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from harness.recorder import JournalingRecorder

from configurable_agents import observe_run
from configurable_agents.client.home import Home
from configurable_agents.runtime.profiler import profile_node


class Server(BaseApplication):
    def __init__(self, application: Callable[..., Iterable[bytes]], options: dict[str, Any]) -> None:
        self._application = application
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Iterable[bytes]]:
        return self._application


def main() -> None:
    home, journals, workers, requests = sys.argv[1:]
    recorder = JournalingRecorder(Home.from_environment(home), Path(journals))
    record(recorder, "loaded")

    def application(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        record(recorder, "request")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
        return [str(os.getpid()).encode()]

    port = free_port()
    options = {
        "bind": f"127.0.0.1:{port}",
        "workers": int(workers),
        "preload_app": True,
        "loglevel": "critical",
        "max_requests": 4,  # so that workers end and others are forked meanwhile
        "control_socket_disable": True,
        "when_ready": lambda _: threading.Thread(target=ask, args=(port, int(requests))).start(),
    }
    Server(application, options).run()


def record(recorder: JournalingRecorder, node: str) -> None:
    with observe_run("faults", "server", recorder=recorder), profile_node(node):
        pass


def ask(port: int, requests: int) -> None:
    """In a thread of the parent: its clients, and its end."""
    answered = set()
    done = 0
    while done < requests:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/")
            answered.add(connection.getresponse().read())
            done += 1
        except OSError:
            continue  # a worker that has just ended
        finally:
            connection.close()
    print(f"workers {len(answered)}", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
