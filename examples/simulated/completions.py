"""What a simulated model answers: how many tokens, how fast, and how much of the prompt was cached.

All of it follows from the request and from the requests before it, by rules that can be checked by hand:
four characters are a token, a request for `N words` gets about 4/3 N tokens, a prompt that begins as an
earlier one did finds that beginning cached. No prompt is kept; the cache holds digests.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

CHARACTERS_PER_TOKEN = 4
CACHED_TOKENS_MIN = 1024
"""Providers cache no shorter beginning than this."""
CACHE_BLOCK_CHARACTERS = 128 * CHARACTERS_PER_TOKEN
CACHE_DIGESTS_MAX = 8192
"""The least recently used beginning is forgotten beyond this."""
OUTPUT_TOKENS_MAX = 8192
PIECE_TOKENS = 16
"""Tokens that a stream sends at a time."""
REASONING_BLOCK_TOKENS = 64

VOCABULARY = (
    "the customer order report section review change value result evidence summary team week figure table"
    " shows gives needs keeps explains confirms suggests improves reduces because while before after within"
    " clear recent small careful complete early second final common useful"
)
WORDS = VOCABULARY.split()
REQUESTED_WORDS = re.compile(r"\b(\d{1,5}) words\b")
TEXT_KEYS = ("text", "content", "parts")


class Model(NamedTuple):
    """A model as its provider would describe it. Times are at speed 1."""

    snapshot: str
    """The dated name that responses carry."""
    first_token_s: float
    tokens_per_s: float
    reasoning_share: float = 0.0
    """Reasoning tokens for each visible one."""


class Prompt(NamedTuple):
    text: str
    output_tokens_max: int | None = None
    cache_characters: int | None = None
    """How much of the beginning the caller marked for the cache; `None`: the provider caches by itself."""
    reasons: bool = True
    """False when the caller switched reasoning off."""


class Tokens(NamedTuple):
    """Classes that do not overlap; each provider's module adds them up the way that provider does."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int


class Completion(NamedTuple):
    model: Model
    tokens: Tokens
    pieces: tuple[str, ...]
    cut_short: bool
    """The caller's limit ended it."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def first_piece_s(self) -> float:
        """Prompt, reasoning, and what precedes the first visible token."""
        return self.model.first_token_s + self.tokens.reasoning / self.model.tokens_per_s

    @property
    def piece_s(self) -> float:
        return self.tokens.output / self.model.tokens_per_s / max(1, len(self.pieces))

    @property
    def duration_s(self) -> float:
        return self.first_piece_s + self.piece_s * len(self.pieces)


class PrefixCache:
    """Which beginnings of prompts have been seen before. Safe for threads, bounded, holds digests only."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def seen_characters(self, model: str, text: str) -> int:
        """How much of the beginning of `text` is known; all of it is from now on."""
        digests = _block_digests(model, text)
        with self._lock:
            known = sum(1 for digest in digests if digest in self._seen)
            self._remember(digests)
        return min(known * CACHE_BLOCK_CHARACTERS, len(text))

    def seen_before(self, model: str, text: str) -> bool:
        """Whether exactly this prompt is known; it is from now on."""
        digest = hashlib.blake2b(f"whole\0{model}\0{text}".encode(), digest_size=16).digest()
        with self._lock:
            known = digest in self._seen
            self._remember([digest])
        return known

    def _remember(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._seen[digest] = None
            self._seen.move_to_end(digest)
        while len(self._seen) > CACHE_DIGESTS_MAX:
            self._seen.popitem(last=False)


def _block_digests(model: str, text: str) -> list[bytes]:
    """A digest of the beginning that ends with each block; the last block may be short."""
    digests = []
    so_far = hashlib.blake2b(model.encode(), digest_size=16)
    for start in range(0, len(text), CACHE_BLOCK_CHARACTERS):
        so_far.update(text[start : start + CACHE_BLOCK_CHARACTERS].encode())
        digests.append(so_far.digest())
    return digests


def complete(model: Model, prompt: Prompt, cache: PrefixCache) -> Completion:
    """The answer to a prompt. The same prompt gives the same text and counts, but for what is cached."""
    dice = random.Random(hashlib.blake2b(f"{model.snapshot}\0{prompt.text}".encode()).digest())
    natural = _natural_length(prompt.text, dice)
    reasoning = _reasoning_tokens(model, natural) if prompt.reasons else 0
    room = OUTPUT_TOKENS_MAX if prompt.output_tokens_max is None else prompt.output_tokens_max
    reasoning = min(reasoning, room)
    output = min(natural, room - reasoning)
    cache_read, cache_write = _cached_tokens(model, prompt, cache)
    tokens = Tokens(
        input=count_tokens(prompt.text) - cache_read - cache_write,
        cache_read=cache_read,
        cache_write=cache_write,
        output=output,
        reasoning=reasoning,
    )
    return Completion(model, tokens, _pieces(output, dice), cut_short=output < natural)


def count_tokens(text: str) -> int:
    return max(1, -(-len(text) // CHARACTERS_PER_TOKEN))


def _natural_length(text: str, dice: random.Random) -> int:
    requested = REQUESTED_WORDS.findall(text)
    if not requested:
        return dice.randint(24, 96)
    return max(1, round(int(requested[-1]) * 4 / 3 * dice.uniform(0.9, 1.1)))


def _reasoning_tokens(model: Model, visible: int) -> int:
    return -(-int(visible * model.reasoning_share) // REASONING_BLOCK_TOKENS) * REASONING_BLOCK_TOKENS


def _cached_tokens(model: Model, prompt: Prompt, cache: PrefixCache) -> tuple[int, int]:
    """Tokens read from and written to the cache. Only marked beginnings are billed as written."""
    marked = prompt.cache_characters
    whole_blocks = len(prompt.text) // CACHE_BLOCK_CHARACTERS * CACHE_BLOCK_CHARACTERS
    beginning = prompt.text[: whole_blocks if marked is None else marked]
    size = len(beginning) // CHARACTERS_PER_TOKEN
    if size < CACHED_TOKENS_MIN:
        return 0, 0
    seen = cache.seen_characters(model.snapshot, beginning) // CHARACTERS_PER_TOKEN
    cache_read = seen if seen >= CACHED_TOKENS_MIN else 0
    return cache_read, 0 if marked is None else size - cache_read


def _pieces(tokens: int, dice: random.Random) -> tuple[str, ...]:
    words = dice.choices(WORDS, k=tokens)
    return tuple(
        " ".join(words[start : start + PIECE_TOKENS]) + " " for start in range(0, tokens, PIECE_TOKENS)
    )


def text_of(value: Any) -> str:
    """All text of a message, a list of them, or a content block, in order."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        return "\n".join(text_of(value[key]) for key in TEXT_KEYS if key in value)
    return ""
