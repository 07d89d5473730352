"""Every error this package raises on purpose. Each class names one situation.

A message says what happened, to what, and what to do next, in one line. `exit_code` is what the
command line ends with when the error reaches it.
"""

from __future__ import annotations

from typing import ClassVar


class AgentsObsError(Exception):
    """Base of all errors raised on purpose. Catch it to catch them all."""

    exit_code: ClassVar[int] = 1


class InvalidValueError(AgentsObsError, ValueError):
    """A caller gave a value that cannot be used."""

    exit_code = 2


class ConfigurationError(AgentsObsError):
    """A setting, a path or a folder cannot be used as configured."""

    exit_code = 2


class DaemonUnavailableError(AgentsObsError):
    """No daemon answers at the configured address."""

    exit_code = 3


class DaemonStartError(AgentsObsError):
    """The daemon could not start."""


class AlreadyRunningError(DaemonStartError):
    """Another daemon owns this state folder."""

    exit_code = 5


class DaemonStopError(AgentsObsError):
    """The daemon was told to stop and did not, or could not be told."""


class NotFoundError(AgentsObsError, LookupError):
    """What was asked for does not exist; the message says what does."""

    exit_code = 1


class OutputError(AgentsObsError):
    """Standard output takes nothing more, for example on a full disk."""

    exit_code = 74


class MLflowUnavailableError(AgentsObsError):
    """MLflow is not installed, too old, or its store does not answer."""


class RecordRefusedError(AgentsObsError, ValueError):
    """An event does not fit the vocabulary. `reason` is a short code that is counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WireFormatError(AgentsObsError):
    """Bytes from a peer or a spool file are not the protocol's."""


class SpoolDamagedError(AgentsObsError):
    """A spool segment holds bytes that were never written by a recorder."""

    def __init__(self, path: str, offset: int, message: str) -> None:
        super().__init__(f"{path}: {message} at byte {offset}")
        self.path = path
        self.offset = offset


class LedgerError(AgentsObsError):
    """The ledger cannot be read or written."""


class LedgerDamagedError(LedgerError):
    """SQLite's own check found the ledger damaged. It is left untouched."""


class LedgerTooNewError(LedgerError):
    """The ledger was written by a newer version. It is left untouched."""


class LedgerFullError(LedgerError):
    """The disk has no room for another commit. Nothing acknowledged is lost."""
