"""Progress on standard error.

On a terminal progress is a live line; in a file or a pipe it is plain lines, few enough to be
read afterwards. Both keep what a stage came to. Compilation, which can take longer than the work
itself, is shown as such: jax publishes events for it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from topokrates.model.progress import Progress

LINE_SECONDS = 2.0  # no two plain lines closer than this within a stage
SILENCE_SECONDS = 30.0  # nor this long without one
COMPILING_SECONDS = 1.5  # shorter compilations are not worth a word


class Compilation:
    """Knows whether jax is compiling now, from the events that jax publishes."""

    since: ClassVar[float | None] = None
    _listening: ClassVar[bool] = False

    @classmethod
    def listen(cls) -> None:
        """Begins to listen, once jax is imported; it is never imported for this."""
        if cls._listening or "jax" not in sys.modules:
            return
        cls._listening = True
        import jax

        with suppress(AttributeError):
            jax.monitoring.register_event_duration_secs_listener(cls._event)

    @classmethod
    def _event(cls, event: str, duration_secs: float, **_: Any) -> None:
        # the program has been written down, and XLA begins
        if event.endswith("jaxpr_to_mlir_module_duration"):
            cls.since = time.monotonic()
        elif event.endswith("backend_compile_duration"):
            cls.since = None

    @classmethod
    def seconds(cls) -> float:
        """For how long, 0 if it is not worth a word."""
        since = cls.since
        taken = 0.0 if since is None else time.monotonic() - since
        return taken if taken >= COMPILING_SECONDS else 0.0


class Display:
    """A `Progress` that remembers the state of the stage; how it is drawn is for subclasses."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.name, self.total, self.done, self.message = "", None, 0, ""
        self._kept: str | None = None

    def stage(self, name: str, total: int | None = None, done: int = 0) -> None:
        self.finish()
        Compilation.listen()
        self.name, self.total, self.done, self.message = name, total, done, ""
        if total is not None and done >= total:
            what = f"all {total} are done already" if total else "nothing to do"
            self.note(f"{name}: {what}")
            self._kept = self.line()  # says no more than that

    def advance(self, done: int, message: str = "") -> None:
        self.done, self.message = done, message

    def note(self, line: str) -> None:
        self.write(f"[{clock(time.monotonic() - self.began)}] {line}")

    def write(self, line: str) -> None:
        raise NotImplementedError

    def line(self) -> str:
        """How things stand, in one line."""
        count = "" if self.total is None else f" {self.done}/{self.total}"
        return f"{self.name}{count}" + (f": {self.message}" if self.message else "")

    def keep(self) -> None:
        """A lasting line of how things stand, unless the last one said the same."""
        if self.line() != self._kept:
            self._kept = self.line()
            self.note(self._kept)

    def finish(self) -> None:
        """Keeps what the stage came to."""
        if self.name and (self.message or self.done):
            self.keep()


class PlainDisplay(Display):
    """Lines in a file: a new stage, at most every 2 s what changed, and a sign of life."""

    def __init__(self) -> None:
        super().__init__()
        self._last = self.began
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._told = 0.0  # which compilation has been mentioned
        threading.Thread(target=self._watch, daemon=True).start()

    def stage(self, name: str, total: int | None = None, done: int = 0) -> None:
        with self._lock:
            super().stage(name, total, done)
            self.keep()

    def advance(self, done: int, message: str = "") -> None:
        with self._lock:
            super().advance(done, message)
            if time.monotonic() - self._last >= LINE_SECONDS:
                self.keep()

    def write(self, line: str) -> None:
        with self._lock:
            self._last = time.monotonic()
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            with self._lock:
                silent = time.monotonic() - self._last
                compiling, since = Compilation.seconds(), Compilation.since or 0.0
                if not self.name or self._over.is_set():
                    continue
                if compiling and silent >= LINE_SECONDS and since != self._told:
                    self._told = since
                    self.note(f"{self.line()} (compiling)")
                elif silent >= SILENCE_SECONDS:
                    what = "compiling" if compiling else "at work"
                    self.note(f"{self.line()} ({what})")


class LiveDisplay(Display):
    """One line at the bottom of a terminal, and what is worth keeping above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._render,
            console=console,
            transient=True,
            redirect_stdout=False,
            refresh_per_second=8,
        )
        self._live.start()

    def write(self, line: str) -> None:
        self._live.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        cells: list[Any] = [self._spinner, Text(self.name or "loading")]
        if self.total:
            share = ProgressBar(total=self.total, completed=self.done, width=16)
            cells += [share, Text(f"{self.done}/{self.total}")]
        compiling = Compilation.seconds()
        message = f"compiling, {compiling:.0f} s" if compiling else self.message
        cells.append(Text(clock(time.monotonic() - self.began), style="dim"))
        for _ in cells:
            grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row(*cells, Text(message))
        return grid


class _Notes(logging.Handler):
    """Warnings of the package, shown as notes."""

    def __init__(self, progress: Progress):
        super().__init__(logging.WARNING)
        self.progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self.progress.note(record.getMessage())


@contextmanager
def progress() -> Iterator[Display]:
    """A display for as long as the block takes; what it showed last is kept if all went well."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    live = console.is_terminal and not console.is_dumb_terminal
    display = LiveDisplay(console) if live else PlainDisplay()
    notes, log = _Notes(display), logging.getLogger("topokrates")
    log.addHandler(notes)
    try:
        yield display
        display.finish()
    finally:
        log.removeHandler(notes)
        display.close()


def clock(seconds: float) -> str:
    """0:07, 12:34 or 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
