from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.zonal import formulas
from s2async.zonal.formulas import Formula, FormulaError, parse

BANDS = ("blue", "green", "red", "nir", "B8A")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nir", "nir"),
        ("(nir-red)/(nir+red)", "(nir - red) / (nir + red)"),
        (" ( ((nir)) - red )/( nir+(red) ) ", "(nir - red) / (nir + red)"),
        ("nir\n\t- red", "nir - red"),
        ("-nir**2", "-nir ** 2"),
        ("-(nir**2)", "-nir ** 2"),
        ("(-nir)**2", "(-nir) ** 2"),
        ("nir**-red", "nir ** -red"),
        ("nir**(-red)", "nir ** -red"),
        ("nir**red**blue", "nir ** red ** blue"),
        ("nir**(red**blue)", "nir ** red ** blue"),
        ("(nir**red)**blue", "(nir ** red) ** blue"),
        ("nir-red-blue", "nir - red - blue"),
        ("(nir-red)-blue", "nir - red - blue"),
        ("nir-(red-blue)", "nir - (red - blue)"),
        ("nir+(red*blue)", "nir + red * blue"),
        ("nir*(red+blue)", "nir * (red + blue)"),
        ("nir/(red*blue)", "nir / (red * blue)"),
        ("(nir/red)*blue", "nir / red * blue"),
        ("-nir*red", "-nir * red"),
        ("-(nir*red)", "-(nir * red)"),
        ("(-nir)*red", "-nir * red"),
        ("nir*-red", "nir * -red"),
        ("nir--red", "nir - -red"),
        ("--nir", "--nir"),
        ("-(nir+red)", "-(nir + red)"),
        ("nir * 1.50", "nir * 1.5"),
        ("nir * 2.0", "nir * 2"),
        ("nir * 1e-3", "nir * 0.001"),
        ("nir * 1E+3", "nir * 1000"),
        ("nir * .5 + 1.", "nir * 0.5 + 1"),
        ("nir * 1e300", "nir * 1e+300"),
        ("nir * 1e-10", "nir * 1e-10"),
        ("B8A/nir", "B8A / nir"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    formula = parse(text, BANDS)
    assert formula.text == canonical
    assert parse(canonical, BANDS) == formula


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(nir - nirr) / 2", "unknown name 'nirr' at 8; did you mean nir"),
        ("1 + NIR", "unknown name 'NIR' at 5; did you mean nir"),
        ("b8a", "unknown name 'b8a' at 1; did you mean B8A"),
        ("temperature", "unknown name 'temperature' at 1; known are blue, green, red, nir, B8A"),
        ("", "the formula ends where a band, a number or '(' should follow"),
        ("   ", "the formula ends where a band, a number or '(' should follow"),
        ("nir +", "the formula ends where a band, a number or '(' should follow"),
        ("(nir + red", "the bracket at 1 is not closed"),
        ("nir + red)", "')' at 10 where an operator should be"),
        ("(nir red)", "'red' at 6 where an operator or ')' should be"),
        ("nir red", "'red' at 5 where an operator should be"),
        ("2nir", "'nir' at 2 where an operator should be"),
        ("nir(2)", "'(' at 4 where an operator should be"),
        ("nir * / red", "'/' at 7 where a band, a number or '(' should be"),
        ("+nir", "'+' at 1 where a band, a number or '(' should be"),
        ("nir ^ 2", "'^' at 5 where an operator should be; a power is written **"),
        (
            "nir * 0,5",
            "',' at 8 where an operator should be; numbers have a decimal point, functions are not known",
        ),
        ("nir.real", "'.' at 4 where an operator should be"),
        ("nir\x00", r"'\x00' at 4 where an operator should be"),
        ("nir // 2", "'/' at 6 where a band, a number or '(' should be"),
        ("nir % 2", "'%' at 5 where an operator should be"),
        ("nir * 1e999", "the number at 7 is too large"),
        ("1 + 2", "no band in the formula; known are blue, green, red, nir, B8A"),
        ("__import__('os')", "unknown name '__import__' at 1; known are blue, green, red, nir, B8A"),
        ("nir + ²", "'²' at 7 where a band, a number or '(' should be"),
        ("nir + ٣", "'٣' at 7 where a band, a number or '(' should be"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(text: str, message: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text, BANDS)
    assert str(caught.value) == message


HOSTILE = [
    "(" * 100_000,
    "-" * 100_000 + "nir",
    "nir" + "**nir" * 20_000,
    "nir" + "+nir" * 25_000,
    "9" * 100_000,
    "x" * 100_000,
    "\n" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_long_text_is_not_read(text: str) -> None:
    with pytest.raises(FormulaError, match=r"^a formula of [\d,]+ characters: at most 2,000 are read$"):
        parse(text, BANDS)


@pytest.mark.parametrize("text", [text[: formulas.LONGEST - 1] for text in HOSTILE])
def test_a_hostile_text_gets_a_short_message(text: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text + "!", BANDS)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("opening", "depth"), [("(", 1), ("-", 1), ("nir**", 1), ("nir*(", 1), ("-(", 2)])
def test_nesting_has_a_bound(opening: str, depth: int) -> None:
    def nested(times: int) -> str:
        return opening * times + "nir" + ")" * opening.count("(") * times

    most = formulas.DEEPEST // depth
    assert parse(nested(most), BANDS).names == ("nir",)
    with pytest.raises(FormulaError, match="more than 40 brackets, signs or powers inside each other at"):
        parse(nested(most + 1), BANDS)


def test_long_chains_are_evaluated() -> None:
    formula = parse("nir" + " + 1" * 400, BANDS)
    values, undefined = formula.evaluate({"nir": np.array([0.5])})
    assert (values.tolist(), undefined.tolist()) == ([400.5], [False])
    assert parse(formula.text, BANDS) == formula


def test_huge_exponents_do_not_hang() -> None:
    values, undefined = parse("9 ** 9 ** 9 ** 9 * nir", BANDS).evaluate({"nir": np.array([0.5])})
    assert undefined.tolist() == [True]
    assert values.shape == (1,)


@pytest.mark.parametrize(
    ("text", "nir", "expected"),
    [
        ("1 / nir", [0.0, -0.0, 0.5], [None, None, 2.0]),
        ("nir / nir", [0.0, 2.0], [None, 1.0]),
        ("1 / (1 / nir)", [0.0, 4.0], [None, 4.0]),
        ("nir ** 0.5", [-1.0, 0.0, 4.0], [None, 0.0, 2.0]),
        ("nir ** -1", [0.0, 4.0], [None, 0.25]),
        ("1 / nir ** -2", [0.0, 4.0], [None, 16.0]),
        ("10 ** (nir * 1000)", [0.5, 0.25], [None, 10.0**250]),
        ("nir / 0", [1.0, 0.0], [None, None]),
        ("nir * (2 / (1 - 1))", [1.0, 0.0], [None, None]),
        ("nir - nir", [1.0, 0.0], [0.0, 0.0]),
        ("nir", [float("nan"), float("inf"), 1.0], [None, None, 1.0]),
        ("-nir ** 2", [3.0], [-9.0]),
        ("(-nir) ** 2", [3.0], [9.0]),
        ("2 ** nir ** 2", [3.0], [512.0]),
        ("8 / 4 / nir", [2.0], [1.0]),
        ("8 - 4 - nir", [2.0], [2.0]),
        ("nir * 1e-3 * 1E3", [2.0], [2.0]),
    ],
)
def test_values_and_where_there_is_none(text: str, nir: list[float], expected: list[float | None]) -> None:
    array = np.array(nir)
    kept = array.copy()
    values, undefined = parse(text, BANDS).evaluate({"nir": array})
    assert values.dtype == np.float64
    assert undefined.dtype == np.bool_
    assert [None if wrong else value for value, wrong in zip(values, undefined, strict=True)] == expected
    assert np.array_equal(array, kept, equal_nan=True)


def test_names_come_once_and_in_order() -> None:
    formula = parse("(nir - red) / (nir + red) * blue", BANDS)
    assert formula.names == ("nir", "red", "blue")
    renamed = formula.renamed({"nir": "B08", "red": "B04"})
    assert renamed.text == "(B08 - B04) / (B08 + B04) * blue"
    assert renamed == parse("(B08-B04)/(B08+B04)*blue", ("B04", "B08", "blue"))
    assert pickle.loads(pickle.dumps(formula)) == formula


def test_a_missing_band_is_named() -> None:
    with pytest.raises(KeyError, match="red"):
        parse("nir - red", BANDS).evaluate({"nir": np.zeros(1)})


# ---- random formulas ---------------------------------------------------------------------------------------

Tree = tuple[Any, ...]

LEAVES: st.SearchStrategy[Tree] = st.one_of(
    st.tuples(st.just("name"), st.sampled_from(BANDS)),
    st.tuples(st.just("number"), st.sampled_from([0.0, 0.5, 1.0, 2.0, 1e-3, 7.5, 1e300])),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.just("negative"), inner),
        st.tuples(st.sampled_from(["+", "-", "*", "/", "**"]), inner, inner),
    ),
    max_leaves=12,
)


