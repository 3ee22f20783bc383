"""Few sizes instead of many: a matrix product of a size that was not seen before is slow on a CPU, as oneDNN writes code for each.

Measured (2 cores with AMX, bf16, 1,400 places by 512 by 8,192): 14 to 53 ms the first time, 8 to 24 ms from then on, with one of 57.
"""

from __future__ import annotations


def filled(count: int, sizes: int, *, least: int = 1) -> int:
    """Return the least of the sizes in use that holds so many; nothing stays nothing.

    Args:
        sizes: how many are in use between two powers of two.
        least: step between two of them.
    """
    if count == 0:
        return 0
    step = max(least, (1 << (count.bit_length() - 1)) // sizes)
    return -(-count // step) * step


def width(longest: int, limit: int | None = None) -> int:
    """Return the places that rows are padded to: one of four widths between two powers of two.

    Args:
        longest: tokens of the longest row.
        limit: places a row may have; None leaves it at its own.
    """
    return max(longest, min(filled(longest, 4, least=4), limit or longest))
