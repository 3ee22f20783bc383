"""`septet explain train.lr`: what a key means, takes, and defaults to, and why."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from septet import registry
from septet.errors import UsageError
from septet.recipe.foreign import translate
from septet.recipe.schema import CHOSEN, SECTIONS, absent_word, chosen_block, default_of, leaves, nested, why_of
from septet.recipe.validate import nearest
from septet.recipe.words import expected
from septet.recipe.write import flow


def explain(path: str) -> str:
    """Return the meaning of a section or of a dotted key.

    Raises:
        UsageError: a recipe has no such key; the nearest are given.
    """
    section, _, rest = path.strip().partition(".")
    if section not in SECTIONS:
        foreign = translate(section, None, {}) if not rest else None
        if foreign is not None:
            raise UsageError(f"{section} {foreign.what}", hint=foreign.hint)
        raise UsageError(f"A recipe has no section or key {path}.", hint=_near(path, list(SECTIONS), ()))
    blocks = _blocks(section)
    if not rest:
        return "\n\n".join(_section(name, block, section) for name, block in blocks.items())
    if rest in blocks:  # method.lora
        return _section(rest, blocks[rest], section)
    found = [
        (name, field)
        for name, block in blocks.items()
        for each, field in leaves(block, section)
        if each == f"{section}.{rest}"
    ]
    if not found:
        known = [name for block in blocks.values() for name in block.model_fields]
        raise UsageError(f"A recipe has no key {path}.", hint=_near(rest.rsplit(".", 1)[-1], known, (section,)))
    owner, field = found[0]
    inner = nested(field)
    if inner is not None:
        return _section(path, inner, path)
    return _key(path, field, "" if owner == section or len(found) == len(blocks) else f" (of the {section} {owner})")


def _blocks(section: str) -> dict[str, type[BaseModel]]:
    block = SECTIONS[section]
    return (
        {section: block}
        if block is not None
        else {name: chosen_block(section, name) for name in registry.names(section)}
    )


def _section(title: str, block: type[BaseModel], prefix: str) -> str:
    chosen = prefix in CHOSEN
    meaning = registry.summary(prefix, title) if chosen else (block.__doc__ or "").strip().splitlines()[0]
    lines = [f"{prefix}: {title} — {meaning}" if chosen else f"{prefix} — {meaning}"]
    shown = [(path.removeprefix(f"{prefix}."), field) for path, field in leaves(block, prefix) if nested(field) is None]
    shown = [(name, field) for name, field in shown if not (chosen and name == "name")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, field in shown:
        sentence = (field.description or "").split(". ")[0].rstrip(".")
        lines.append(f"  {name:<{width}}  {sentence}. [{_default(field)}]")
    return "\n".join(lines)


def _key(path: str, field: FieldInfo, owner: str) -> str:
    lines = [f"{path}{owner} — {field.description}", f"  takes    {expected(field)}", f"  default  {_default(field)}"]
    if why_of(field) and not field.is_required():
        lines.append(f"  why      {why_of(field)}")
    if field.examples:
        lines.append(f"  example  {path.rsplit('.', 1)[-1]}: {flow(field.examples[0])}")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = default_of(field)
    return absent_word(field) if value is None else flow(value)


def _near(name: str, known: list[str], block: tuple[str, ...]) -> str:
    near = nearest(name, block, known)
    return f"did you mean {' or '.join(near)}?" if near else "septet explain train"
