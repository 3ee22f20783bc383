"""The steps of cleaning, each by itself: what it mends, what it leaves, and that odd texts cost no more than their length."""

from __future__ import annotations

import json
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data.clean import Cleaning, clean_text, clean_value
from septet.data.cleaning.html import has_html, strip_html
from septet.data.cleaning.labels import adopt, folded, variants
from septet.data.cleaning.lines import repeated_lines, without_lines
from septet.data.cleaning.personal import find, mask
from septet.data.cleaning.repair import repair
from septet.recipe.data_clean import LANGUAGES

KINDS = ("email", "phone", "card", "iban", "ip", "key")


@pytest.mark.parametrize(
    ("meant", "encoding"),
    [
        ("Das Café in Zürich – schön", "windows-1252"),
        ("l’été à la plage", "windows-1252"),
        ("€ 20 für Größe XL", "windows-1252"),
        ("mañana", "latin-1"),
    ],
)
def test_texts_read_in_a_wrong_encoding_are_mended(meant, encoding):
    broken = meant.encode().decode(encoding, errors="replace")
    assert broken != meant
    assert repair(broken) == meant
    assert clean_text(broken, Cleaning("none", control=False, whitespace=False)) == broken, (
        "an artifact without the step leaves it out"
    )


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "AT&amp;T “quoted” ﬁne … ＡＢ",
        "Größe: 5 µm ± 0.1",
        "Où est-il ? « là »",
        "Привет, мир",
        "日本語のテキスト",
        "line\r\nend",
    ],
)
def test_whole_texts_stay_as_they_are(text):
    assert repair(text) == text


@given(st.text(st.sampled_from("aé àâÃ©Â ã€™â‚¬œäß?\x1a\x80\x93\xa0\ufffdРїÐ¿вЂ“Ä…Å‚┬áΓÇ√©\n."), max_size=12))
@settings(max_examples=600, deadline=None)
def test_the_quick_test_skips_nothing_that_ftfy_would_mend(text):
    from ftfy import TextFixerConfig, fix_encoding, fix_text

    names = [
        name for name in TextFixerConfig._fields if name not in ("normalization", "fix_encoding", "max_decode_length")
    ]
    inner = ("restore_byte_a0", "replace_lossy_sequences", "decode_inconsistent_utf8")
    config = TextFixerConfig(normalization=None, **{name: name in inner for name in names})
    assert repair(text) == fix_text(text, config)
    assert "\n" in text or repair(text) == fix_encoding(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<p>Hello <b>world</b></p>", "Hello world"),
        ("one<br/>two<BR>three", "one\ntwo\nthree"),
        ("<ul><li>a</li><li>b</li></ul>", "a\n\nb"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1\t2"),
        ("<a href=\"x>y\" class='b'>link</a>", "link"),
        ("<!-- no <b>one</b> sees --> seen", "seen"),
        ("<!-- never ends <b>x</b>", "never ends x"),
        ("a<script>if (a < b) { c() }</script>b", "a\nb"),
        ("a<style>p {}", "a\np {}"),
        ("<!DOCTYPE html><html><body>x</body></html>", "x"),
        ("AT&amp;T &lt; 5 &euro; &#39;x&#39; &#x1F600;", "AT&T < 5 € 'x' 😀"),
        ("feed: &lt;b&gt;bold&lt;/b&gt;", "feed: bold"),
        ("<p>write &lt;b&gt; for bold</p>", "write <b> for bold"),
    ],
)
def test_html_becomes_what_a_reader_sees(before, after):
    assert has_html(before) == (before != "AT&amp;T &lt; 5 &euro; &#39;x&#39; &#x1F600;")
    assert strip_html(before) == after


@pytest.mark.parametrize(
    "text",
    ["if a < b and c > d", "List<String> x", "<name>, <EMAIL> and <|im_start|>", "x &nosuch; & y &c", "<3", "a <- b"],
)
def test_what_is_no_html_stays(text):
    assert not has_html(text)
    assert strip_html(text) == text