def bracketed(tree: Tree) -> str:
    """A text with all the brackets that can be."""
    kind, *parts = tree
    if kind in ("name", "number"):
        return f"({parts[0]!r})" if kind == "number" else str(parts[0])
    if kind == "negative":
        return f"(-{bracketed(parts[0])})"
    return f"({bracketed(parts[0])}{kind}{bracketed(parts[1])})"


def computed(tree: Tree, arrays: dict[str, Any]) -> tuple[Any, Any]:
    """Values and where they are undefined, by the definition."""
    kind, *parts = tree
    if kind == "name":
        return arrays[parts[0]], False
    if kind == "number":
        return np.full(4, parts[0]), False
    results = [computed(part, arrays) for part in parts]
    wrong: Any = False
    for _, undefined in results:
        wrong = wrong | undefined
    values = [values for values, _ in results]
    if kind == "negative":
        return -values[0], wrong
    left, right = values
    if kind == "/":
        return left / right, wrong | (right == 0)
    if kind == "**":
        return left**right, wrong | ((left == 0) & (right < 0))
    return {"+": left + right, "-": left - right, "*": left * right}[kind], wrong


@given(tree=TREES, seed=st.integers(0, 1000))
def test_any_formula_means_what_its_tree_means(tree: Tree, seed: int) -> None:
    text = bracketed(tree)
    if not any(band in text for band in BANDS):
        return
    formula = parse(text, BANDS)
    assert parse(formula.text, BANDS) == formula
    assert parse(formula.text.replace(" ", ""), BANDS).text == formula.text
    assert without_one_bracket_it_is_another(formula)
    random = np.random.default_rng(seed)
    arrays = {band: random.choice([0.0, 0.1, 0.5, 1.0, -0.3], 4) for band in BANDS}
    values, undefined = formula.evaluate(arrays)
    with np.errstate(all="ignore"):
        expected, wrong = computed(tree, arrays)
    wrong = wrong | ~np.isfinite(expected)
    assert undefined.tolist() == np.broadcast_to(wrong, 4).tolist()
    assert np.allclose(values[~undefined], expected[~undefined], rtol=1e-12, atol=0)


def without_one_bracket_it_is_another(formula: Formula) -> bool:
    """Whether no pair of brackets in the canonical text is superfluous."""
    text = formula.text
    for start, character in enumerate(text):
        if character != "(":
            continue
        depth, end = 1, start
        while depth:
            end += 1
            depth += {"(": 1, ")": -1}.get(text[end], 0)
        shorter = text[:start] + text[start + 1 : end] + text[end + 1 :]
        if parse(shorter, BANDS) == formula:
            return False
    return True
