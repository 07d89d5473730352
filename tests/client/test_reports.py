"""Questions to the daemon: an answer, or an error that says what happened and what to do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from configurable_agents.client.control import find_daemon
from configurable_agents.client.emitter import Emitter
from configurable_agents.client.home import Home
from configurable_agents.client.reports import ReportClient, Scope
from configurable_agents.errors import DaemonUnavailableError, InvalidValueError, NotFoundError
from configurable_agents.telemetry import NodeFinished


def test_no_daemon_is_an_error_that_says_how_to_start_one(home: Home) -> None:
    with ReportClient(home) as client, pytest.raises(DaemonUnavailableError, match="agents-obsd start"):
        client.status()


def test_a_socket_that_nobody_listens_on_is_no_daemon(
    home: Home, start: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    daemon = start()
    with ReportClient(home) as client:
        client.status()
        os.kill(daemon.pid, signal.SIGKILL)
        eventually(lambda: is_unavailable(client))
        assert home.socket.exists()
    eventually(lambda: find_daemon(home) is None)


def is_unavailable(client: ReportClient) -> bool:
    try:
        client.status()
    except DaemonUnavailableError as error:
        return "agents-obsd start" in str(error)
    return False


def test_a_daemon_that_hangs_is_waited_for_no_longer_than_said(home: Home, start: Callable[..., Any]) -> None:
    daemon = start()
    with ReportClient(home, timeout_s=0.2) as client:
        client.status()
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            with pytest.raises(DaemonUnavailableError, match=r"did not answer within 0\.2 s"):
                client.status()
        finally:
            os.kill(daemon.pid, signal.SIGCONT)


def test_answers_and_errors_come_from_the_ledger(
    home: Home, daemon: Any, node: Callable[..., NodeFinished]
) -> None:
    emitter = Emitter(home)
    for number in range(3):
        emitter.record(node(number, run_id=f"run-{number}"))
    assert emitter.flush(20)
    emitter.close()
    with ReportClient(home) as client:
        status = client.status()
        assert (status.pid, status.events_committed, status.runs_total) == (daemon.pid, 3, 3)
        runs, matching = client.runs(Scope(), limit=2)
        assert (len(runs), matching) == (2, 3)
        assert client.profile_report(Scope(run_id="run-1")).nodes[0].node_id == "node-1"
        assert client.cost_report(Scope()).run_count == 3
        with pytest.raises(NotFoundError, match="no run is called 'nobody'"):
            client.cost_report(Scope(run_id="nobody"))
        with pytest.raises(NotFoundError, match="no experiment is called"):
            client.profile_report(Scope(experiment="nothing"))
        with pytest.raises(InvalidValueError, match="several runs begin with 'run-'"):
            client.runs(Scope(run_id="run-"))


def test_many_threads_may_ask_one_client(home: Home, daemon: Any) -> None:
    answers: list[int] = []
    with ReportClient(home) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.status().pid)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [daemon.pid] * 16


def test_a_client_may_be_closed_twice_and_asked_again(home: Home, daemon: Any) -> None:
    client = ReportClient(home)
    client.close()
    client.status()
    client.close()
    client.close()
    assert client.status().pid == daemon.pid
    client.close()
