"""Write the reference: `python docs/build.py` makes docs/reference/*.md from the code.

`pages()` returns every page as text; the test of the docs compares them with the files, so a page that is out of date fails.
The other pages of docs/ are written by hand, reference/run-directory.md among them.
"""

from __future__ import annotations

import ast
import inspect
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

REFERENCE = Path(__file__).parent / "reference"
SOURCE = Path(__file__).parent.parent / "src" / "septet"
COMMAND = "python docs/build.py"
KINDS = ("task", "input", "method", "optimizer", "metric", "baseline", "export", "augmenter")
# backbones the compatibility table is measured on, and a checkpoint of each family
BACKBONES = {
    "bert": "BERT, MiniLM, the starter",
    "roberta": "RoBERTa, XLM-R",
    "distilbert": "DistilBERT",
    "gpt2": "GPT-2",
    "llama": "Llama, Qwen, Mistral",
}
SHAPES = (
    ("one text, one label of a few", "classify", "task: {name: classify, text: body, label: team}"),
    ("two texts, one label of a few", "classify", "task: {name: classify, text: [question, answer], label: verdict}"),
    ("a question and its answer", "generate", "task: {name: generate, prompt: question, answer: answer}"),
    ("conversations", "generate", "task: {name: generate, messages: messages}"),
    ("plain text", "pretrain", "task: {name: pretrain}"),
)


def main() -> int:
    """Write the pages that changed; with --check only say which."""
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path])
        sys.stderr.write(f"{'stale' if '--check' in sys.argv else 'wrote'} {path.name}\n")
    return 1 if stale and "--check" in sys.argv else 0


def pages() -> dict[Path, str]:
    """Return every generated page: its path and its text."""
    makers = {
        "recipe": recipe,
        "cli": cli,
        "python": python,
        "parts": parts,
        "errors": errors,
    }
    return {REFERENCE / f"{name}.md": "\n".join([*make(), ""]) for name, make in makers.items()}


# ---- pages ----


def recipe() -> Iterator[str]:
    """Yield the page of a recipe's keys."""
    from septet import registry
    from septet.recipe.schema import SECTIONS, chosen_block

    yield from _head(
        "Recipe",
        "Every key of a recipe. Only `data` and `task` are needed; the rest has a default or is derived, and is "
        "written with its reason to `recipe.yaml` of the run. `septet explain KEY` says the same in a terminal; "
        "`septet schema` prints a JSON schema for editors.",
    )
    yield "Keys are nested (`train: {lr: 1e-4}`) in a file and dotted (`train.lr=1e-4`) on the command line. `auto` is derived when it is"
    yield "needed; `null` means that there is none. `model: NAME` and `method: NAME` stand for `{name: NAME}`. `${VAR}` and `${VAR:-default}`"
    yield "are read from the environment when they are used, and stay as they are in saved files."
    for section, block in SECTIONS.items():
        yield from ("", f"## {section}", "")
        if block is not None:
            yield (block.__doc__ or "").strip().splitlines()[0]
            yield from _keys(block, section)
        else:
            yield f"`name` chooses one; its file brings the other keys. See [parts](parts.md#{section}s)."
            for name in registry.names(section):
                yield from ("", f"### {section}: {name}", "", registry.summary(section, name))
                yield from _keys(chosen_block(section, name), section)


def cli() -> Iterator[str]:
    """Yield the page of the command line."""
    from septet.cli import NUMBERS, STAGES, septet

    yield from _head(
        "Command line", "One verb a stage. Results go to standard output, progress and errors to standard error."
    )
    yield "`DIR` is a run folder or its `model/` folder. `KEY=VALUE` overrides a key of the recipe, `train.lr=1e-4`, and is read as YAML."
    yield "Every verb takes `--json` (one JSON document on standard output) and `--debug` (the traceback of an error)."
    yield "The exit code is 0, or one of those on the page on [errors](errors.md)."
    for stage, verbs in STAGES.items():
        yield from ("", f"## {stage}")
        for verb in verbs:
            command = septet.commands[verb]
            context = click.Context(command, info_name=verb, parent=click.Context(septet, info_name="septet"))
            told = NUMBERS.get(verb, "")
            number = f"Stage{'s' if '-' in told else ''} {told.replace('-', ' to ')}. " if told else ""
            yield from (
                "",
                f"### {verb}",
                "",
                "```",
                " ".join(["septet", verb, *command.collect_usage_pieces(context)]),
                "```",
                "",
            )
            yield f"{number}{(command.help or '').strip()}"
            options = [p for p in command.params if isinstance(p, click.Option) and p.name not in ("json", "debug")]
            if options:
                yield from ("", "| option | meaning |", "|---|---|")
                for option in options:
                    metavar = "" if option.is_flag else f" {option.metavar}"
                    yield f"| `{', '.join(option.opts)}{metavar}` | {_cell(option.help or '')} |"


