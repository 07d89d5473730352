"""Chance that can be repeated."""

from __future__ import annotations

import os
import random
import secrets

SEED_VARIABLE = "SEED"


class Seed:
    """One number from which all chances of a harness come. Setting SEED to it draws the same again."""

    def __init__(self, number: int) -> None:
        self.number = number
        print(f"{SEED_VARIABLE}={number}")  # pytest shows it when the test fails

    @classmethod
    def from_environment(cls) -> Seed:
        given = os.environ.get(SEED_VARIABLE)
        return cls(int(given) if given else secrets.randbits(32))

    def chances(self, of_what: str) -> random.Random:
        """For one part of the harness: what another part draws does not change it."""
        return random.Random(f"{self.number} {of_what}")
