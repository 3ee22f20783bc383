"""Values from the environment: `${VAR}` and `${VAR:-default}`, replaced when they are used, so that secrets stay out of saved files."""

from __future__ import annotations

import os
import re

from septet.errors import RecipeError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def expand(text: str) -> str:
    """Return a text with `${VAR}` and `${VAR:-default}` replaced from the environment.

    Raises:
        RecipeError: a variable is not set and has no default.
    """
    return VARIABLE.sub(_value, text)


def _value(match: re.Match[str]) -> str:
    name, default = match[1], match[2]
    found = os.environ.get(name) or default
    if found is None:
        raise RecipeError(
            f"The environment variable {name} is not set.",
            where=f"the recipe's {match[0]}",
            hint=f"export {name}=…, or ${{{name}:-default}} in the recipe",
        )
    return found