def python() -> Iterator[str]:
    """Yield the page of the Python interface."""
    from septet import api

    yield from _head("Python", "`import septet`: the verbs of the command line as functions, under the same names.")
    for paragraph in (inspect.getdoc(api) or "").split("\n\n")[2:]:
        yield paragraph.replace("\n", " ")
    for name, function in inspect.getmembers(api, inspect.isfunction):
        if function.__module__ == api.__name__ and not name.startswith("_") and name != "tables":
            text = inspect.getdoc(function) or ""
            summary, _, rest = text.partition("\n\n")
            yield from (
                "",
                f"## septet.{name}",
                "",
                "```python",
                _signature(name, function),
                "```",
                "",
                " ".join(summary.split()),
            )
            if rest:
                yield from ("", "```text", rest, "```")
    yield from (
        "",
        "## Predictor",
        "",
        "What `septet.load` returns. `predictor.predict(rows)` takes texts or rows (dicts with the task's text columns) and returns one",
        "`Prediction` a row, in order: `value` (the label), `scores` (label to probability), `tokens`, `truncated`, `to_json()`.",
    )


def parts() -> Iterator[str]:
    """Yield the page of tasks, methods, metrics …"""
    from septet import registry

    yield from _head(
        "Parts",
        "Tasks, inputs, methods, optimizers, metrics, baselines and exports. A file is a part and its name is the registered name; "
        "`septet list KIND` prints these tables. [Your own part](../how-to/your-own-part.md) is one more file.",
    )
    yield from (
        "## From data to metric",
        "",
        "| your data | task | methods | primary metric | other metrics |",
        "|---|---|---|---|---|",
    )
    methods = ", ".join(f"`{name}`" for name in registry.names("method"))
    for shape, task, example in SHAPES:
        found = registry.part("task", task)
        others = ", ".join(f"`{name}`" for name in found.metrics if name != found.primary)
        yield f"| {shape}: `{example}` | `{task}` | {methods} | `{found.primary}` | {others} |"
    for kind in KINDS:
        yield from (
            "",
            f"## {kind}s",
            "",
            "| name | what it is |" if kind != "metric" else "| name | what it is | of | range | better |",
        )
        yield "|---|---|" if kind != "metric" else "|---|---|---|---|---|"
        for name in registry.names(kind):
            extra = ""
            if kind == "metric":
                function = registry.part(kind, name)
                low, high = function.range
                extra = (
                    f" {function.of} | {low:g} to {'∞' if high == float('inf') else f'{high:g}'} | {function.better} |"
                )
            yield f"| `{name}` | {_cell(registry.summary(kind, name))} |{extra}"
    yield from ("", "A metric is of `choices` among labels or of generated `texts`.")
    yield "Any of `precision`, `recall` and `f1` is also there for one label: `f1[refund]`."
    yield from _limits()
    yield from _defaults()
    yield from _compatibility()


def errors() -> Iterator[str]:
    """Yield the page of exit codes and errors."""
    from septet import errors as tree

    yield from _head(
        "Errors and exit codes",
        "An error says what is wrong, where, what was received, and what to try. With `--json` it is one JSON document.",
    )
    yield from (
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        "| 0 | fine |",
        "| 1 | failed: the machine said no, or a defect of ours |",
        "| 2 | wrong usage: the command line, the recipe, a missing file or folder |",
        "| 3 | a check found blockers: the data or the model cannot be used, or `monitor` found drift |",
        "| 129, 130, 143 | ended by SIGHUP, SIGINT (Ctrl-C) or SIGTERM; the update is finished and committed, and the run can be resumed |",
    )
    yield from ("", "## Errors", "", "| error | exit code | meaning |", "|---|---|---|")
    for name, found in vars(tree).items():
        if inspect.isclass(found) and issubclass(found, tree.SeptetError) and name not in ("SeptetError", "Problems"):
            yield f"| `{name}` | {found.exit_code} | {_cell((found.__doc__ or '').strip().splitlines()[0])} |"
    yield from (
        "",
        "Several problems of one recipe or data set are told together. Anything else is a defect of Septet: run again with `--debug` and report it.",
        "",
        "## What the server answers",
        "",
        'Every refusal is `{"error": {"code", "message", "param"}}`.',
        "",
        "| status | code |",
        "|---|---|",
    )
    yield from (f"| {status} | `{code}` |" for status, code in sorted(_refusals()))
    yield from ("", "What checks find has names of its own: [findings](../findings.md).")


# ---- pieces ----


