"""How long work tells what it is doing, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Told by long work what it does; a command line shows it, a notebook may."""

    def stage(self, name: str, total: int | None = None, done: int = 0) -> None:
        """A new stage of the work begins, with `total` units if that is known."""

    def advance(self, done: int, message: str = "") -> None:
        """`done` units of this stage are over; the message says how things stand."""

    def note(self, line: str) -> None:
        """One line worth keeping."""


class Silent:
    """Tells nobody."""

    def stage(self, name: str, total: int | None = None, done: int = 0) -> None:
        pass

    def advance(self, done: int, message: str = "") -> None:
        pass

    def note(self, line: str) -> None:
        pass
