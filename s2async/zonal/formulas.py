"""Formulas of indices: parses them into steps, formats them canonically, evaluates them in numpy. Pure.

No text is executed as code. The grammar is a subset of Python's: names, numbers, ``+ - * /``, ``**``, unary minus
and brackets. ``**`` binds tightest and to the right: ``-a ** 2`` is ``-(a ** 2)``, and ``a ** b ** c`` is
``a ** (b ** c)``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Operator: TypeAlias = Literal["+", "-", "*", "/", "**", "negative"]

LONGEST: Final = 2000
"""Maximum number of characters of a formula. The longest formula of Awesome Spectral Indices has 130."""
DEEPEST: Final = 40
"""Maximum depth of nested brackets, minus signs and powers."""
_SHOWN: Final = 40
"""Maximum number of characters of a name or number that messages show."""
_TOKEN: Final = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>\*\*|[-+*/()])"
    r"|(?P<other>[^ \t\r\n])"
)
_PRECEDENCE: Final[Mapping[Operator, int]] = {"+": 1, "-": 1, "*": 2, "/": 2, "negative": 3, "**": 4}
_ATOM: Final = 5
"""Precedence of names, numbers and bracketed expressions."""


class FormulaError(ValueError):
    """A formula that cannot be parsed; the message is one line."""


@dataclass(frozen=True, slots=True)
class Name:
    """A step that pushes the values of a band on the stack."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A step that pushes a constant on the stack."""

    value: float


Step: TypeAlias = Name | Number | Operator
"""A step of a formula in postfix notation; operators take the last one or two results from the stack."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula over names; two formulas are equal if their steps are equal."""

    steps: tuple[Step, ...]
    """Steps in well-formed postfix notation."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the formula, without repetition, in the order in which they first occur."""
        return tuple(dict.fromkeys(step.name for step in self.steps if isinstance(step, Name)))

    @property
    def text(self) -> str:
        """The canonical text: single blanks, short numbers, no superfluous brackets. It parses to this formula."""
        return _text(self.steps)

    def renamed(self, names: Mapping[str, str]) -> Formula:
        """Return the formula with other names.

        Args:
            names: new names by old names; other names are kept.
        """
        return Formula(
            tuple(Name(names.get(step.name, step.name)) if isinstance(step, Name) else step for step in self.steps)
        )

    def evaluate(self, arrays: Mapping[str, Floats]) -> tuple[Floats, NDArray[np.bool_]]:
        """Evaluate the formula in float64, element by element.

        Args:
            arrays: float64 arrays, keyed by name, all of the same shape. They are not changed.

        Returns:
            The values, and a mask of undefined values: a denominator is exactly 0, or the value is not finite.
            Undefined values have no meaning. The returned arrays may be among the given arrays.

        Raises:
            KeyError: a name is missing.
        """
        stack: list[Floats | np.float64] = []
        undefined: NDArray[np.bool_] = np.zeros(np.shape(arrays[self.names[0]]), np.bool_)
        with np.errstate(all="ignore"):
            for step in self.steps:
                if isinstance(step, Name):
                    stack.append(arrays[step.name])
                elif isinstance(step, Number):
                    stack.append(np.float64(step.value))
                elif step == "negative":
                    stack.append(-stack.pop())
                else:
                    right, left = stack.pop(), stack.pop()
                    if step == "/":
                        undefined |= right == 0
                    elif step == "**":
                        undefined |= (left == 0) & (right < 0)  # this is also a division by 0
                    stack.append(_applied(step, left, right))
            (values,) = stack
            undefined |= ~np.isfinite(values)
        return np.asarray(values, np.float64), undefined


def parse(text: str, names: Collection[str]) -> Formula:
    """Parse a formula.

    Args:
        text: text of the formula.
        names: allowed names, of letters, digits and underscores, not beginning with a digit.

    Raises:
        FormulaError: the text is not a formula over these names, contains no name, is too long, or is nested too
            deeply. Positions in the message count from 1.
    """
    if len(text) > LONGEST:
        raise FormulaError(f"a formula of {len(text):,} characters: at most {LONGEST:,} are read")
    parser = _Parser(text, names)
    parser.sum()
    if parser.kind != "end":
        raise parser.unexpected("an operator")
    formula = Formula(tuple(parser.steps))
    if not formula.names:
        raise FormulaError(f"no band in the formula; known are {_listed(names)}")
    return formula