@pytest.mark.parametrize(
    "piece", ["<a ", "<!--", '<a "', "<script>", "&lt;", "<a '\"", "&#1", "a@", "1 ", "eyJ", "AKIA", "DE89 "]
)
def test_odd_texts_cost_no_more_than_their_length(piece):
    text = piece * (400_000 // len(piece))
    began = time.process_time()
    clean_text(text, Cleaning(repair=True, html=True, mask=KINDS))
    assert time.process_time() - began < 20


def test_repeated_lines_are_those_of_long_texts():
    pages = [f"Home | About\nTitle {i}\nBody of page {i}.\n  We use   cookies.\n" for i in range(10)]
    short = ["Home | About"] * 50
    lines = repeated_lines([*pages, *short], 0.5)
    assert lines == {"Home | About", "We use cookies."}
    assert without_lines(pages[3], lines) == "Title 3\nBody of page 3."
    assert without_lines("Home | About", lines) == "Home | About"
    assert without_lines("a\nb\nc", lines) == "a\nb\nc"
    assert repeated_lines(["---\n1\nx\n"] * 3, 0.1) == set(), "too few texts to say so"
    assert repeated_lines(["---\n12\n..\n"] * 30, 0.1) == set(), "lines without a letter are layout"
    cleaning = Cleaning(lines=lines)
    assert clean_text(pages[3], cleaning) == "Title 3 Body of page 3."


# keys are put together here, so that no scanner of repositories takes them for real ones
PRIVATE = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\nabc+/=\n-----END RSA " + "PRIVATE KEY-----"
PERSONAL = [
    ("write to jane.doe+x@mail.example.co.uk.", "write to <EMAIL>."),
    ("(mailto:müller@exämple.de)", "(mailto:<EMAIL>)"),
    ("call +49 (0)30 1234567 now", "call <PHONE> now"),
    ("+1-202-555-0147, or (202) 555-0148", "<PHONE>, or <PHONE>"),
    ("202.555.0149 or 0049 30 123456", "<PHONE> or <PHONE>"),
    ("07700 900123", "<PHONE>"),
    ("01 23 45 67 89", "<PHONE>"),
    ("call me on 5550199", "call me on <PHONE>"),
    ("pay with 4111 1111 1111 1111 today", "pay with <CARD> today"),
    ("amex 3782-822463-10005", "amex <CARD>"),
    ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN <IBAN> please"),
    ("gb82west12345698765432", "<IBAN>"),
    ("from 203.0.113.7:8080", "from <IP>:8080"),
    ("host 2001:db8::8a2e:370:7334", "host <IP>"),
    ("aws " + "AKIA" + "IOSFODNN7EXAMPLE", "aws <KEY>"),
    ("gh" + "p_" + string.ascii_letters[:34] + "12", "<KEY>"),
    ("xox" + "b-1234567890-abcdefghij", "<KEY>"),
    ("s" + "k-proj-" + "a1B2" * 8, "<KEY>"),
    ("tok ey" + "JhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0" + ".SflKxwRJSMeKKF2QT4", "tok <KEY>"),
    ("api_key = '" + "9f8e7d6c5b4a39281706" + "'", "api_key = '<KEY>'"),
    (f"see {PRIVATE} end", "see <KEY> end"),
]


@pytest.mark.parametrize(("before", "after"), PERSONAL)
def test_personal_data_are_masked(before, after):
    assert mask(before, KINDS)[0] == after
    assert clean_text(after, Cleaning(html=True, mask=KINDS)) == after


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-29 at 12:30:45, 29/11/2026 or 10.11.2026",
        "$1,234,567.89 and 1 000 000 rows, 3.14159265",
        "order 4111111111111112 and 1234567890",
        "DE89 3704 0044 0532 0130 01",
        "version 1.2.3.4 on 127.0.0.1, 999.1.1.1",
        "std::vector a::b 10:20",
        "ISBN 978-3-16-148410-0",
        "see @user or user@host",
        "1914-1918, 1939-1945 and 2010-2011",
        "sk-learn-is-a-library-for-python",
        "1111 1111 1111 1111",
        "id 550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_what_only_looks_personal_stays(text):
    assert find(text) == {}


def test_only_what_is_asked_for_is_masked():
    text = "a@b.example.com, 4111 1111 1111 1111"
    assert mask(text, ["email"]) == ("<EMAIL>, 4111 1111 1111 1111", ["email"])
    assert mask(text, ["phone"]) == (text, [])


def test_texts_inside_a_conversation_are_masked():
    turns = [{"role": "user", "content": "I am a@b.example.com"}]
    assert clean_value(json.dumps(turns), Cleaning(mask=["email"])) == '[{"role": "user", "content": "I am <EMAIL>"}]'


@given(st.text(st.sampled_from("aé@.com 0123456789+()-/:<>&;pbr\nÃ©"), max_size=60))
def test_masking_and_repair_twice_change_nothing(text):
    cleaning = Cleaning(repair=True, mask=KINDS)
    once = clean_text(text, cleaning)
    assert clean_text(once, Cleaning(mask=KINDS)) == once


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Billing", "billing "),
        ("card_arrival", "Card-Arrival"),
        ("not  spam", "Not_Spam"),
        ("ＯＫ", "ok."),
        ("a1", "A 1"),
        ("Sci/Tech", "sci / tech"),
        ("1 - 2", "1-2"),
        ("C ++", "c++"),
    ],
)
def test_variants_of_a_label(one, other):
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12", "1-2"),
        ("1 2", "1-2"),
        ("1 2", "12"),
        ("-1", "1"),
        ("C", "C++"),
        ("C#", "C++"),
        ("A", "B"),
        ("<=", "<"),
        ("1.5", "15"),
        ("+", "-"),
    ],
)
def test_what_is_another_label(one, other):
    assert folded(one) != folded(other)


