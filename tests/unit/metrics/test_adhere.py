"""Adherence: each kind of limit kept and broken, what a limits object may be, and shares that rest on the rows that state one."""

import json
from pathlib import Path

import numpy as np
import pytest

from septet.errors import DataError, UsageError
from septet.metrics import Texts, compute, find, needs_limits, needs_texts
from septet.metrics.adhere import (
    BRIEF_WORDS,
    FULL_WORDS,
    LIMIT_KINDS,
    ONLY,
    broken,
    in_words,
    limits_of,
    malformed,
    read_limits,
)
from septet.metrics.interval import compare, intervals

DATA = Path(__file__).parents[3] / "recipes" / "data"
SHOP = [DATA / "shop_assistant.jsonl", DATA / "shop_assistant_test.jsonl"]

# a limit, texts that keep it, and texts that break it
CASES = {
    "sentences": [
        (1, ["It costs 4.95 euros."], ["It is free. Really.", ""]),
        ({"max": 2}, ["One.", "One. Two."], ["One. Two. Three.", ""]),
        ({"min": 2, "max": 3}, ["One. Two.", "One. Two. Three."], ["One.", "One. Two. Three. Four."]),
    ],
    "words": [
        ({"max": 3}, ["one two three", "10 % off"], ["one two three four", "", "?!"]),
        ({"min": 2}, ["one two"], ["one"]),
    ],
    "questions": [
        (1, ["Gladly. Which one?", "Which one? The red one.", "“Which one?”"], ["I see.", "Which? Why?", "a?b"]),
        (0, ["It is free."], ["Is it free?"]),
    ],
    "bullets": [
        (True, ["- one\n- two", "Take:\n- one\n- two"], ["- one", "one, two", "- one\n- two\nThank you."]),
        (3, ["* one\n* two\n* three"], ["- one\n- two"]),
    ],
    "begin": [(["yes", "no"], ["No. It is not.", "**Yes**, it is.", "no"], ["Nobody can.", "Sadly, no.", "It is, yes."])],
    "opening": [(["sorry", "apolog*"], ["Oh, I am sorry. Ask us.", "We apologise."], ["Ask us. Sorry.", "Ask us."])],
    "only": [
        ("figure", ["24.95 euros.", "€4", "2 to 4 working days", "Over 20 kg.", "seven", "4 pm", "**15 %**", "4.2 kg"],
         ["It costs 24.95 euros.", "none", "24.95 euros, and more", "5 working days at most here"]),
        ("percentage", ["10 %.", "10%", "ten per cent", "15 percent", "5"], ["10 euros", "10 % off"]),
        ("time", ["8 pm.", "20:00", "8 p.m.", "until noon", "8.30"], ["at 8 in the evening", "8 days"]),
        ("date", ["31 January.", "January 31, 2026", "31st of January", "2026-01-31", "31.1.2026"], ["in January", "31"]),
        ("days", ["30 days.", "1 day", "30", "3 to 5 days", "thirty", "twenty-one days", "About 3-5 days"],
         ["30 hours", "30 working days", "You have 30 days.", "some days"]),
        ("working days", ["5 working days", "1 working day.", "5"], ["5 days"]),
    ],
    "mention": [
        (["30 days", ["doctor", "pharmacist"]], ["Ask a Doctor within 30 days.", "30 days; pharmacist"],
         ["Ask a doctor.", "30 days", "130 days, doctors"]),
        ("refund*", ["It is refunded."], ["It is repaid."]),
    ],
    "avoid": [(["refund*", "30 days"], ["We pay it back."], ["No refunds!", "Within 30 days.", ""])],
    "register": [
        ("polite", ["Please ask."], ["Ask.", "Hey, please ask."]),
        ("formal", ["The shop is open."], ["It's open!"]),
        ("casual", ["It's open."], ["The shop is open."]),
    ],
    "detail": [
        ("brief", ["one", "a " * BRIEF_WORDS], ["a " * (BRIEF_WORDS + 1), ""]),
        ("full", ["a " * FULL_WORDS], ["a " * (FULL_WORDS - 1)]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", LIMIT_KINDS)
def test_every_kind_is_kept_and_broken(kind):
    for value, kept, lost in CASES[kind]:
        limits = read_limits({kind: value})
        for text in kept:
            assert broken(text, limits) == [], (value, text)
        for text in lost:
            assert broken(text, limits) == [kind], (value, text)


def test_every_name_of_only_is_tried():
    tried = {value for value, _, _ in CASES["only"]}
    assert set(ONLY) - tried <= {"seconds", "minutes", "hours", "weeks", "months", "years"}


@pytest.mark.parametrize("kind", LIMIT_KINDS)
def test_every_kind_says_what_it_checks(kind):
    assert 10 < len(LIMIT_KINDS[kind].keeps.__doc__) < 160 and LIMIT_KINDS[kind].keeps.__doc__.endswith(".")
    value = read_limits({kind: LIMIT_KINDS[kind].example})
    assert read_limits(json.dumps(value)) == value  # what was read reads again
    assert in_words(value)


def test_an_answer_without_a_word_keeps_nothing():
    assert broken(" … ", read_limits({"avoid": "refund", "words": {"max": 5}})) == ["avoid", "words"]


# ---- reading ----


@pytest.mark.parametrize("value", [None, "", "  ", {}, "{}", {"sentences": None}])
def test_nothing_is_stated(value):
    assert read_limits(value) == {}


def test_forms_become_one():
    value = {
        "sentences": 1,
        "words": {"min": None, "max": 9},
        "bullets": True,
        "mention": "a",
        "avoid": "b",
        "begin": "c",
    }
    wanted = {
        "sentences": {"min": 1, "max": 1},
        "words": {"max": 9},
        "bullets": {"min": 2},
        "mention": [["a"]],
        "avoid": ["b"],
        "begin": ["c"],
    }
    assert read_limits(value) == read_limits(json.dumps(value)) == wanted


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("polite", "Limits are an object, or its JSON text."),
        ("[1]", "Limits are an object, or its JSON text."),
        (3, "Limits are an object, or its JSON text."),
        ("[" * 100_000, "Limits are an object, or its JSON text."),
        ({"sentence": 1}, "There is no limit named 'sentence'."),
        ({"sentences": "two"}, "The limit sentences must be a whole number, or an object with min and max."),
        ({"sentences": True}, "The limit sentences must be a whole number, or an object with min and max."),
        ({"sentences": -1}, "The limit sentences must be a whole number, or an object with min and max."),
        ({"words": {}}, "The limit words must be a whole number, or an object with min and max."),
        ({"words": {"most": 3}}, "The limit words must be a whole number, or an object with min and max."),
        ({"words": {"max": 2.5}}, "The limit words must be a whole number, or an object with min and max."),
        ({"words": {"min": 3, "max": 2}}, "The limit words has a min above its max."),
        ({"bullets": "yes"}, "The limit bullets must be a whole number, or an object with min and max, or true."),
        ({"mention": []}, "The limit mention must be a text, or a list of texts or lists of alternatives."),
        ({"mention": [["a", []]]}, "The limit mention must be a text, or a list of texts or lists of alternatives."),
        ({"mention": [[]]}, "The limit mention must be a text, or a list of texts or lists of alternatives."),
        ({"avoid": [["a"]]}, "The limit avoid must be a text, or a list of texts."),
        ({"avoid": "*"}, "The limit avoid must be a text, or a list of texts."),
        ({"register": "rude"}, "The limit register must be one of polite, formal, casual."),
        ({"register": ["polite"]}, "The limit register must be one of polite, formal, casual."),
        ({"only": "day"}, f"The limit only must be one of {', '.join(ONLY)}."),
    ],
)  # fmt: skip
def test_what_is_no_limit(value, reason):
    with pytest.raises(DataError) as caught:
        read_limits(value)
    assert caught.value.reason == reason


def test_a_slip_names_the_nearest_kind():
    with pytest.raises(DataError, match="did you mean sentences"):
        read_limits({"sentence": 1})
    with pytest.raises(DataError, match="the kinds are sentences, words"):
        read_limits({"zzz": 1})


def test_rows_of_a_column():
    rows = [{"l": '{"words": 3}'}, {"l": ""}, {"l": "x"}, {}]
    assert limits_of(rows[:2], "l") == [{"words": {"min": 3, "max": 3}}, {}]
    assert limits_of(rows, None) is None
    assert malformed(rows, "l") == {2: "Limits are an object, or its JSON text."} and malformed(rows, None) == {}


def test_limits_in_words():
    value = {"sentences": {"max": 1}, "words": {"min": 3}, "bullets": {"min": 2, "max": 4}, "only": "days"}
    assert in_words(read_limits(value)) == "at most 1 sentence · at least 3 words · 2 to 4 bullet points · only days"
    value = {"questions": 1, "mention": ["a", ["b", "c"]], "avoid": ["d", "e"], "register": "polite"}
    assert in_words(read_limits(value)) == "1 question · mentions a, b or c · avoids d or e · polite"


# ---- the metric ----


def answers(written: list[str] | None = None) -> Texts:
    stated = [{"sentences": 1, "register": "polite"}, {"sentences": 1}, {}, {"mention": "team"}]
    texts = ["Please ask.", "One. Two.", "anything", "Ask the team."] if written is None else written
    return Texts(np.arange(4), ["r"] * 4, texts, None, np.ones(4, dtype=int), [read_limits(each) for each in stated])


def test_shares_rest_on_the_rows_that_state_a_limit():
    names = ["adherence", "adherence[sentences]", "adherence[register]", "adherence[mention]"]
    assert compute(names, answers()) == pytest.approx(dict(zip(names, [2 / 3, 1 / 2, 1, 1], strict=True)))
    assert [score.n for score in intervals(names, answers(), resamples=100)] == [3, 2, 1, 1]
    assert answers().num_rows("chrf") == 4


def test_all_limits_of_a_row_have_to_be_kept():
    assert compute(["adherence"], answers(["Please ask. Now.", "One.", "", ""]))["adherence"] == pytest.approx(1 / 3)


def test_a_kind_that_no_row_states_is_undefined():
    assert np.isnan(find("adherence[words]")(answers())) and answers().num_rows("adherence[words]") == 0


def test_weights_are_repeated_rows():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 4, (20, 4))
    weights = np.stack([np.bincount(i, minlength=4) for i in index]).astype(float)
    for name in ("adherence", "adherence[sentences]", "adherence[mention]"):
        wanted = [float(find(name)(answers().take(i))) for i in index]
        assert find(name)(answers().weighted(weights)) == pytest.approx(np.array(wanted), nan_ok=True)
        assert find(name)(answers().weighted(weights[0])) == pytest.approx(wanted[0], nan_ok=True)


