"""The only place that writes to standard output, and what it knows of the terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from configurable_agents.cli.endings import silence_stdout
from configurable_agents.cli.escape import one_line
from configurable_agents.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

NO_COLOR_VARIABLE = "NO_COLOR"

WIDTH_ELSEWHERE_CELLS = 120
"""For files, logs and pipelines without any terminal: room for every column of the cost report."""

PLAIN_SIGNS = str.maketrans("░█▉▊▋▌▍▎▏▁▂▃▄▅▆▇─▲●◆µ·–", ".########_____##-^*+u--")  # noqa: RUF001 - the signs we use
"""Stand-ins of the same width for output that cannot carry our signs."""


def show(make: Callable[[int], Iterable[RenderableType]]) -> None:
    """Prints what `make` makes for the width in cells: coloured on a terminal, plain elsewhere."""
    console = make_console()
    write_out(rendered(make(console.width), console))


@contextmanager
def live() -> Iterator[Live | None]:
    """A part of the terminal that is drawn again and again and then cleared; `None` where there is none."""
    if not sys.stdout.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - only where a table is shown
    from rich.live import Live  # noqa: PLC0415 - the same

    no_color = bool(os.environ.get(NO_COLOR_VARIABLE))
    console = Console(highlight=False, markup=False, emoji=False, no_color=no_color)
    with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as found:
        yield found


def show_json(value: Any) -> None:
    """Prints one JSON document. ASCII only, so that no name in it can drive a terminal."""
    write_out(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def make_console() -> Console:
    """A console that measures and colours for standard output. NO_COLOR takes bold and dim away too."""
    from rich.console import Console  # noqa: PLC0415 - only where a table is shown

    return Console(
        file=io.StringIO(),
        force_terminal=True if sys.stdout.isatty() else None,
        color_system=None if os.environ.get(NO_COLOR_VARIABLE) else "auto",
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        width=None if width_is_known() else WIDTH_ELSEWHERE_CELLS,
    )


def width_is_known() -> bool:
    """Whether COLUMNS or a terminal behind one of the standard streams says how wide lines may be."""
    return bool(os.environ.get("COLUMNS")) or any(
        stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    )


def rendered(parts: Iterable[RenderableType], console: Console) -> str:
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    text = capture.get()
    if console.color_system is None:
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    return text


def write_out(text: str) -> None:
    """Writes and flushes. A reader that has had enough (`| head -1`) is no error.

    Raises `OutputError` when standard output takes nothing, for example on a full disk.
    """
    try:
        sys.stdout.write(encodable(text))
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        silence_stdout()
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def write_note(text: str) -> None:
    """One line on standard error, for people; what programs read is on standard output."""
    with contextlib.suppress(OSError):  # nobody reads it
        sys.stderr.write(f"note: {one_line(text)}\n")
        sys.stderr.flush()


def encodable(text: str) -> str:
    """The text in what standard output can carry: our signs replaced, other characters as `?`."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate(PLAIN_SIGNS)
        return plain.encode(encoding, "replace").decode(encoding)
    return text
