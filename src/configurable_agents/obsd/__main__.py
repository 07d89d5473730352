"""`python -m configurable_agents.obsd`: the daemon as a process. `agents-obsd` is how people start it."""

from __future__ import annotations

import os
import signal


def _stop_during_start(*_: object) -> None:
    """Ends the process at once: so far it holds nothing but what the kernel gives back.

    An exception would not do. It is lost when the signal comes inside an import that catches
    everything, or inside a callback of the interpreter, which prints it and goes on.
    """
    os._exit(0)


# Before anything slow is imported: a stop during the start is an orderly stop too.
signal.signal(signal.SIGTERM, _stop_during_start)
signal.signal(signal.SIGINT, _stop_during_start)

import argparse  # noqa: E402
import asyncio  # noqa: E402
import contextlib  # noqa: E402
import gc  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import logging.handlers  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from configurable_agents.client.home import Home  # noqa: E402
from configurable_agents.errors import AgentsObsError  # noqa: E402

LOG_BYTES_MAX = 5 * 1024 * 1024
LOG_FILES_KEPT = 3
INTERNAL_ERROR_EXIT_CODE = 70

GARBAGE_THRESHOLD = 50_000
"""Records of events come and go by the thousand, and none is part of a cycle: looking for garbage at every
seven hundredth took a tenth of the time of a commit."""


def main() -> int:
    gc.set_threshold(GARBAGE_THRESHOLD)
    arguments = _parser().parse_args()
    os.umask(0o077)
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # our children are new programs, not forks
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads that nothing here uses
    announcement = _Announcement(arguments.ready_fd)
    try:
        home = Home.from_environment(arguments.home)
        with _event_loop() as runner:
            from configurable_agents.obsd.app import serve  # noqa: PLC0415 - slow; the errors above are not

            runner.run(_serve(serve, home, announcement, arguments))
    except Exception as error:  # noqa: BLE001 - whatever it is, who started us is told
        return _failed(error, announcement)
    return 0


def _failed(error: Exception, announcement: _Announcement) -> int:
    first = _first(error)
    if isinstance(first, AgentsObsError):
        announcement.failed(first)
        return first.exit_code
    logging.getLogger(__name__).critical("internal error", exc_info=error)
    what = f"{type(first).__name__}: {first}"
    announcement.failed(AgentsObsError(f"a fault of the daemon: {what}; the log has the details"))
    return INTERNAL_ERROR_EXIT_CODE


def _first(error: BaseException) -> BaseException:
    """The error itself, or the first of a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _serve(serve: Any, home: Home, announcement: _Announcement, arguments: argparse.Namespace) -> None:
    def ready() -> None:
        gc.freeze()  # what is imported stays
        announcement.ready(home)

    from configurable_agents.client.home import ensure_private_folder  # noqa: PLC0415

    ensure_private_folder(home.folder)
    _configure_logging(None if arguments.ready_fd is None else home.log)
    await serve(home, ready=ready, fresh_ledger=arguments.fresh_ledger)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m configurable_agents.obsd", description=__doc__)
    parser.add_argument("--home", help="the state folder (default: AGENTS_OBS_HOME, else the platform's)")
    parser.add_argument(
        "--ready-fd", type=int, help="a descriptor that gets one JSON line when the daemon accepts, or cannot"
    )
    parser.add_argument("--fresh-ledger", action="store_true", help="set a damaged ledger aside")
    return parser


class _Announcement:
    """One JSON line to whoever started us: ready, or why not."""

    def __init__(self, file: int | None) -> None:
        self._file = file

    def ready(self, home: Home) -> None:
        if self._file is None:
            _say(f"agents-obsd listens on {home.address} (pid {os.getpid()})")
        self._write({"ready": True, "pid": os.getpid(), "address": home.address})

    def failed(self, error: AgentsObsError) -> None:
        if self._file is None:
            _say(f"error: {error}")
        self._write({"error": str(error), "exit_code": error.exit_code})

    def _write(self, message: dict[str, Any]) -> None:
        if self._file is None:
            return
        with contextlib.suppress(BrokenPipeError):  # whoever started us no longer waits
            os.write(self._file, json.dumps(message).encode() + b"\n")
            os.close(self._file)
        self._file = None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _event_loop() -> asyncio.Runner:
    try:
        import uvloop  # noqa: PLC0415 - in the extra [daemon]; asyncio's own loop does as well, slower
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _configure_logging(file: Path | None) -> None:
    handler: logging.Handler = (
        logging.StreamHandler()
        if file is None
        else logging.handlers.RotatingFileHandler(file, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES_KEPT)
    )
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
