"""How a demo ends that cannot go on."""


class DemoError(Exception):
    """The message says what happened and what to do, in one line or with the lines that explain it."""