def test_two_systems_are_compared_on_rows_with_the_same_limits():
    worse = answers(["Ask.", "One. Two.", "anything", "Ask us."])
    assert compare("adherence", answers(), worse, resamples=100).value == pytest.approx(2 / 3)
    other = answers()
    other.limits = [{}] * 4
    with pytest.raises(UsageError, match="same rows"):
        compare("adherence", answers(), other)


def test_an_interval_holds_the_share():
    many = answers().take(np.tile(np.arange(4), 30))
    (score,) = intervals(["adherence"], many, resamples=400)
    assert score.low < score.value < score.high and score.n == 90


@pytest.mark.parametrize("name", ["adherence", "adherence[sentences]"])
def test_it_needs_texts_and_limits(name):
    assert needs_texts(name) and needs_limits(name) and not needs_limits("chrf")
    bare = answers()
    bare.limits = None
    with pytest.raises(UsageError, match="needs the limits of each row") as caught:
        compute([name], bare)
    assert "task.limits=COLUMN" in str(caught.value)
    bare = answers()
    bare.texts = None
    with pytest.raises(UsageError, match="needs generated texts"):
        compute([name], bare)


def test_a_kind_that_there_is_not():
    with pytest.raises(UsageError, match="no kind of limit 'sentence'") as caught:
        find("adherence[sentence]")
    assert "did you mean sentences" in str(caught.value)


