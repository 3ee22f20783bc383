"""Whatever a recipe can hold, writing and reading it gives the same."""

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.recipe.scan import scan
from septet.recipe.write import flow, redact

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False), text)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_what_is_written_is_read_again(value):
    assert scan(f"key: {flow(value)}  # why: because", "r").value == {"key": value}


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_floats_to_an_older_yaml(value):
    assert yaml.safe_load(flow(value)) == value


def test_floats_read_well():
    assert [flow(x) for x in (2e-4, 1e-8, 0.06, 1.0, 1e22, 0.0, -2.5e-5)] == [
        "2.0e-4",
        "1.0e-8",
        "0.06",
        "1.0",
        "1.0e+22",
        "0.0",
        "-2.5e-5",
    ]


def test_redact_leaves_other_text_alone():
    for plain in ("https://example.com/a?x=1", "a: b@c", "see http://x/y:z", "mailto:me@example.com", "monkey=1"):
        assert redact(plain) == plain
    assert redact("postgres://u:p@h/db") == "postgres://u:***@h/db"
    assert redact("postgres://u:${PW}@h/db") == "postgres://u:${PW}@h/db"
    assert redact("https://h/f?api_key=abc") == "https://h/f?api_key=***"
