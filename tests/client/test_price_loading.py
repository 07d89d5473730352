"""The price table is loaded beside a run, by whoever could call a model, and never in the way of a fork."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from configurable_agents.client import price_loading
from configurable_agents.client.price_loading import PriceLoading

Child = Callable[..., object]

RUN = """
import configurable_agents, configurable_agents.observability.multi_provider_tracker
from configurable_agents import observe_run
{imports}
assert "genai_prices" not in sys.modules

def loading():
    return [thread for thread in threading.enumerate() if thread.name == "agents-obs-prices"]

assert not loading()
"""

LOADED_AHEAD = (
    RUN.format(imports="import http.client")
    + """
with observe_run(home=home) as run:
    [thread] = loading()
    thread.join(60)
    assert not thread.is_alive() and "genai_prices" in sys.modules
    with observe_run(home=home):
        assert not loading()
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    print(run.track_call("openai", "gpt-4o", {"usage": usage})["cost_usd"])
"""
)

NOTHING_LOADED = (
    RUN.format(imports="")
    + """
with observe_run(home=home):
    assert loading()
print("genai_prices" in sys.modules, loading())
"""
)

FORKED_MEANWHILE = """
import http.client, importlib, pathlib, tempfile
from configurable_agents.client import price_loading, process

folder = tempfile.TemporaryDirectory()
sys.path.insert(0, folder.name)
slow = "import __main__; __main__.began.set(); __main__.go.wait(60)"
pathlib.Path(folder.name, "slow_to_load.py").write_text(slow)
began, go, forked = threading.Event(), threading.Event(), threading.Event()

loading = process._loadings[home.folder] = price_loading.PriceLoading(
    lambda: importlib.import_module("slow_to_load")
)
assert began.wait(60)

def let_it_load_when_it_is_told_to_end():
    while not loading._stop.wait(0.01) and not forked.is_set():
        pass
    go.set()

threading.Thread(target=let_it_load_when_it_is_told_to_end, daemon=True).start()
child = os.fork()
if not child:
    signal.alarm(20)  # an import that waits for a thread of the parent waits for ever
    importlib.import_module("slow_to_load")
    os._exit(7)
forked.set()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_with_a_run_the_table_is_loaded_before_the_first_call_needs_it(child):
    done = child(LOADED_AHEAD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7.5e-05\n", "")


def test_a_process_that_could_not_call_a_model_loads_no_prices_and_ends_at_once(child):
    done = child(NOTHING_LOADED)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("False ")


def test_a_fork_waits_for_a_load_under_way_so_that_the_child_can_load_too(child):
    done = child(FORKED_MEANWHILE)
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.fixture
def loads(monkeypatch) -> Iterator[Callable[..., PriceLoading]]:
    monkeypatch.setattr(price_loading, "LOOKS_EVERY_S", 0.001)
    monkeypatch.setattr(price_loading, "LOOKS_S_MAX", 0.02)
    begun: list[PriceLoading] = []

    def begin(load: Callable[[], object], callers: set[str]) -> PriceLoading:
        monkeypatch.setattr(price_loading, "CALLERS_OF_MODELS", frozenset(callers))
        begun.append(PriceLoading(load))
        return begun[-1]

    yield begin
    for loading in begun:
        loading.end()


def test_it_gives_up_looking_and_never_begins_once_ended(loads, monkeypatch):
    loaded: list[None] = []
    gives_up = loads(lambda: loaded.append(None), {"no_such_module"})
    gives_up._thread.join(20)
    assert not gives_up._thread.is_alive()
    monkeypatch.setattr(price_loading, "LOOKS_EVERY_S", 60.0)
    ended = loads(lambda: loaded.append(None), {"sys"})
    ended.end()
    assert (loaded, gives_up.has_begun, ended.has_begun) == ([], False, False)


def test_it_looks_less_and_less_often(loads, monkeypatch):
    monkeypatch.setattr(price_loading, "LOOKS_EVERY_S", 0.05)
    monkeypatch.setattr(price_loading, "LOOKS_S_MAX", 60.0)
    idle = loads(lambda: None, {"no_such_module"})
    idle.end()
    pauses: list[float] = []
    monkeypatch.setattr(idle._stop, "wait", pauses.append)
    assert not idle._wait_for_caller()
    assert pauses[:9] == [0.05] * 9
    assert pauses == sorted(pauses)
    assert 60 <= sum(pauses) < 66
    assert len(pauses) < 70


def test_a_load_that_fails_is_left_to_the_first_call(loads):
    tried = threading.Event()

    def fail() -> None:
        tried.set()
        raise OSError("no such table")

    loading = loads(fail, {"sys"})
    assert tried.wait(20)
    loading.end()
    assert loading.has_begun
