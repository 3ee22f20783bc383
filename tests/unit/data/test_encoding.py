"""Encodings: marks and UTF-8 decide, a guess is told, and what is not sure is an error that shows the readings."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path

import pytest
from charset_normalizer import from_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data.encoding import _WRITTEN, decode
from septet.data.read import Reading, read
from septet.errors import DataError, RecipeError

SHARED = Path(os.environ.get("SEPTET_SHARED", Path(__file__).resolve().parents[4] / "shared"))
GERMAN = [
    "Die Größe der Bestellung lässt sich nicht mehr ändern.",
    "Können Sie mir die Rechnung für März noch einmal schicken?",
    "Das Päckchen ist beschädigt, ich möchte es zurückgeben.",
    "Wo bleibt mein Paket? Es sollte am Dienstag übergeben werden.",
]
RUSSIAN = [
    "Когда придёт моя посылка, она должна была быть во вторник?",
    "Мне прислали счёт, который я уже оплатил в прошлом месяце.",
    "Приложение закрывается, как только я открываю настройки.",
    "Как изменить адрес доставки после оформления заказа?",
    "Спасибо, всё работает, вопрос можно закрыть.",
    "Пароль не подходит, хотя я только что его сменил.",
    "Сколько стоит доставка в другой город?",
    "Верните деньги, пожалуйста, товар пришёл разбитым.",
]
POLISH = [
    "Gdzie jest moja paczka? Miała przyjść we wtorek.",
    "Dostałem rachunek, który już zapłaciłem w zeszłym miesiącu.",
    "Aplikacja zamyka się, gdy tylko otwieram ustawienia.",
    "Jak zmienić adres dostawy po złożeniu zamówienia?",
    "Dziękuję, wszystko działa, można zamknąć zgłoszenie.",
    "Hasło nie działa, chociaż właśnie je zmieniłem.",
    "Ile kosztuje wysyłka do innego miasta?",
    "Proszę o zwrot pieniędzy, towar przyszedł uszkodzony.",
]
GREEK = [
    "Πού είναι το δέμα μου; Έπρεπε να έρθει την Τρίτη.",
    "Μου στείλατε λογαριασμό που έχω ήδη πληρώσει.",
    "Η εφαρμογή κλείνει μόλις ανοίξω τις ρυθμίσεις.",
    "Πώς αλλάζω τη διεύθυνση παράδοσης;",
    "Ευχαριστώ, όλα λειτουργούν τώρα.",
    "Ο κωδικός δεν ισχύει αν και τον άλλαξα.",
]
JAPANESE = [
    "私の荷物はどこにありますか。火曜日に届くはずでした。",
    "先月すでに支払った請求書が届きました。",
    "設定を開くとアプリが閉じてしまいます。",
    "注文後に配送先の住所を変更するにはどうすればよいですか。",
    "ありがとうございます。問題は解決しました。",
    "パスワードを変更したのにログインできません。",
]
KOREAN = [
    "제 소포는 어디에 있습니까? 화요일에 도착했어야 합니다.",
    "지난달에 이미 지불한 청구서를 받았습니다.",
    "설정을 열면 앱이 종료됩니다.",
    "주문 후 배송 주소를 어떻게 변경합니까?",
    "감사합니다. 모든 것이 잘 작동합니다.",
    "비밀번호를 변경했는데 로그인이 되지 않습니다.",
]


def table(lines, label="a"):
    return "text,label\n" + "".join(f'"{line}",{label}\n' for line in lines)


def told(raw):
    found = decode(raw, "a.csv")
    (finding,) = found.findings
    return found.text, finding


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_utf_8_and_marks_decide_and_are_not_told(encoding):
    found = decode(table(GERMAN).encode(encoding), "a.csv")
    assert found.text == table(GERMAN) and not found.findings


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_seen_and_told(encoding):
    text, finding = told(table(["Where is my parcel?"]).encode(encoding))
    assert text == table(["Where is my parcel?"]) and finding.evidence["encoding"] == encoding


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1))
@settings(max_examples=200, deadline=None)
def test_what_is_valid_utf_8_is_never_guessed(text):
    if text.strip() and len(text) > 2:
        found = decode(text.encode(), "a.csv")
        assert found.text == text and not found.findings


@pytest.mark.parametrize(
    ("lines", "encoding"),
    [
        (GERMAN, "cp1252"),
        (GERMAN, "mac_roman"),
        (GERMAN, "cp850"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859_2"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (GREEK, "cp1253"),
        (KOREAN, "cp949"),
    ],
)
def test_a_guess_is_right_and_told_with_an_example(lines, encoding):
    text, finding = told(table(lines).encode(encoding))
    assert text == table(lines)
    assert (finding.slug, finding.level) == ("encoding-guessed", "warning")
    assert finding.evidence["example"] in text.replace("\n", " ") and finding.evidence["example"] in finding.message
    assert f"data.encoding: {finding.evidence['encoding']}" in finding.fix
    assert decode(text.encode(encoding), "a.csv", encoding=finding.evidence["encoding"]).text == text


@pytest.mark.parametrize(
    "raw", ["text,label\ncafé,x\n".encode("cp1252"), b"text,label\n\xa4,x\n", "text,label\n中,x\n".encode("gb18030")]
)
def test_too_little_to_tell_is_an_error_that_shows_the_readings(raw):
    with pytest.raises(DataError, match=r"a\.csv line 2[\s\S]*data\.encoding: \w+ reads \"") as caught:
        decode(raw, "a.csv")
    assert "cannot be told" in str(caught.value) and "save the file as UTF-8" in str(caught.value)


def test_a_file_of_two_encodings_is_an_error_and_can_be_read_line_by_line():
    whole = table(GERMAN)
    lines = whole.split("\n")
    raw = b"\n".join(line.encode("cp1252" if i in (2, 4) else "utf-8") for i, line in enumerate(lines))
    with pytest.raises(DataError) as caught:
        decode(raw, "a.csv")
    assert "of its lines beyond ASCII 2 are UTF-8, 2 are not (line 3, 5)" in str(caught.value)
    assert "a.csv line 3" in str(caught.value) and "data.encoding: utf-8|cp1252" in str(caught.value)
    assert "Können" in str(caught.value)
    found = decode(raw, "a.csv", encoding="utf-8|cp1252")
    (finding,) = found.findings
    assert found.text == whole and finding.slug == "encoding-mixed" and finding.evidence["lines"] == [3, 5]
    with pytest.raises(DataError, match=r"utf-8\|ascii[\s\S]*a\.csv line 3"):
        decode(raw, "a.csv", encoding="utf-8|ascii")


def test_a_file_cut_inside_a_character_is_cut_short_and_no_other_encoding():
    raw = table(GERMAN).encode() + "ü".encode()[:1]
    with pytest.raises(DataError, match=r"cut short[\s\S]*a\.csv line 6"):
        decode(raw, "a.csv")


def test_binary_files_are_no_text():
    noise = random.Random(0).randbytes(4_000)
    for raw in (noise, noise.replace(b"\0", b"\1"), b"text,label\na,b\n" + bytes([1, 2, 3, 200]) * 50):
        with pytest.raises(DataError, match="binary, no text"):
            decode(raw, "a.csv")


def test_an_encoding_that_does_not_exist_or_does_not_fit():
    with pytest.raises(RecipeError, match="cp1252"):
        decode(b"a\xe9", "a.csv", encoding="latin-0")
    with pytest.raises(DataError, match=r"0xe9 is not valid ascii[\s\S]*data\.encoding: auto"):
        decode(b"a\xe9", "a.csv", encoding="ascii")


def test_lines_of_json_in_another_encoding_are_left_out_where_that_is_allowed(tmp_path):
    rows = [
        json.dumps({"text": line}, ensure_ascii=False).encode("cp1252" if i == 1 else "utf-8")
        for i, line in enumerate(GERMAN)
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    found = read(tmp_path / "a.jsonl", reading=Reading(lenient=True))
    assert found.columns["text"] == [GERMAN[0], *GERMAN[2:]]
    assert [error.where.rpartition("/")[2] for error in found.unread] == ["a.jsonl line 2"]


def real_texts():
    """Return the texts that are measured: real ones in German, French, Spanish and Chinese, and those above."""

    def texts(name, key):
        with gzip.open(SHARED / "data" / f"multi30k_en_{name}" / "validation.jsonl.gz", "rt") as file:
            return [json.loads(line)[key] for line in file]

    def questions(name):
        with gzip.open(SHARED / "data" / "xquad" / f"xquad.{name}.json.gz", "rt") as file:
            return [q["question"] for a in json.load(file)["data"] for p in a["paragraphs"] for q in p["qas"]]

    german, french = texts("de", "de"), texts("fr", "fr")
    return [
        *((german, each) for each in ("cp1252", "cp850")),
        *((french, each) for each in ("cp1252", "mac_roman")),
        (questions("es"), "cp1252"),
        (questions("zh"), "gb18030"),
        *((RUSSIAN, each) for each in ("cp1251", "koi8_r")),
        *((POLISH, each) for each in ("cp1250", "iso8859_2")),
        (GREEK, "cp1253"),
        *((JAPANESE, each) for each in ("cp932", "euc_jp")),
        (KOREAN, "cp949"),
    ]


def guesses(counts, draws):
    """Return, by the number of rows, how many files were read rightly, wrongly, and refused, and how many charset-normalizer alone reads wrongly."""
    found = {count: [0, 0, 0, 0] for count in counts}
    for lines, encoding in real_texts():
        for count in counts:
            draw = random.Random(0)
            for _ in range(draws):
                raw = table(draw.sample(lines, min(count, len(lines)))).encode(encoding, "ignore")
                try:
                    raw.decode()
                except UnicodeDecodeError:
                    alone = from_bytes(raw, cp_isolation=list(_WRITTEN)).best()
                    found[count][3] += alone is None or str(alone) != raw.decode(encoding)
                    try:
                        found[count][decode(raw, "a.csv").text != raw.decode(encoding)] += 1
                    except DataError:
                        found[count][2] += 1
    return found


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_guesses_of_five_rows_and_more_are_right_or_refused():
    for right, wrong, refused, _ in guesses((5, 20), 3).values():
        assert not wrong and right >= 36 and right + refused == 42


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_a_thousand_guesses():
    found = guesses((1, 2, 3, 5, 10, 20, 50), 12)
    print(found)
    assert sum(wrong for _, wrong, *_ in found.values()) <= 1
    assert sum(right for right, *_ in found.values()) >= 950
    for count in (10, 20, 50):
        assert found[count][1] == 0 and found[count][2] <= 2
