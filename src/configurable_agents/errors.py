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


class RowsRetiredError(NotFoundError):
    """The single calls and executions of a run are removed by retention; its totals are kept."""


class IncompleteCoverageError(AgentsObsError):
    """A report does not cover every call, and `--strict` asked for that."""

    exit_code = 4


class AccountsDifferError(AgentsObsError):
    """`verify` found that the ledger and MLflow do not hold the same; each finding is a line of its own."""

    exit_code = 7


class OutputError(AgentsObsError):
    """Standard output, or a file that was asked for, takes nothing: a full disk, or no such folder."""

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


class LedgerNotNowError(LedgerError):
    """Nothing was written, for a reason that passes. Nothing acknowledged is lost; try again later."""


class LedgerBusyError(LedgerNotNowError):
    """Another program holds a lock on the ledger's file."""


class OverloadedError(LedgerNotNowError):
    """More arrives than is committed, and there is no room for more to wait."""


class LedgerFullError(LedgerNotNowError):
    """The disk has no room for another commit. Nothing acknowledged is lost."""


class WorkflowInvalidError(AgentsObsError, ValueError):
    """A workflow cannot be run as it is written. `problems` has one line for each thing to change."""

    exit_code = 2

    def __init__(self, problems: tuple[str, ...]) -> None:
        more = len(problems) - 1
        rest = f" (and {more} more: `configurable-agents validate` shows all)" if more else ""
        super().__init__(f"{problems[0]}{rest}")
        self.problems = problems


class WorkflowInputError(InvalidValueError):
    """An input of a workflow is missing, unknown or of another type."""


class MissingPackageError(ConfigurationError):
    """A package that a workflow needs is not installed; the message says how to install it."""


class ProviderKeyError(ConfigurationError):
    """The key of a provider is not set."""


class NodeTimeoutError(AgentsObsError, TimeoutError):
    """A node of a workflow took longer than `config.execution.timeout` allows."""


class OutputMismatchError(AgentsObsError, ValueError):
    """A model or a function answered something else than its node declares."""


class GateFailedError(AgentsObsError):
    """A run went beyond what `config.gates` allows."""


class IterationLimitError(AgentsObsError):
    """A node of a cycle ran as often as it may."""


class RouteError(AgentsObsError):
    """A condition cannot be decided, or none of a node's routes applies."""


class NodeFailedError(AgentsObsError):
    """A node of a workflow failed for good; the cause is what its last attempt raised."""

    def __init__(self, node_id: str, message: str) -> None:
        super().__init__(f"node {node_id!r} failed: {message}")
        self.node_id = node_id


class WorkflowFailedError(AgentsObsError):
    """A run of a workflow ended with an error. `result` is what is known of it: profile, costs, record."""

    def __init__(self, message: str, *, node_id: str, result: object) -> None:
        super().__init__(message)
        self.node_id = node_id
        """Empty where no single node is to blame."""
        self.result = result
