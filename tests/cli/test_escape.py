import pytest

from configurable_agents.cli.escape import one_line, printable, without_password


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("draft", "draft"),
        ("größe 出力", "größe 出力"),
        ("[red]x[/red]\x1b[2J", "[red]x[/red]\\x1b[2J"),
        ("a\nb\tc\x00", "a\\nb\\tc\\x00"),
        ("pay\u202etxt.exe", "pay\\u202etxt.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
    ],
)
def test_a_name_shows_its_control_characters_instead_of_performing_them(name, shown):
    assert printable(name) == shown


def test_a_message_stays_on_one_line():
    assert one_line("first\nsecond\r\n  third\x1b[2J") == "first second third\\x1b[2J"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://obs:secret@database/mlflow", "postgresql://obs:***@database/mlflow"),
        (
            "could not reach https://me:p%40ss@host:5000/x now",
            "could not reach https://me:***@host:5000/x now",
        ),
        ("http://localhost:5000/a:b@c", "http://localhost:5000/a:b@c"),
        ("sqlite:////home/ada/mlflow.db", "sqlite:////home/ada/mlflow.db"),
    ],
)
def test_a_password_in_an_address_is_not_shown(uri, shown):
    assert without_password(uri) == shown
