import ast

import pytest
from mutants import mutants_of

CHANGES = {
    "a < b": ["(a <= b)"],
    "a == b": ["(a != b)"],
    "a and b and c": ["(b and c)", "(a and c)", "(a and b)"],
    "not a": ["(a)"],
    "a + b": ["(a - b)"],
    "'text' + b": [],
    "7": ["8"],
    "1": ["0"],
    "0.5": ["1.0"],
    "True": ["False"],
    "'validation'": ["'test'"],
    "'a message'": [],
    "f'{a + 1}'": [],
    "a.train": ["a.validation"],
    "f(a, b)": ["f(b, a)"],
    "f(a, key=b)": ["f(a)"],
    "zip(a, b(), strict=True)": [],
    "f(c.seed)": ["f(0)"],
    "stream(a, 'crops')": ["stream(a, 'other crops')"],
    "np.floor(a)": ["np.ceil(a)"],
    "sorted(a)": ["a"],
    "a.sqrt()": ["a"],
    "[a, b]": ["[b]", "[a]"],
    "(a, b)": [],
    "('a', 'b')": ["('b',)", "('a',)"],
    "{'a': b}": ["{}"],
    "[a for a in b if a]": ["(not (a))"],
    "a if b else c": ["(not (b))"],
    "InputError(a + b)": [],
}


@pytest.mark.parametrize(("expression", "expected"), CHANGES.items(), ids=str)
def test_an_expression_is_changed_as_people_err(expression, expected):
    assert [mutant.became for mutant in mutants_of("toy.py", f"x = {expression}")] == expected


STATEMENTS = {
    "a += b": ["pass"],
    "a.b = c": ["pass"],
    "a = f(a)": ["pass"],
    "a = f(b)": [],
    "f(a)": ["pass"],
    "raise ValueError(a + 1)": ["pass"],
    "print(a)": [],
    "a: int = b": [],
}


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS.items(), ids=str)
def test_a_statement_is_left_out_where_what_follows_can_run(statement, expected):
    assert [mutant.became for mutant in mutants_of("toy.py", statement)] == expected


SOURCE = '''"""A module about 5 things."""

LIMIT = 5


def ünder(a,
          limit=LIMIT):
    """Whether a is under 5."""
    return (a <
            limit)
'''


def test_a_mutant_is_the_module_with_one_change_and_every_other_line_in_its_place():
    constant, comparison = mutants_of("toy.py", SOURCE)
    assert constant.source == SOURCE.replace("LIMIT = 5", "LIMIT = 6")
    assert constant.on_import
    assert (comparison.was, comparison.became, comparison.lines) == ("a < limit", "(a <= limit)", range(9, 11))
    assert not comparison.on_import
    places = [[(node.name, node.lineno) for node in ast.walk(ast.parse(source)) if hasattr(node, "name")] for source in
              (SOURCE, comparison.source)]  # fmt: skip
    assert places[0] == places[1]


def test_equal_changes_of_a_module_are_counted():
    assert [mutant.key for mutant in mutants_of("toy.py", "a = 7\nb = 7")] == [
        ("toy.py", "7", "8", 1),
        ("toy.py", "7", "8", 2),
    ]
