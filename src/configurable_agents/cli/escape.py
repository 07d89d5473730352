"""Names from outside, made harmless for a terminal. They stay readable: an escape shows as an escape."""

from __future__ import annotations

import re

CREDENTIALS = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")


def printable(text: str) -> str:
    """The text with control, bidirectional and invisible characters written as `\\x1b`, `\\u202e`, …"""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else escaped(character) for character in text)


def escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """The same, with line ends and runs of blanks as single spaces."""
    return printable(" ".join(text.split()))


def without_password(uri: str) -> str:
    """`scheme://user:***@host/…`: the address of a store, fit to be shown."""
    return CREDENTIALS.sub(r"\1:***@", uri)
