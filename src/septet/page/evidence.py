"""The second half of the page, what it rests on: confusion, confidence, mistakes, data, findings, costs, environment, recipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from septet.page import charts, words
from septet.page.data import listed
from septet.page.files import Files
from septet.page.html import Html, join, table, tag
from septet.page.matrix import matrix as draw_matrix
from septet.page.report import Story
from septet.timetable import named, products

MOST_LABELS = 100  # a matrix with more would be a grey square
SHOWN_LABELS = 60
CONFUSIONS = 12


def confusion(story: Story) -> Html | None:
    """Return the confusion matrix of each test set, and the confusions that cost most."""
    if story.texts:
        return None
    parts: list[Any] = []
    for split in story.splits("test", "on") or [story.main]:
        counts = story.record["splits"][split]["confusion"]
        labels, note = _shown_labels(story.record["labels"], counts)
        rows = {label: by for label, by in counts.items() if label in labels or label not in story.record["labels"]}
        pairs = sorted(
            ((n, a, b) for a, by in counts.items() for b, n in by.items() if a != b),
            key=lambda item: (-item[0], item[1], item[2]),
        )
        parts.append(tag("h3", split))
        parts.append(
            tag(
                "p",
                f"Labels down, predictions across; a stronger square is a larger share of its row.{note}",
                class_="muted",
            )
        )
        matrix = tag(
            "div",
            draw_matrix(rows, labels, title=f"Confusion matrix on {split}"),
            class_="wide",
            tabindex="0",
            role="group",
            aria_label="confusion matrix",
        )
        listed = [[a, b, f"{n:,}", f"{n / sum(counts[a].values()):.0%}"] for n, a, b in pairs[:CONFUSIONS]]
        top = (
            table(
                ["label", "taken for", "rows", "of the label"],
                listed,
                numeric=(2, 3),
                caption="Most frequent confusions",
            )
            if listed
            else None
        )
        parts.append(tag("div", matrix, top, class_="pair" if len(labels) <= 14 else "stack"))
    return join(parts)


def confidence(story: Story) -> Html | None:
    """Return reliability and the histogram of confidence for each test set."""
    if story.texts:
        return None
    parts: list[Any] = []
    for split in story.splits("test", "on") or [story.main]:
        record = story.record["splits"][split]
        line = story.line(split, "tuned", "calibration_error")
        error = (
            f" Expected calibration error {words.number('calibration_error', line['value'], unit=True)}."
            if line
            else ""
        )
        left = tag(
            "figure",
            charts.reliability(record["reliability"], title=f"Reliability on {split}"),
            tag(
                "figcaption",
                f"Reliability: accuracy by confidence. The dashes are the confidence claimed; strong bars hold more rows.{error}",
            ),
        )
        counts = record["confidence"]
        legend = tag(
            "span",
            tag("span", tag("i", class_="tuned"), "right"),
            tag("span", tag("i", class_="wrong"), "wrong"),
            class_="legend",
        )
        right = tag(
            "figure",
            charts.histogram(counts["right"], counts["wrong"], title=f"Confidence of the answers on {split}"),
            tag("figcaption", "Rows by confidence. ", legend),
        )
        parts += [tag("h3", split), tag("div", left, right, class_="pair")]
    return join(parts)


def mistakes(story: Story) -> Html | None:
    """Return the wrong answers with the highest loss; where rows are files, they are seen or heard as far as there is room."""
    if story.texts:
        return None
    parts: list[Any] = []
    files = Files.of(story.recipe, story.data["columns"].get("media"), others=story.others)
    for split in story.splits("test", "on") or [story.main]:
        found = story.record["splits"][split]["mistakes"]
        if not found:
            parts += [tag("h3", split), tag("p", "No wrong answer.", class_="muted")]
            continue
        rows = [
            [
                _asked(mistake, files),
                mistake["label"],
                mistake["predicted"],
                f"{mistake['confidence']:.1%}",
                f"{mistake['loss']:.2f}",
            ]
            for mistake in found
        ]
        parts.append(
            table(
                [story.data["columns"].get("media") or "text", "label", "predicted", "confidence", "loss"],
                rows,
                numeric=(3, 4),
                caption=f"{split}: the {len(rows)} wrong answers with the highest loss",
                class_="mistakes",
            )
        )
    note = tag(
        "p", "Read them first: confident mistakes are often wrong labels, or labels that overlap.", class_="muted"
    )
    return join([note, parts]) if parts else None


def _asked(mistake: dict[str, Any], files: Files) -> Html:
    """Return what was asked: the text, or the file with its path."""
    shown = [files.show(one) for one in mistake["texts"]] if files.kind else []
    told = [*(tag("p", one) for one in mistake["texts"]), tag("small", f"row {mistake['row']}")]
    return tag("div", shown, tag("div", told, class_="text"), class_="file" if files.kind else None)


def findings(story: Story) -> Html:
    """Return everything the checks found, from the data to the scores."""
    own = story.files.get("setup.json", {}).get("findings", [])
    return listed([*story.data["findings"], *own, *story.record["findings"]])


# shown only where they happened
_GUARDED = {
    "skipped_updates": "updates left out: fp16 overflowed",
    "left_out_updates": "updates left out by train.guard",
    "rollbacks": "returns to an earlier checkpoint",
    "memory_splits": "times micro-batches were halved for memory",
}


def costs(story: Story) -> Html | None:
    """Return time, speed and memory, the estimate beside what the run took, and what the baselines cost."""
    spent = story.files.get("costs.json")
    if spent is None:
        return None
    guess = spent.get("estimate") or {}
    share = spent.get("ceiling_share")
    rows = [
        ["the whole stage", _guess(guess, "total_s", words.duration), words.duration(spent.get("stage_s"))],
        ["updates", _guess(guess, "train_s", words.duration), words.duration(spent.get("train_s"))],
        ["rows a second", _guess(guess, "rows_per_s", lambda v: f"{v:,.0f}"), _count(spent.get("rows_per_s"))],
        ["tokens a second", _guess(guess, "tokens_per_s", lambda v: f"{v:,.0f}"), _count(spent.get("tokens_per_s"))],
        ["share of the measured ceiling", words.NO_VALUE, f"{share:.0%}" if share is not None else words.NO_VALUE],
        ["peak memory", _guess(guess, "memory_bytes", words.size), words.size(spent.get("peak_memory_bytes"))],
        *_of_gpu(guess, spent),
        ["rows seen", words.NO_VALUE, _count(spent.get("rows"))],
        ["tokens seen", words.NO_VALUE, _count(spent.get("tokens"))],
    ]
    rows += [[what, words.NO_VALUE, _count(spent[name])] for name, what in _GUARDED.items() if spent.get(name)]
    baselines = [
        [name, words.duration(facts["fit_s"]), words.duration(facts["answer_s"]), ", ".join(_facts(facts["facts"]))]
        for name, facts in story.record["baselines"].items()
    ]
    if guess:
        tables = [table(["", "estimated", "measured"], rows, numeric=(1, 2), caption="The run")]
    else:
        tables = [table(["", ""], [[what, took] for what, _, took in rows], numeric=(1,), caption="The run")]
    if parts := spent.get("parts_s"):
        tables.append(_time(parts, story.files.get("timing.json")))
    if baselines:
        tables.append(
            table(["baseline", "fitting", "answering", "chosen"], baselines, numeric=(1, 2), caption="The baselines")
        )
    return tag("div", tables, class_="pair")


def _of_gpu(guess: dict[str, Any], spent: dict[str, Any]) -> list[list[str]]:
    """Return the line of the GPU's memory, where there was one."""
    peak = spent.get("peak_gpu_memory_bytes")
    if peak is None:
        return []
    return [["peak memory of the GPU", _guess(guess, "gpu_memory_bytes", words.size), words.size(peak)]]


