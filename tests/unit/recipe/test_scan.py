"""YAML is read as YAML 1.2 says, with a line for every key, and nothing dangerous gets through."""

import math

import pytest

from septet.errors import RecipeError, SeptetError
from septet.recipe.scan import scan


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E+3", 1000.0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("-3", -3),
        ("007", 7),
        ("0o17", 15),
        ("0xff", 255),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-11-20", "2026-11-20"),
        ("0b101", "0b101"),
        ('"1e-4"', "1e-4"),
        ("'true'", "true"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_are_yaml_1_2(text, value):
    found = scan(f"key: {text}", "recipe.yaml").value["key"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_recognised():
    assert math.isnan(scan("key: .nan", "recipe.yaml").value["key"])


def test_keys_stay_text():
    assert scan("{NO: 1, 7: 2, true: 3}", "recipe.yaml").value == {"NO": 1, "7": 2, "true": 3}


def test_lines_and_whys_of_every_path():
    scanned = scan(
        "# heading\ntrain:\n  lr: 2.0e-4  # why: lora default; full would be 2e-5\n  betas: [0.9, 0.99]  # why: mine\ndata:  # why: no\n  test:\n    - a.csv\n    - b.csv\n",
        "recipe.yaml",
    )
    assert scanned.lines["train", "lr"] == 3
    assert scanned.lines["data", "test", 1] == 8
    assert scanned.whys["train", "lr"] == "lora default; full would be 2e-5"
    assert scanned.whys["train", "betas"] == "mine"


def test_a_hash_inside_text_is_no_why():
    assert scan('key: "a # why: b"', "r").whys == {}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "no tags"),
        ("a: !!int '3'", 1, "no tags"),
        ("a: !mine 3", 1, "no tags"),
        ("a: 1\nb: 2\na: 3", 3, "given twice, in line 1 and in line 3"),
        ("a: 1\n---\nb: 2", 2, "one document"),
        ("a: *nothing", 1, "names nothing"),
        ("a: &x [*x]", 1, "inside what it names"),
        ("a:\n\tb: 1", 2, "valid YAML"),
        ("a: [1, 2\nb: 3", 2, "valid YAML"),
        ("a: b: c", 1, "valid YAML"),
        ("a: @home", 1, "valid YAML"),
        ("a: 1\nb: \x00", 2, "control characters"),
        ("[a]: 1", 1, "single word"),
        ("? {a: 1}\n: 2", 1, "single word"),
        ("a: " + "9" * 5000, 1, "digits"),
        ("[" * 100 + "]" * 100, 1, "levels"),
    ],
)
def test_refused_with_the_line(text, line, says):
    with pytest.raises(RecipeError) as caught:
        scan(text, "recipe.yaml")
    assert says in str(caught.value)
    assert caught.value.where == f"recipe.yaml line {line}"


def test_alias_bomb_is_refused_quickly():
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for this, last in zip("bcdefgh", "abcdefg", strict=True):
        text += f"{this}: &{this} [{', '.join([f'*{last}'] * 10)}]\n"
    with pytest.raises(RecipeError, match="aliases unfolded"):
        scan(text, "recipe.yaml")


def test_a_plain_alias_is_allowed():
    assert scan("a: &seed 42\nb: *seed", "r").value == {"a": 42, "b": 42}


def test_an_endless_text_is_refused():
    with pytest.raises(RecipeError, match="characters"):
        scan("a: " + "x" * 2_000_000, "recipe.yaml")


def test_two_repeated_keys_are_both_named():
    with pytest.raises(SeptetError) as caught:
        scan("a: 1\na: 2\nb: 1\nb: 2", "recipe.yaml")
    assert "a is given twice" in str(caught.value)
    assert "b is given twice" in str(caught.value)


def test_tabs_get_their_own_hint():
    with pytest.raises(RecipeError, match="spaces, not with tabs"):
        scan("train:\n\tlr: 1", "recipe.yaml")
