"""`python -m bench.planted cleaning`: personal data, label variants, broken encodings, HTML and languages planted into real texts, and what cleaning makes of them.

- `personal`: values of 45 formats, and of 17 that only look personal, one a text of banking77 and ag_news. A value counts as found where its place is told exactly.
- `labels`: a tenth of the labels of a set written in another way; told are the rows that get their own spelling back, and the labels wrongly joined. Slips of one letter are counted apart: they are not looked for.
- `encodings`: texts of several languages written in UTF-8 and read in another encoding, once or twice; told are those that come back exactly, and the whole texts that are changed.
- `html`: texts put into pages, mails and tables; told are those that come back exactly, but for white space.
- `languages`: texts whose language is known, asked for in English: those that leave, those that wrongly leave, agreement with py3langid text by text, and rows a second.
"""

from __future__ import annotations

import csv
import gzip
import html
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.planted_personal import plant
from septet.data.cleaning import personal
from septet.data.cleaning.html import strip_html
from septet.data.cleaning.labels import variants
from septet.data.cleaning.repair import repair

SEED = 20261129
EACH, DECOYS = 100, 200  # texts of a format
ASKED = 2_000  # texts of a set that py3langid itself is asked about
ENCODINGS = ("windows-1252", "latin-1", "windows-1250", "macroman", "cp437", "twice")
CUT = 1_000  # texts of a set in the parts that need no more


