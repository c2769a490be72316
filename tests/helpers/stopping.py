"""Ctrl-C at a chosen moment."""

from topokrates.model.progress import Silent


class Stopper(Silent):
    """Interrupts when so many units of a stage are over."""

    def __init__(self, at):
        self.at = at

    def advance(self, done, message=""):
        if done == self.at:
            raise KeyboardInterrupt