def test_the_spelling_to_keep_is_the_listed_or_the_frequent_one():
    counts = {"billing": 3, "Billing": 9, "BILLING ": 1, "other": 5}
    assert variants(counts) == [["Billing", "billing", "BILLING "]]
    assert variants(counts, ["billing", "other"]) == [["billing", "Billing", "BILLING "]]
    assert variants(counts, ["billing", "Billing"]) == [], "two that are listed are two"
    assert adopt(["BILLING", "Other", "new", None], ["Billing", "other"]) == ["Billing", "other", "new", None]


@pytest.fixture(scope="module")
def languages():
    from septet.data.cleaning.language import Languages

    return Languages()


def test_languages_are_told_as_py3langid_tells_them(languages):
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    texts = [
        "Where is my parcel? It was due on Tuesday.",
        "Wo bleibt mein Paket? Es sollte am Dienstag kommen.",
        "Où est mon colis ? Il devait arriver mardi.",
        "我的包裹在哪里？它应该在星期二到达。",
        "ГДЕ МОЯ ПОСЫЛКА?",
        "Cafe\u0301",
        "ok",
        "",
        "!!!",
        "Đây là tiếng Việt " * 60,
    ]
    one = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    told = languages.tell(texts, ["en", "de"])
    for text, code, sure, wanted in zip(texts, told.codes, told.sure, told.wanted, strict=True):
        ranked = dict(one.rank(text[:600]))
        assert sure == pytest.approx(max(ranked.values()), abs=1e-4)
        assert ranked[code] == pytest.approx(max(ranked.values()), abs=1e-4)
        assert wanted == pytest.approx(ranked["en"] + ranked["de"], abs=1e-4)
    assert told.others.tolist() == [False, False, True, True, True, False, False, False, False, True]
    assert sorted(languages.codes) == sorted(LANGUAGES)
    assert len(languages.tell([], ["en"]).codes) == 0