def _limits() -> Iterator[str]:
    """Yield the kinds of limit that `adherence` checks."""
    import json

    from septet.metrics.adhere import LIMIT_KINDS

    yield from (
        "",
        "## limits",
        "",
        "What `adherence` checks: an object a row, in the column `task.limits`. `adherence[mention]` is of one kind. An answer without a word keeps none.",
        "",
        "| kind | an example | kept by |",
        "|---|---|---|",
    )
    for name, kind in LIMIT_KINDS.items():
        yield f"| `{name}` | `{json.dumps({name: kind.example})}` | {_cell(kind.keeps.__doc__ or '')} |"
    yield from (
        "",
        "A count is a number, exact, or an object with `min` and `max`. The rules are for languages with spaces and full stops, the word lists of `register` for English",
        "(`metrics/_wording.py`). They see words, not sense: a tone, or whether an answer is true, takes a reader.",
    )


def _head(title: str, text: str) -> Iterator[str]:
    yield from (f"<!-- made by {COMMAND}; do not edit -->", f"# {title}", "", text, "")


def _keys(block: Any, prefix: str) -> Iterator[str]:
    from septet.recipe.explain import _default
    from septet.recipe.schema import leaves, nested, why_of
    from septet.recipe.words import expected

    rows = [(path, field) for path, field in leaves(block, prefix) if path not in ("task.name", "method.name")]
    if not rows:
        return
    yield from ("", "| key | meaning | takes | default | why |", "|---|---|---|---|---|")
    for path, field in rows:
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        unit = str(extra.get("unit", ""))
        meaning = (field.description or "").replace(f" Unit: {unit}.", "")
        takes = "a block" if nested(field) is not None else expected(field) + (f" ({unit})" if unit else "")
        default = (
            "see its keys"
            if nested(field) is not None and not _default(field).startswith("null")
            else f"`{_default(field)}`"
        )
        default = default.strip("`") if default == "`required`" else default
        yield f"| `{path}` | {_cell(meaning)} | {_cell(takes)} | {_cell(default)} | {_cell(why_of(field))} |"


def _defaults() -> Iterator[str]:
    from septet import registry

    yield from (
        "",
        "## Learning rates",
        "",
        "`train.lr` when the recipe leaves it open; it is scaled by 768 / hidden size, at most twice.",
        "",
        "| method | rate | why |",
        "|---|---|---|",
    )
    for name in registry.names("method"):
        method = registry.part("method", name)
        yield f"| `{name}` | {method.lr:g} | {_cell(method.why)} |"


def _compatibility() -> Iterator[str]:
    """Yield the table of methods and backbones, from what each method refuses on a small model of the family."""
    from transformers import AutoModelForSequenceClassification

    from septet import registry
    from septet.model.load import silent
    from septet.testing.tiny import checkpoint

    methods = registry.names("method")
    yield from (
        "",
        "## Methods and models",
        "",
        "What `check` and `train` accept, asked of each method on a small model of the family. A word instead of *yes* is the finding that",
        "stops the run.",
        "",
        f"| model | {' | '.join(f'`{name}`' for name in methods)} |",
        f"|---|{'---|' * len(methods)}",
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind, family in BACKBONES.items():
            place = checkpoint(Path(folder) / kind, ["one two three"], kind=kind)
            cells = []
            for name in methods:
                with silent():
                    model = AutoModelForSequenceClassification.from_pretrained(place, num_labels=2)
                refused = registry.part("method", name)().refuses(model)
                cells.append("yes" if refused is None else f"`{refused.slug}`")
            yield f"| {family} | {' | '.join(cells)} |"


def _refusals() -> set[tuple[int, str]]:
    """Return the status and code of every `Refusal(…)` that the server's code makes."""
    found = set()
    for path in sorted((SOURCE / "server").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
                "Refusal",
                "_end",
            ):
                values = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
                if len(values) == 2 and isinstance(values[0], int):
                    found.add((values[0], str(values[1])))
    return found


def _signature(name: str, function: Any) -> str:
    """Return a call with the annotations as written, without the address of the default listener; one parameter a line."""
    shown = []
    for each in inspect.signature(function).parameters.values():
        default = (
            ""
            if each.default is inspect.Parameter.empty
            else f" = {'quiet' if callable(each.default) else repr(each.default)}"
        )
        if (
            each.kind is inspect.Parameter.KEYWORD_ONLY
            and "*" not in shown
            and not any(s.startswith("*") for s in shown)
        ):
            shown.append("*")
        mark = "*" if each.kind is inspect.Parameter.VAR_POSITIONAL else ""
        shown.append(f"{mark}{each.name}: {each.annotation}{default}")
    returned = inspect.signature(function).return_annotation
    return f"septet.{name}(\n" + "".join(f"    {each},\n" for each in shown) + f") -> {returned}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
