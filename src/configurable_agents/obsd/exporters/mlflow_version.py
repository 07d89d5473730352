"""Which MLflow it is, here and at the other end: one that is too old would spoil what it is sent."""

from __future__ import annotations

from urllib.parse import urlsplit

from configurable_agents.errors import AgentsObsError

VERSION_MIN = (3, 16)
"""Older servers fail when a point is logged again, and retries are what makes the export safe."""

VERSION_TIMEOUT_S = 10

CHECK_EVERY_S = 30.0
"""How often a server is asked again while it answers: it may be replaced without the connection breaking."""

_WANTED = ".".join(map(str, VERSION_MIN))


def check_version(uri: str) -> None:
    """Raises `AgentsObsError` when the MLflow installed here, or the server at `uri`, is too old.

    Raises `ConnectionError` or MLflow's own errors when a server does not answer.
    """
    import mlflow  # noqa: PLC0415

    if _is_too_old(mlflow.__version__):
        raise AgentsObsError(f"MLflow {mlflow.__version__} is too old; install {_WANTED} or newer")
    if urlsplit(uri).scheme not in {"http", "https"}:
        return
    found = _server_version(uri)
    try:
        is_too_old = _is_too_old(found)
    except ValueError as error:
        raise AgentsObsError(
            f"what answers at {_shown(uri)} does not say which MLflow it is ({found[:40]!r}); check the"
            " tracking URI"
        ) from error
    if is_too_old:
        raise AgentsObsError(
            f"the MLflow server at {_shown(uri)} is version {found}, which fails on repeated points; upgrade"
            f" it to {_WANTED} or newer"
        )


def _is_too_old(version: str) -> bool:
    """Raises `ValueError` for what is no version."""
    from packaging.version import Version  # noqa: PLC0415 - a dependency of MLflow's

    return Version(version).release < VERSION_MIN


def _server_version(uri: str) -> str:
    from mlflow.utils.credentials import get_default_host_creds  # noqa: PLC0415
    from mlflow.utils.rest_utils import http_request  # noqa: PLC0415

    answer = http_request(
        get_default_host_creds(uri),
        "/version",
        "GET",
        max_retries=0,
        raise_on_status=False,
        timeout=VERSION_TIMEOUT_S,
    )
    if answer.status_code in {401, 403}:
        raise AgentsObsError(
            f"the MLflow server at {_shown(uri)} does not let us in (HTTP {answer.status_code}); set"
            " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if answer.status_code >= 500:
        raise ConnectionError(f"the MLflow server at {_shown(uri)} answers HTTP {answer.status_code}")
    text = answer.content.decode("ascii", "replace").strip()  # `text` guesses an encoding
    return text if answer.status_code == 200 else f"HTTP {answer.status_code}"


def _shown(uri: str) -> str:
    """Without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