class _Parser:
    """Recursive-descent parser with one method for each level of the grammar and one token of lookahead.

    Steps are collected in postfix order.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._tokens = _tokens(text)
        self._names = names
        self._depth = 0
        self.steps: list[Step] = []
        self.advance()

    def advance(self) -> None:
        """Go to the next token."""
        self.kind, self.symbol, self.position = next(self._tokens)

    def sum(self) -> None:
        """Read ``product (("+" | "-") product)*``."""
        self._chain(self.product, ("+", "-"))

    def product(self) -> None:
        """Read ``signed (("*" | "/") signed)*``."""
        self._chain(self.signed, ("*", "/"))

    def signed(self) -> None:
        """Read ``"-" signed | power``."""
        if self.symbol == "-":
            self._inside(self.signed)
            self.steps.append("negative")
        else:
            self.power()

    def power(self) -> None:
        """Read ``atom ("**" signed)?``."""
        self.atom()
        if self.symbol == "**":
            self._inside(self.signed)
            self.steps.append("**")

    def atom(self) -> None:
        """Read ``name | number | "(" sum ")"``."""
        if self.kind == "number":
            self.steps.append(Number(self._number()))
        elif self.kind == "name":
            self.steps.append(Name(self._name()))
        elif self.symbol == "(":
            opened = self.position
            self._inside(self.sum)
            if self.kind == "end":
                raise FormulaError(f"the bracket at {opened} is not closed")
            if self.symbol != ")":
                raise self.unexpected("an operator or ')'")
        else:
            raise self.unexpected("a band, a number or '('")
        self.advance()
        if self.symbol == "(":
            raise self.unexpected("an operator")

    def unexpected(self, wanted: str) -> FormulaError:
        """Return the error about the current token."""
        if self.kind == "end":
            return FormulaError(f"the formula ends where {wanted} should follow")
        hint = "; a power is written **" if self.symbol == "^" else ""
        hint = "; numbers have a decimal point, functions are not known" if self.symbol == "," else hint
        return FormulaError(f"{self.symbol[:_SHOWN]!r} at {self.position} where {wanted} should be{hint}")

    def _chain(self, operand: Callable[[], None], operators: tuple[Operator, ...]) -> None:
        operand()
        while operator := next((known for known in operators if known == self.symbol), None):
            self.advance()
            operand()
            self.steps.append(operator)

    def _inside(self, rule: Callable[[], None]) -> None:
        """Skip the current token, and parse what follows one level deeper."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise FormulaError(
                f"more than {DEEPEST} brackets, signs or powers inside each other at {self.position}"
            )
        self.advance()
        rule()
        self._depth -= 1

    def _number(self) -> float:
        value = float(self.symbol)
        if not math.isfinite(value):
            raise FormulaError(f"the number at {self.position} is too large")
        return value

    def _name(self) -> str:
        if self.symbol in self._names:
            return self.symbol
        message = f"unknown name {self.symbol[:_SHOWN]!r} at {self.position}"
        by_lower = {name.lower(): name for name in self._names}
        if close := difflib.get_close_matches(self.symbol[:_SHOWN].lower(), by_lower, 1):
            raise FormulaError(f"{message}; did you mean {by_lower[close[0]]}")
        raise FormulaError(f"{message}; known are {_listed(self._names)}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield kind, text and position (from 1) of each token; after the last, yield kind "end" without end."""
    for found in _TOKEN.finditer(text):
        yield found.lastgroup or "", found[0], found.start() + 1
    while True:
        yield "end", "", len(text) + 1


def _applied(operator: Operator, left: Floats | np.float64, right: Floats | np.float64) -> Floats | np.float64:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if operator == "/":
        return left / right
    # numpy computes squares and roots faster only if the exponent is a plain number.
    result: Floats | np.float64 = left ** (float(right) if isinstance(right, np.float64) else right)
    return result


def _text(steps: tuple[Step, ...]) -> str:
    """Return the canonical text of steps: an operand is bracketed if its precedence is too low for its place."""
    stack: list[tuple[str, int]] = []

    def operand(least: int) -> str:
        text, precedence = stack.pop()
        return text if precedence >= least else f"({text})"

    for step in steps:
        if isinstance(step, Name):
            stack.append((step.name, _ATOM))
        elif isinstance(step, Number):
            stack.append((_number_text(step.value), _ATOM))
        elif step == "negative":
            stack.append(("-" + operand(_PRECEDENCE[step]), _PRECEDENCE[step]))
        else:
            # Operators are left-associative. Powers are right-associative, and a sign in an exponent needs no
            # brackets.
            precedence = _PRECEDENCE[step]
            on_the_left, on_the_right = precedence, precedence + 1
            if step == "**":
                on_the_left, on_the_right = _ATOM, _PRECEDENCE["negative"]
            right = operand(on_the_right)
            stack.append((f"{operand(on_the_left)} {step} {right}", precedence))
    ((text, _),) = stack
    return text


def _number_text(value: float) -> str:
    """Return the shortest text that parses to the same number."""
    return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)