# ---- the shop's exchanges ----


def test_every_reference_of_the_shop_keeps_its_limits():
    rows = [json.loads(line) for path in SHOP for line in path.read_text().splitlines()]
    assert len(rows) == len({row["id"] for row in rows}) == 462 and list(rows[0]) == [
        "id",
        "instruction",
        "limits",
        "question",
        "answer",
    ]
    stated = limits_of(rows, "limits")
    lost = {row["id"]: broken(row["answer"], each) for row, each in zip(rows, stated, strict=True)}
    assert {row: kinds for row, kinds in lost.items() if kinds} == {}
    assert sum(map(bool, stated)) == 398


def test_the_limits_of_the_shop_are_those_its_instructions_state():
    """A word in an instruction and the limit it states go together, in every row."""
    rows = [json.loads(line) for path in SHOP for line in path.read_text().splitlines()]
    signs = {
        "sentences": ("in one sentence", "in one polite sentence", "question and nothing more"),
        "words": ("at most fifteen words",),
        "questions": ("one clarifying question",),
        "bullets": ("bullet",),
        "begin": ("begin with yes or no",),
        "opening": ("annoyance first", "apologise in one"),
        "only": ("with only the number", "give only the"),
        "mention": ("whom to ask", "name the right team", "name the team", "where to look", "how to reach", "name what the customer can do"),
        "register": ("polite", "formal tone"),
        "detail": ("succinct", "briefly", "a short bulleted", "in detail", "detailed"),
    }  # fmt: skip
    for row in rows:
        said = row["instruction"].lower()
        wanted = {kind for kind, phrases in signs.items() if any(phrase in said for phrase in phrases)}
        assert set(row["limits"]) == wanted, row["id"]
