"""Where state lives: the client and the daemon agree, and nobody else may look."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from configurable_agents.client.home import (
    HOME_VARIABLE,
    SOCKET_PATH_BYTES_MAX,
    SOCKET_VARIABLE,
    Home,
    ensure_private_folder,
)
from configurable_agents.errors import ConfigurationError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (HOME_VARIABLE, SOCKET_VARIABLE, "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)


def test_the_folder_is_the_one_given_else_the_variables_else_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.from_environment().folder.name == "agents-obs"
    assert Home.from_environment("~/mine").folder == tmp_path / "mine"
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "named"))
    assert Home.from_environment().folder == tmp_path / "named"
    assert Home.from_environment(tmp_path / "given").folder == tmp_path / "given"


def test_making_a_home_touches_no_disk(tmp_path: Path) -> None:
    home = Home.from_environment(tmp_path / "none")
    assert not home.folder.exists()
    assert not home.may_be_served


def test_the_socket_is_in_the_folder_or_where_its_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Home.from_environment("/s").socket == Path("/s/agents-obsd.sock")
    monkeypatch.setenv(SOCKET_VARIABLE, "/run/obs.sock")
    home = Home.from_environment("/s")
    assert (home.socket, home.address) == (Path("/run/obs.sock"), "unix:/run/obs.sock")


def test_a_socket_path_that_just_fits_is_taken_and_a_longer_one_is_not() -> None:
    name = "/agents-obsd.sock"
    longest = "/" + "é" * ((SOCKET_PATH_BYTES_MAX - len(name) - 1) // 2)
    fitting = longest + "x" * (SOCKET_PATH_BYTES_MAX - len(name) - len(longest.encode()))
    assert len(str(Home.from_environment(fitting).socket).encode()) == SOCKET_PATH_BYTES_MAX
    with pytest.raises(ConfigurationError, match="is longer than 107 bytes; set AGENTS_OBS_SOCKET"):
        Home.from_environment(fitting + "x")


def test_a_comma_in_the_socket_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="has a comma, at which gRPC would"):
        Home.from_environment("/a,b")
    monkeypatch.setenv(SOCKET_VARIABLE, "/s/obs.sock")
    assert Home.from_environment("/a,b").folder == Path("/a,b")


@pytest.mark.parametrize("variable", [HOME_VARIABLE, SOCKET_VARIABLE])
def test_a_home_folder_of_nobody_is_said_to_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv(variable, "~nobody-of-this-name/obs")
    with pytest.raises(ConfigurationError, match="~nobody-of-this-name/obs is in a home folder that cannot"):
        Home.from_environment()


def test_a_command_is_spelled_so_that_it_means_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Home.from_environment(tmp_path / "a folder")
    start = "agents-obsd start"
    monkeypatch.setenv(HOME_VARIABLE, str(other.folder))
    assert other.command(start) == start
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert other.command(start) == f"agents-obsd start --home '{other.folder}'"
    monkeypatch.setenv(HOME_VARIABLE, "~nobody-of-this-name/obs")
    assert other.command(start) == f"agents-obsd start --home '{other.folder}'"


def test_mlflow_is_where_its_variable_says_else_in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Home.from_environment("/s").mlflow_uri == "sqlite:////s/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert Home.from_environment("/s").mlflow_uri == "http://127.0.0.1:1"


def test_a_private_folder_is_made_for_its_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    ensure_private_folder(folder)
    ensure_private_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o755, 0o777])
def test_a_folder_that_others_may_enter_is_refused_and_not_changed(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"run: chmod 700 {folder}"):
        ensure_private_folder(folder)
    assert folder.stat().st_mode & 0o777 == mode


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name, said in (("file", "cannot use"), ("file/below", "cannot use"), ("link", "is not a folder")):
        with pytest.raises(ConfigurationError, match=said):
            ensure_private_folder(tmp_path / name)


def test_a_folder_on_a_read_only_file_system_is_said_to_be_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOATIME))
    with pytest.raises(
        ConfigurationError, match="is on a file system that is read-only; set AGENTS_OBS_HOME"
    ):
        ensure_private_folder(tmp_path)
