"""The recipe: load -> override -> check -> fill -> save. `Recipe` is all that other packages need.

`Block` and `key` are for plug-in files that declare `Options`.
"""

from septet.recipe.block import Block, Problem, key
from septet.recipe.data import MEMORY
from septet.recipe.recipe import Recipe

__all__ = ["MEMORY", "Block", "Problem", "Recipe", "key"]