def texts_of(shared: Path, name: str) -> list[str]:
    """Return the texts of a set: `ag_news`, `multi30k_en_de:de`, `xquad:zh`."""
    folder, _, column = name.partition(":")
    path = shared / "data" / folder
    if folder == "xquad":
        with gzip.open(path / f"xquad.{column}.json.gz", "rt", encoding="utf-8") as file:
            articles = json.load(file)["data"]
        return [q["question"] for article in articles for part in article["paragraphs"] for q in part["qas"]]
    if column:
        with gzip.open(path / "train.jsonl.gz", "rt", encoding="utf-8") as file:
            return [json.loads(line)[column] for line in file]
    with gzip.open(path / "train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def measure_personal(texts: list[str], *, each: int = EACH, decoys: int = DECOYS) -> dict[str, Any]:
    """Return precision and recall by kind, recall by format, and how often each decoy was taken for something."""
    planted: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    told: Counter[str] = Counter()
    right: Counter[str] = Counter()
    fooled: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for text, what in plant(texts, SEED, each=each, decoys=decoys):
        found = [(kind, span) for kind, spans in personal.find(text).items() for span in spans]
        told.update(kind for kind, _ in found)
        if what.kind is None:
            counted[what.form] += 1
            fooled[what.form] += bool(found)
            continue
        name = f"{what.kind}: {what.form}"
        planted[name] += 1
        if (what.kind, (what.start, what.end)) in found:
            hits[name] += 1
            right[what.kind] += 1
    kinds = {
        kind: {
            "precision": right[kind] / max(1, told[kind]),
            "recall": right[kind] / sum(n for name, n in planted.items() if name.startswith(f"{kind}:")),
            "recall_usual": _share(
                hits,
                planted,
                lambda name, kind=kind: name.startswith(f"{kind}:") and "(" not in name.split(": ")[1][:1],
            ),
        }
        for kind in personal.KINDS
    }
    return {
        "part": "personal",
        "texts": sum(planted.values()) + sum(counted.values()),
        "kinds": kinds,
        "formats": {name: hits[name] / count for name, count in planted.items()},
        "decoys": {form: fooled[form] / count for form, count in counted.items()},
    }


def measure_labels(labels: list[str], name: str, *, rate: float = 0.1) -> dict[str, Any]:
    """Return which rows get their own spelling back."""
    draw = random.Random(SEED)
    ways: dict[str, Callable[[str], str]] = {
        "case": lambda text: draw.choice((text.upper(), text.title(), text.swapcase())),
        "spaces": lambda text: f" {text}  ",
        "separators": lambda text: text.replace("_", draw.choice((" ", "-", "__"))).replace("/", " / "),
        "full stop": lambda text: f"{text}.",
        "slip": lambda text: (
            text[: (at := draw.choice([i for i, c in enumerate(text) if c.isalpha()]))] + text[at + 1 :]
        ),
    }
    written, way_of = list(labels), {}
    for place in draw.sample(range(len(labels)), round(rate * len(labels))):
        way = draw.choice(list(ways))
        made = ways[way](labels[place])
        if made != labels[place]:
            written[place], way_of[place] = made, way
    kept = {form: group[0] for group in variants(dict(Counter(written))) for form in group}
    after = [kept.get(label, label) for label in written]
    by_way = {way: [after[place] == labels[place] for place, its in way_of.items() if its == way] for way in ways}
    wrong = sum(now != true for place, (now, true) in enumerate(zip(after, labels, strict=True)) if place not in way_of)
    joined = [place for place in range(len(labels)) if after[place] != written[place]]
    return {
        "part": "labels",
        "data": name,
        "rows": len(labels),
        "planted": len(way_of),
        "labels_before": len(set(written)),
        "labels_after": len(set(after)),
        "precision": sum(after[place] == labels[place] for place in joined) / max(1, len(joined)),
        "recall": {way: sum(found) / len(found) for way, found in by_way.items() if found},
        "wrongly_changed": wrong,
    }


def measure_encodings(texts: list[str], name: str) -> dict[str, Any]:
    """Return the share of broken texts that come back exactly, by encoding, and of whole ones that are changed."""
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for text in texts:
        if text.isascii() or repair(text) != text:  # nothing breaks in ASCII; what is broken before has no truth
            continue
        for encoding in ENCODINGS:
            broken = _broken(text, encoding)
            if broken is not None:
                found[encoding].append(repair(broken) == text)
    changed = [(text, repair(text)) for text in texts if repair(text) != text]
    began = time.process_time()
    for text in texts:
        repair(text)
    return {
        "part": "encodings",
        "data": name,
        "rows": len(texts),
        "not_ascii": sum(not text.isascii() for text in texts),
        "mended": {encoding: {"rows": len(each), "share": sum(each) / len(each)} for encoding, each in found.items()},
        "whole_changed": len(changed),
        "examples": changed[:3],
        "us_a_row": 1e6 * (time.process_time() - began) / max(1, len(texts)),
    }


def _broken(text: str, encoding: str) -> str | None:
    """Return a text written in UTF-8 and read in another encoding; None where that has no character for a byte."""
    try:
        if encoding == "twice":
            once = text.encode().decode("latin-1")
            return once.encode().decode("latin-1")
        return text.encode().decode(encoding)
    except UnicodeDecodeError:
        return None


PAGES = (
    "<p>{}</p>",
    "<!DOCTYPE html><html><head><style>p {{ color: red }}</style></head><body><p class='x'>{}</p></body></html>",
    '<div id="a"><a href="https://example.com/?q=1&amp;r=2">{}</a><br/></div>',
    "<table><tr><td>{}</td></tr></table>",
    "<!-- a note --><b>{}</b><script>var x = 1 < 2;</script>",
    "<ul>\n<li>{}</li>\n</ul>",
)


def measure_html(texts: list[str], name: str) -> dict[str, Any]:
    """Return the share of texts that come back out of a page, but for white space, and of plain ones that are changed."""
    draw = random.Random(SEED)
    back = [
        " ".join(strip_html(draw.choice(PAGES).format(html.escape(text))).split()) == " ".join(text.split())
        for text in texts
    ]
    return {
        "part": "html",
        "data": name,
        "rows": len(texts),
        "exact": sum(back) / len(back),
        "plain_changed": sum(strip_html(text) != text for text in texts),
    }


def measure_language(texts: list[str], name: str, languages: Any, reference: Any) -> dict[str, Any]:
    """Return which rows leave when English is asked for, and agreement with py3langid."""
    began, spent = time.monotonic(), time.process_time()
    told = languages.tell(texts, ["en"])
    seconds, spent = time.monotonic() - began, time.process_time() - spent
    asked = range(0, len(texts), max(1, len(texts) // ASKED))
    same = [reference.classify(texts[place])[0] == told.codes[place] for place in asked]
    dropped = [place for place in range(len(texts)) if told.others[place]]
    return {
        "part": "languages",
        "data": name,
        "rows": len(texts),
        "leave": len(dropped) / len(texts),
        "languages": dict(Counter(told.codes[dropped].tolist()).most_common(4)),
        "unsure": float(((told.codes != "en") & ~told.others).mean()),
        "agreement": sum(same) / len(same),
        "asked": len(same),
        "rows_a_second": len(texts) / max(1e-9, seconds),
        "cpu_us_a_row": 1e6 * spent / len(texts),
    }


def records(shared: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return the records of the parts named."""
    found: list[dict[str, Any]] = []
    if "personal" in names:
        found.append(measure_personal([text for name in ("banking77", "ag_news") for text in texts_of(shared, name)]))
    if "labels" in names:
        for name in ("banking77", "ag_news"):
            with gzip.open(shared / "data" / name / "train.csv.gz", "rt", encoding="utf-8", newline="") as file:
                found.append(measure_labels([row["label"] for row in csv.DictReader(file)], name))
    if "encodings" in names:
        for name in ("multi30k_en_de:de", "multi30k_en_fr:fr", "xquad:es", "xquad:zh", "tweet_sentiment"):
            texts = [text for text in texts_of(shared, name) if not text.isascii()]
            found.append(measure_encodings(texts[:CUT], name))
    if "html" in names:
        found += [
            measure_html(texts_of(shared, name)[:CUT], name) for name in ("banking77", "ag_news", "multi30k_en_fr:fr")
        ]
    if "languages" in names:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        from septet.data.cleaning.language import Languages

        languages, reference = Languages(), LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        english = ("tweet_sentiment", "banking77", "ag_news", "sst2", "multi30k_en_de:en", "xquad:en")
        for name in (*english, "multi30k_en_de:de", "multi30k_en_fr:fr", "xquad:es", "xquad:de", "xquad:zh"):
            found.append(measure_language(texts_of(shared, name), name, languages, reference))
    for each in found:
        print(json.dumps(each, ensure_ascii=False), flush=True)
    return found


def _share(hits: Counter[str], planted: Counter[str], wanted: Callable[[str], bool]) -> float:
    names = [name for name in planted if wanted(name)]
    return sum(hits[name] for name in names) / max(1, sum(planted[name] for name in names))
