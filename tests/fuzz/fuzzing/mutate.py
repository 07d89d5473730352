"""Messages made of others: a seeded source of bytes that are nearly right."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "corpus"

EDGES = (
    b"", b"\x00", b"\xff", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\xff" * 10, b"\x1a", b"\x0a",
    b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[31m", b"'", b'"', b"\\", b"nan", b"inf", b"-1", b"1e999", b"{",
    b"[[", b"]", b"=", b": ", b"- ", b"&a ", b"*a", b"!!python/object:os.system ", b"\t", b"\r\n", b"9" * 30,
)  # fmt: skip
LENGTH_MAX = 64 * 1024


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutations(seeds: Sequence[bytes], chance: random.Random, count: int) -> Iterator[bytes]:
    """The seeds themselves, and then what comes of changing them a little, up to eight times each."""
    for number in range(count):
        if number < len(seeds):
            yield seeds[number]
            continue
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            _change(data, seeds, chance)
        yield bytes(data[:LENGTH_MAX])


def _change(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    kind = chance.randrange(7)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 1 and data:
        data[at % len(data)] = chance.randrange(256)
    elif kind == 2:
        data[at:at] = chance.choice(EDGES)
    elif kind == 3:
        del data[at : at + chance.randint(1, 16)]
    elif kind == 4:
        data[at:at] = data[at : at + chance.randint(1, 64)]
    elif kind == 5:
        other = chance.choice(seeds)
        begin = chance.randint(0, len(other))
        data[at:] = other[begin:]
    else:
        del data[at:]
