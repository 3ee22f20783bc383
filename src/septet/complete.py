"""Shell completion: verbs (by click), recipe files, dotted keys with their values, plug-in names, run folders.

`eval "$(septet completion bash)"`. Everything is read from the schema and the registry; nothing is listed by hand.
"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")
_PARTS = {
    "task.name": "task",
    "method.name": "method",
    "optimizer.name": "optimizer",
    "task": "task",
    "method": "method",
    "optimizer": "optimizer",
    "evaluate.baselines": "baseline",
    "deploy.exports": "export",
    "data.augment.augmenters": "augmenter",
}

# bash adds a blank after each completion; after `key=` the value is still to come
_BASH_LOOP = "COMPREPLY+=($value)"
_BASH_NO_BLANK = "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace"


def script(command: click.Command, shell: str) -> str:
    """Return the completion script of a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"No completion for {shell}.")
    text = found(command, {}, "septet", "_SEPTET_COMPLETE").source()
    return text.replace(_BASH_LOOP, _BASH_NO_BLANK) if shell == "bash" else text


def recipes(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer YAML files, and folders on the way to them."""
    folder, _, start = incomplete.rpartition("/")
    base = Path(folder + "/" if folder or incomplete.startswith("/") else ".")
    if not base.is_dir():
        return []
    found = []
    for path in sorted(base.iterdir()):
        shown = f"{folder}/{path.name}" if "/" in incomplete else path.name
        if path.name.startswith(start) and not (path.name.startswith(".") and not start):
            if path.is_dir():
                found.append(CompletionItem(shown + "/", type="dir"))
            elif path.suffix in (".yaml", ".yml"):
                found.append(CompletionItem(shown))
    return [
        CompletionItem(item.value.rstrip("/"), type="dir") if item.type == "dir" and len(found) == 1 else item
        for item in found
    ]


def folders(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer folders."""
    return [CompletionItem(incomplete, type="dir")]


def files(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer files."""
    return [CompletionItem(incomplete, type="file")]


def kinds(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the kinds of parts."""
    from septet import registry

    return [CompletionItem(kind) for kind in registry.FOLDERS if kind.startswith(incomplete)]


def keys(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the sections and dotted keys of a recipe."""
    from septet.recipe import schema

    every = [*schema.SECTIONS, *schema.keys()]
    return [
        CompletionItem(path)
        for path in every
        if path.startswith(incomplete) and (incomplete or path in schema.SECTIONS)
    ]


def overrides(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer `key=`, and after the sign the key's values."""
    from septet.recipe import schema

    given = [str(each) for each in context.params.get(param.name or "") or ()]
    key, equals, start = incomplete.partition("=")
    if not equals:
        split = _split_by_bash(given)
        if split is not None:
            return [CompletionItem(value) for value in _values(split) if value.startswith(incomplete)]
        paths = [*schema.SHORTHANDS, *schema.keys()]
        return [CompletionItem(f"{path}=", help=_help(path)) for path in paths if path.startswith(incomplete)]
    if not key:  # bash breaks words at the sign
        return [CompletionItem(value) for value in _values(given[-1])] if given else []
    return [CompletionItem(f"{key}={value}") for value in _values(key) if value.startswith(start)]


def _split_by_bash(given: list[str]) -> str | None:
    """Return the key when bash has broken `key=value` into three words."""
    return given[-2] if len(given) >= 2 and given[-1] == "=" else None


def _values(key: str) -> list[str]:
    """Return the values a key can have, where they can be listed."""
    from septet import registry
    from septet.recipe import schema
    from septet.recipe.write import flow

    if key in _PARTS:
        names = registry.names(_PARTS[key])
        return [f"[{name}]" for name in names] if key.endswith("s") else names
    field = schema.keys().get(key)
    if field is None:
        return []
    found: list[str] = []
    for choice in schema.choices(field.annotation):
        if typing.get_origin(choice) is Literal:
            found += map(str, typing.get_args(choice))
        elif choice is bool:
            found += ["true", "false"]
        elif choice is type(None):
            found.append(schema.absent_word(field))
    if field.examples:
        found.append(flow(field.examples[0]))
    return list(dict.fromkeys(found))


def _help(path: str) -> str | None:
    from septet.recipe import schema

    found: Any = schema.keys().get(path)
    return found.description.split(". ")[0] if found is not None and found.description else None
