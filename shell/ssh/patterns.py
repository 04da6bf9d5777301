"""Patterns of addresses as in ``from=``: whether any address can match one."""

from collections.abc import Callable, Set
from ipaddress import ip_network
from typing import NamedTuple, TypeVar

State = TypeVar("State")
Step = Callable[[State, str], State | None]

_GROUPS = 8
_GROUP_DIGITS = 4


def matches_some_address(pattern: str) -> bool:
    """Say whether ``pattern`` in lower case, an address, network or wildcard, can match an address.

    A misspelt exclusion such as ``127.1`` or ``127.0.0.01`` would exclude nothing.  Wildcards are
    compared with addresses in canonical form: no leading zeros, ``::`` for zeros.
    """
    if "%" in pattern:  # addresses are compared without their interface
        return False
    if "*" in pattern or "?" in pattern:
        four = _after(pattern, (0, ""), _in_ipv4, "0123456789.")
        six = _after(pattern, _Ipv6(), _in_ipv6, "0123456789abcdef:")
        return any(number == 3 and digits for number, digits in four) or any(
            state.is_whole for state in six
        )
    try:
        ip_network(pattern)
    except ValueError:
        return False
    return True


def _after(pattern: str, start: State, step: Step[State], alphabet: str) -> Set[State]:
    """Return the possible states after a text that ``pattern`` matches."""
    states = {start}
    for character in pattern:
        if character != "*":
            states = _next(states, step, alphabet if character == "?" else character)
            continue
        new = states
        while new := _next(new, step, alphabet) - states:
            states = states | new
    return states


def _next(states: Set[State], step: Step[State], characters: str) -> set[State]:
    after = {step(state, character) for state in states for character in characters}
    return {state for state in after if state is not None}


def _in_ipv4(state: tuple[int, str], character: str) -> tuple[int, str] | None:
    """Return the next state; a state is the index of an octet and its digits so far."""
    number, digits = state
    if character == ".":
        return (number + 1, "") if digits and number < 3 else None
    digits += character
    if character not in "0123456789" or digits != str(int(digits)) or int(digits) > 255:
        return None
    return number, digits


class _Ipv6(NamedTuple):
    groups: int = 0
    """The number of complete groups."""

    digits: int = 0
    colons: int = 0
    """Colons in a row at the end of the text."""

    is_zero: bool = False
    after_zero: bool = False
    """Whether the previous group, without ``::`` between, is 0."""

    is_shortened: bool = False
    has_zeros: bool = False
    """Whether two groups in a row are 0, which a canonical address has only beside ``::``."""

    def ended(self) -> "_Ipv6":
        """Return the state after the current group."""
        return self._replace(
            groups=self.groups + 1,
            digits=0,
            is_zero=False,
            after_zero=self.is_zero,
            has_zeros=self.has_zeros or (self.is_zero and self.after_zero),
        )

    @property
    def is_whole(self) -> bool:
        if not self.digits and self.colons != 2:
            return False
        end = self.ended() if self.digits else self
        if end.is_shortened:
            return end.groups <= _GROUPS - 2
        return end.groups == _GROUPS and not end.has_zeros


def _in_ipv6(state: _Ipv6, character: str) -> _Ipv6 | None:
    if character == ":":
        if state.digits:
            return state.ended()._replace(colons=1) if state.groups < _GROUPS - 1 else None
        if state.colons == 0:
            return state._replace(colons=1)
        if state.colons == 1 and not state.is_shortened:
            return state._replace(colons=2, is_shortened=True, after_zero=False)
        return None
    begins_with_one_colon = state.colons == 1 and not state.groups and not state.digits
    if (
        character not in "0123456789abcdef"
        or begins_with_one_colon
        or state.is_zero
        or state.digits == _GROUP_DIGITS
        or state.groups == _GROUPS
    ):
        return None
    return state._replace(
        digits=state.digits + 1, colons=0, is_zero=not state.digits and character == "0"
    )
