import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.server.refusal import Refusal
from septet.server.strict import depth, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES)
def test_valid_json_is_read_as_json_reads_it(value):
    for ascii_only in (True, False):
        content = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")
        assert loads(content, 100) == json.loads(content)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    try:
        loads(content, 20)
    except Refusal as refusal:
        assert refusal.status == 400
        assert set(json.loads(refusal.body())["error"]) == {"code", "message", "param"}


@pytest.mark.parametrize("levels", [1, 5, 20])
def test_the_limit_of_nesting_is_exact(levels):
    assert depth(loads(b"[" * levels + b"]" * levels, levels), 100) == levels
    with pytest.raises(Refusal, match="deeper"):
        loads(b"[" * (levels + 1) + b"]" * (levels + 1), levels)
