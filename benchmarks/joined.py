"""Structures that share calls from the start, as those of a long search do in the end."""

from collections.abc import Callable
from typing import Any


def at_once() -> None:
    """Has what is bound from now on tried in company (`company`) by its first call."""
    from topokrates.model import company

    company.PAYS = dict.fromkeys(company.PAYS, 0)


def settle(potential: Any, call: Callable[[], Any]) -> None:
    """Repeats a call of a potential until it is known which of its structures may be joined."""
    compared = potential._company.alike  # numbers; none where a device takes all lanes anyway
    before = -1
    while before != compared.total():
        before = compared.total()
        call()