def _time(parts: dict[str, float], timing: dict[str, Any] | None) -> Html:
    """Return where the time went: by part, and by operator where the run was profiled."""
    whole = sum(parts.values()) or 1.0
    shown: list[Any] = [
        charts.shares({named(part): seconds / whole for part, seconds in parts.items()}, title="Time by part"),
        table(
            ["where the time went", "", "share"],
            [[named(part), words.duration(seconds), f"{seconds / whole:.1%}"] for part, seconds in parts.items()],
            numeric=(1, 2),
            caption="Time by part",
        ),
    ]
    if timing and timing["operators"]:
        first, last = timing["window"][0], timing["window"][-1]
        about = f"Time by operator, updates {first} to {last}"
        shown += [
            charts.shares({each["name"]: each["share"] for each in timing["operators"]}, title=about),
            table(
                ["operators", "ms an update", "share"],
                [[each["name"], f"{each['ms']:,.1f}", f"{each['share']:.1%}"] for each in timing["operators"]],
                numeric=(1, 2),
                caption=about,
            ),
        ]
    if timing and (told := products(timing)):
        shown.append(tag("p", f"Matrix products: {told}.", class_="muted"))
    return tag("div", shown)


def environment(story: Story) -> Html | None:
    """Return the machine and the versions."""
    facts = story.files.get("env.json")
    if facts is None:
        return None
    rows = [[key, value] for key, value in _flat(facts)]
    return tag("details", tag("summary", "Machine and versions"), table(["", ""], rows, caption="Environment"))


