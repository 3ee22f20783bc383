"""Sentences, words, bullet points, phrases and registers, as far as rules can say them."""

import pytest

from septet.metrics._wording import bullets, casual, formal, holds, polite, sentences, starts, words

ONE = [
    "It costs 4.95 euros.",
    "It costs 4.95 euros",
    "Mr. Fox and Dr. Fennel are at St. Mary's Lane, e.g. on Fri. from 9 a.m. to 7 p.m. at No. 5.",
    "Read https://shop.example/a.b?c=1&d=2 or www.shop.example.",
    "Version 2.1.3 of septet.metrics is out!",
    "Bring the pan, the lid etc. to a counter.",
    "J. R. Fox signed it.",
    "Well ... it depends.",
    "Well… it depends.",
    'The sign says "Closed. Come again!" on the door.',
    "“Why?” she asked.",
    "Is that so?!",
    "(It is free.)",
    "**No refund.**",
    "Open the box (see p. 3) first.",
    "Lockers are at Station Street; Harbour Road has a counter: it is staffed.",
    "1. Open the box.",
    "- Open the box.",
    "Jan. 5 is too late.",
    "Up to approx. 20 kg, max. 3 parcels.",
    "you can return it",
]
TWO = [
    "No. Foxglove knives are washed by hand.",
    "It opens at 9 a.m. The chat opens at 8.",
    "it opens at 9. it closes at 4.",
    "Really? Yes!",
    "Thank you... We will look into it.",
    'She said "no." Then she left.',
    "He asked “Why?” Nobody knew.",
    "We take pans, lids etc. Please bring them.",
    "So do I. Thank you.",
    "**Yes.** It is free.",
    "Yes\nIt is free",
    "Two things:\n- one",
    "1. Open the box.\n2. Take it out.",
    "Sorry! :) Here it is.",
    "Bis 18.30 Uhr. Über Nacht nie.",
    "可以。請到櫃台。",
]


@pytest.mark.parametrize("text", ONE)
def test_one_sentence(text):
    assert len(sentences(text)) == 1, sentences(text)


@pytest.mark.parametrize("text", TWO)
def test_two_sentences(text):
    assert len(sentences(text)) == 2, sentences(text)


@pytest.mark.parametrize("text", ["", " \n ", "...", "?!", "- \n--", "🙂"])
def test_no_sentence(text):
    assert sentences(text) == []


def test_sentences_keep_their_marks_and_lose_the_marker_of_a_list():
    assert sentences("- Is it “free?” Yes!\n2) So it is.") == ["Is it “free?”", "Yes!", "So it is."]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("—", 0),
        ("10 %", 1),
        ("e-mail me, don't ring", 4),
        ("yes—no", 2),
        ("3 to 5 working days.", 5),
        ("- a", 1),
    ],
)
def test_words(text, count):
    assert words(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("- one\n- two", 2),
        ("These stay:\n* one\n* two\n  and its lid\n\n**And these:**\n• three", 3),
        ("1. one\n2. two", None),
        ("- one\n- two\nAnything else?", None),
        ("one two", None),
        ("-5 degrees", None),
        ("", 0),
    ],
)
def test_bullets(text, count):
    assert bullets(text) == count


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("30 days", "Within 30\u00a0days, please."),
        ("Billing Team", "the billing  team"),
        ("don't", "We don’t know."),
        ("refund*", "It is refunded."),
        ("refund*", "A refund."),
        ("10 %", "It is 10 % off"),
        ("C++", "in C++ only"),
    ],
)
def test_a_phrase_that_is_there(phrase, text):
    assert holds(text, phrase) and holds(text, "nowhere", phrase)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("30 days", "130 days"),
        ("refund", "refunded"),
        ("refund*", "prerefund"),
        ("team", "steam"),
        ("a.b", "aXb"),
        ("x", ""),
    ],
)
def test_a_phrase_that_is_not_there(phrase, text):
    assert not holds(text, phrase)


def test_how_a_text_begins():
    assert starts("No. It is not.", "yes", "no") and starts("**Yes**, it is", "yes") and starts('"No!"', "no")
    assert not starts("Nobody knows.", "no") and not starts("Well, no.", "no") and not starts("", "no")


@pytest.mark.parametrize(
    "text",
    [
        "Please ask.",
        "I AM AFRAID not.",
        "We apologise.",
        "Thanks!",
        "We ship to the U.S., I am glad to say.",
        "Don’t worry, we are glad to help.",
        "Of course.",
    ],
)
def test_polite(text):
    assert polite(text)


@pytest.mark.parametrize(
    "text",
    ["Ask the team.", "", "Please calm down.", "Sure, pls ask.", "Sorry, that is your own fault.", "yeah of course"],
)
def test_not_polite(text):
    assert not polite(text)


@pytest.mark.parametrize(
    "text", ["Kindly present the code.", "The shop's hours are on the page.", "It is free: 5 euros, no more."]
)
def test_formal(text):
    assert formal(text) and not casual(text)


@pytest.mark.parametrize(
    "text",
    ["We don't know.", "It’s free.", "You'll see.", "Hey, it is free.", "It is free!", "It is free :)", "Free 🙂"],
)
def test_casual(text):
    assert casual(text) and not formal(text)


def test_rude_is_neither_formal_nor_casual():
    assert not formal("That is stupid.") and not casual("that's stupid lol")


def test_a_long_text_without_end_is_read_in_little_time():
    import time

    began = time.process_time()
    for text in ("a. " * 20_000, '"' * 20_000, "." * 50_000, "- " * 20_000, "a" * 100_000):
        sentences(text), bullets(text), words(text), polite(text), formal(text)
    assert time.process_time() - began < 5
