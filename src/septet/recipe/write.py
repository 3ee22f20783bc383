"""Write recipes: values in YAML that every YAML reader reads the same, each key with its reason.

Floats carry a point (`2.0e-4`) and words that an older YAML takes for something else are quoted, so that tools with
YAML 1.1 rules read the file as Septet does. Passwords in URLs never reach a file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from septet.recipe.scan import scalar
from septet.recipe.schema import absent_word, nested

_PLAIN = re.compile(r"[A-Za-z_./~][A-Za-z0-9_./~+-]*( [A-Za-z0-9_./~+-]+)*")
_OLD_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"}
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/\s:@\"']*):(?P<password>[^/\s\"']+)@")
_SECRET = re.compile(
    r"(?P<name>[?&][\w.-]*(?:token|secret|password|passwd|signature|sig|key|credential)[\w.-]*=)(?P<value>[^&\s\"'#]+)",
    re.IGNORECASE,
)


def flow(value: Any) -> str:
    """Return a value in YAML's one-line form."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(flow(each) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(str(name))}: {flow(each)}' for name, each in value.items())}}}"
    return _text(str(value))


def to_yaml(blocks: Mapping[str, BaseModel], whys: Mapping[str, str], headline: str) -> str:
    """Return a whole recipe as YAML, each key with a `# why:` comment."""
    parts = [f"# {headline}"]
    for section, block in blocks.items():
        parts.append("\n" + "\n".join([f"{section}:", *_block(block, section, "  ", whys)]))
    return "\n".join(parts) + "\n"


def redact(text: str) -> str:
    """Return a text in which the passwords and tokens of URLs are replaced by `***`; `${VAR}` stays."""

    def hide(match: re.Match[str], secret: str, kept: str) -> str:
        return match[0] if match[secret].startswith("${") else kept

    text = _USERINFO.sub(lambda m: hide(m, "password", f"{m['scheme']}{m['user']}:***@"), text)
    return _SECRET.sub(lambda m: hide(m, "value", f"{m['name']}***"), text)


def _block(block: BaseModel, prefix: str, indent: str, whys: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    fields = type(block).model_fields
    for name in sorted(fields, key=lambda each: each != "name" or prefix == "run"):
        field, path, value = fields[name], f"{prefix}.{name}", getattr(block, name)
        if isinstance(value, BaseModel) and nested(field) is not None:
            lines += [f"{indent}{name}:", *_block(value, path, indent + "  ", whys)]
            continue
        why = re.sub(r"\s+", " ", whys.get(path, "")).strip()
        lines.append(
            f"{indent}{name}: {absent_word(field) if value is None else redact(flow(value))}"
            + (f"  # why: {redact(why)}" if why else "")
        )
    return lines


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    if value and abs(value) < 1e-3:
        mantissa, _, exponent = format(Decimal(repr(value)).normalize(), "e").partition("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent)}"
    mantissa, e, exponent = repr(value).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}" if e else mantissa


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _OLD_WORDS and isinstance(scalar(value), str):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m[0]):04x}", quoted)