def recipe(story: Story) -> Html:
    """Return every value of the resolved recipe with its reason."""
    rows = [[tag("code", path), tag("code", value), why] for path, value, why in _keys(story)]
    chosen = [row for row, (path, _, why) in zip(rows, _keys(story), strict=True) if _worth(path, why)]
    head = ["key", "value", "why"]
    whole = tag("details", tag("summary", f"All {len(rows)} values"), table(head, rows, caption="Resolved recipe"))
    return join([table(head, chosen, caption="What was set, and what was derived for this data and machine"), whole])


def reproduce(story: Story) -> Html:
    """Return the commands that give this run again, and what they depend on."""
    versions = story.files.get("env.json", {}).get("versions", {})
    wanted = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    commands = f"septet train {story.path.name}/recipe.yaml --run again\nseptet evaluate again"
    same = f"The resolved recipe holds every value, so nothing is derived again. Seeds: training {story.recipe.train.seed}, resampling {story.recipe.evaluate.seed}. Prepared data: {story.data['hash']}. "
    exact = (
        f"The same bytes need the same versions ({wanted}), processor and threads ({story.recipe.train.threads})."
        if wanted
        else ""
    )
    return join([tag("pre", commands), tag("p", same, exact, class_="muted")])


def _shown_labels(labels: list[str], counts: dict[str, dict[str, int]]) -> tuple[list[str], str]:
    """Return the labels a matrix shows, and a note when they are not all."""
    if len(labels) <= MOST_LABELS:
        return labels, ""
    wrong = {label: sum(n for other, n in counts.get(label, {}).items() if other != label) for label in labels}
    kept = set(sorted(labels, key=lambda label: -wrong[label])[:SHOWN_LABELS])
    return [
        label for label in labels if label in kept
    ], f" Shown are the {SHOWN_LABELS} of {len(labels):,} labels with the most mistakes."


def _guess(guess: dict[str, Any], key: str, shown: Any) -> str:
    return words.NO_VALUE if guess.get(key) is None else shown(guess[key])


def _count(value: float | None) -> str:
    return words.NO_VALUE if value is None else f"{value:,.0f}"


def _facts(facts: dict[str, Any]) -> Iterator[str]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield f"{key.replace('_', ' ')} " + " · ".join(f"{name}: {100 * v:.1f}" for name, v in value.items())
        else:
            shown = (
                f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if isinstance(value, float) else str(value)
            )
            yield f"{key} {shown}"


def _flat(facts: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        name = f"{above} {key.replace('_', ' ')}".strip()
        if isinstance(value, dict):
            yield from _flat(value, name)
        elif isinstance(value, list):
            yield (
                name,
                ", ".join(" ".join(map(str, item.values())) if isinstance(item, dict) else str(item) for item in value)
                or words.NO_VALUE,
            )
        elif isinstance(value, (int, float)) and ("bytes" in name):
            yield name.replace(" bytes", ""), words.size(value)
        else:
            yield name, words.NO_VALUE if value is None else str(value)


def _keys(story: Story) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []

    def walk(value: Any, path: str) -> None:
        why = story.recipe.whys.get(path)
        if isinstance(value, dict) and why is None and value:
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else key)
        else:
            found.append((path, _value(value), why or ""))

    walk(story.recipe.to_dict(), "")
    return found


def _value(value: Any) -> str:
    """Return a value as a recipe writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return "auto" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _worth(path: str, why: str) -> bool:
    """Whether a value says something about this run: set by the user, or derived from data, model or machine."""
    derived = (
        "task.decode.max_new_tokens",
        "model.max_length",
        "train.lr",
        "train.batch",
        "train.epochs",
        "train.precision",
        "train.metric",
        "train.threads",
        "train.device",
    )
    located = path.startswith("task.") and why == "found in the data"
    return located or why.startswith("set ") or path.startswith(derived)
