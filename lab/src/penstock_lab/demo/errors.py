"""What can go wrong in the demo, apart from what it measures."""


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


class StageError(DemoError):
    """A step of the set-up failed; the message holds what the failing program said."""


class StateError(DemoError):
    """The operator's state cannot be read; the message names the address or the field."""
