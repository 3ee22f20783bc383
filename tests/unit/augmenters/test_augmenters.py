"""Augmenters by themselves: which words may be changed, and what each does with them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from septet import registry
from septet.augmenters import Given, Phrase
from septet.augmenters.typos import BESIDE, slip
from septet.errors import UsageError
from septet.testing import check_augmenter, checkpoint
from septet.testing.augmenter import TEXTS
from translators import masked_model, translator

WORDS = re.findall(r"\w+", " ".join(TEXTS).lower())


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, 7]))


def made(name: str, **options):
    part = registry.part("augmenter", name)
    return part(Given(**{"strength": part.strength, **options}))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "plain": checkpoint(folder / "plain", [*TEXTS, "monday"]),
        "masked": masked_model(folder / "masked", WORDS),
        "there": translator(folder / "there", WORDS, seed=1),
        "back": translator(folder / "back", WORDS, seed=2),
    }


@pytest.mark.parametrize("name", registry.names("augmenter"))
def test_contract(name, models, monkeypatch):
    monkeypatch.setattr("septet.augmenters.synonyms.CLOSE", -1.0)  # words of a random model are near none
    part = registry.part("augmenter", name)
    translators = (models["there"], models["back"]) if part.translates else ()
    check_augmenter(name, options=Given(part.strength, models["plain"], translators))


def test_words_are_letters_that_nothing_protects():
    text = "Write to me@x.org or @shop about AB-12 and #sale: don't use http://a.b/c, it's a well-known 3rd error"
    phrase = Phrase.of(text, [re.compile("error")])
    words = [text[a:b] for a, b in phrase.words]
    assert words == ["Write", "to", "or", "about", "and", "don't", "use", "it's", "a", "well-known"]
    assert [text[a:b] for a, b in phrase.kept] == ["error"]
    assert phrase.survives("an error") and not phrase.survives("an eror")


def test_protected_stretches_keep_their_order():
    phrase = Phrase.of("from A1 to B2", [re.compile(r"[A-Z]\d")])
    assert phrase.survives("A1 then B2") and not phrase.survives("B2 then A1")


@pytest.mark.parametrize(("strength", "count"), [(0.01, 1), (0.2, 2), (0.5, 5), (1.0, 10)])
def test_strength_is_a_share_of_the_words(strength, count):
    phrase = Phrase.of(" ".join("abcdefghij"))
    assert len(phrase.drawn(rng(), strength)) == count


def test_a_slip_keeps_the_first_letter_and_changes_one_thing():
    found = {slip("parcel", rng(seed)) for seed in range(200)}
    assert len(found) > 20
    assert all(word[0] == "p" and abs(len(word) - 6) <= 1 and word != "parcel" for word in found)
    assert set(BESIDE["g"]) == set("ftyhvb")


def test_typos_leave_short_words_and_the_rest_of_the_text():
    text = "it is a paid   parcel!"
    for seed in range(30):
        found = made("typos", strength=1.0).change(Phrase.of(text), rng(seed))
        assert found.startswith("it is a p") and "   p" in found and found.endswith("!")


def test_drop_leaves_one_word_and_takes_one_space():
    text = "one two three"
    assert {made("drop").change(Phrase.of(text), rng(s)) for s in range(30)} == {"two three", "one three", "one two"}
    assert made("drop", strength=1.0).change(Phrase.of("a b"), rng()) in ("a", "b")
    assert made("drop", strength=1.0).change(Phrase.of("alone"), rng()) == "alone"


def test_swap_exchanges_neighbours_and_never_across_punctuation():
    found = {made("swap").change(Phrase.of("one two. three four"), rng(s)) for s in range(30)}
    assert found == {"two one. three four", "one two. four three"}


def test_casing_changes_letters_alone():
    found = {made("casing", strength=1.0).change(Phrase.of("One two"), rng(s)) for s in range(30)}
    assert len(found) > 3 and {text.lower() for text in found} == {"one two"}


@pytest.mark.parametrize("kind", ["plain", "masked"])
def test_synonyms_are_other_words_of_the_vocabulary(models, kind, monkeypatch):
    monkeypatch.setattr("septet.augmenters.synonyms.CLOSE", -1.0)
    text = "Please send the PARCEL since Monday"
    maker = made("synonyms", model=models[kind], strength=1.0)
    (found,) = maker.augment([Phrase.of(text, [re.compile("since")])], [rng()])
    old, new = re.findall(r"\w+", text), re.findall(r"\w+", found)
    assert len(old) == len(new) and "since" in new and "the" in new  # protected, and too short
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert {a for a, _ in changed} == {"Please", "send", "PARCEL", "Monday"}
    assert all(b.lower() in WORDS and len(b) >= 4 for _, b in changed)
    assert new[3].isupper() and new[0][0].isupper()


def test_a_word_that_the_model_does_not_know_stays(models):
    (found,) = made("synonyms", model=models["plain"]).augment([Phrase.of("xylophone")], [rng()])
    assert found == "xylophone"


def test_back_translation_goes_through_both_models(models):
    there = made("back_translation", translators=(models["there"], models["back"]))
    other = made("back_translation", translators=(models["back"], models["there"]))
    phrases = [Phrase.of(text) for text in TEXTS[:3]]
    first, second = (each.augment(phrases, [rng()] * 3) for each in (there, other))
    assert first == there.augment(phrases, [rng(5)] * 3) != second


def test_what_is_no_translator_is_refused(models):
    maker = made("back_translation", translators=(models["plain"], models["back"]))
    with pytest.raises(UsageError, match="translates nothing"):
        maker.augment([Phrase.of("a text")], [rng()])
    with pytest.raises(UsageError, match="two models"):
        made("back_translation")
    with pytest.raises(UsageError, match="knows words"):
        made("synonyms")
