"""NumPy: `.npy`, one array, and `.npz`, several of equal length, as the columns of a table.

    X (683, 9), y (683,)  ->  columns X0 … X8, y

An array of two dimensions is a column for each place of its second, named after the array; of a `.npy` after the file. A structured array has its fields. NaN and
NaT are missing values. No byte is unpacked or trusted before its size is known: a header that promises more, or less, than the file holds is damage.
Left out: arrays of Python objects, which are pickles and can run code; single values; three dimensions and more; complex numbers and spans of time.
"""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from septet.data import archive
from septet.errors import DataError

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"\x93NUMPY"
MOST_COLUMNS = 10_000
LONGEST_HEADER = 1 << 20  # bytes; that of a thousand named fields has 30,000
_NAME_AT = 30  # of the first file in a zip, behind its size at 26
_ENDING = ".npy"


def is_arrays(raw: bytes) -> bool:
    """Whether bytes are those of an array, or of a zip that begins with one."""
    if not archive.is_zip(raw) or len(raw) < _NAME_AT:
        return raw.startswith(MAGIC)
    (size,) = struct.unpack_from("<H", raw, 26)
    return raw[_NAME_AT : _NAME_AT + size].endswith(_ENDING.encode())


def parse(raw: bytes, name: str) -> dict[str, list[Any]]:
    """Return the columns of one array, or of several.

    Raises:
        DataError: they are damaged, no columns of one table, of a kind that is not read, or unpack to far more than real data do.
    """
    found: dict[str, list[Any]] = {}
    lengths: dict[str, int] = {}
    for title, content, place in _members(raw, name):
        array = _array(content, place)
        if not array.ndim:
            raise DataError("The array is a single value, no column.", where=place)
        if array.ndim > 2:
            shape = "x".join(map(str, array.shape))
            raise DataError("An array of one or two dimensions was expected.", where=place, received=shape)
        lengths[title] = len(array)
        for column, values in _columns(title, array, place):
            if column in found:
                raise DataError(f"Two arrays give a column {column!r}.", where=place, hint="save one by another name")
            found[column] = values
            _check_count(len(found), place)
    if len(set(lengths.values())) > 1:
        raise DataError(
            "The arrays are of different lengths, so they are no columns of one table.",
            where=name,
            received=", ".join(f"{title}: {length:,}" for title, length in lengths.items()),
        )
    if not any(lengths.values()):
        raise DataError("The file has no rows.", where=name)
    return found


def _members(raw: bytes, name: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield of each array what its columns are called, its bytes, and what messages call it."""
    if not archive.is_archive(raw):
        yield PurePath(name).name.removesuffix(_ENDING), raw, name
        return
    for member in archive.members(raw, name):
        place = f"{name}/{member.name}"
        if not member.name.endswith(_ENDING):
            raise DataError("The file is no array of NumPy.", where=place, hint="data.format: auto, and a name in .zip")
        yield member.name.removesuffix(_ENDING), member.read(), place


def _array(raw: bytes, place: str) -> np.ndarray:
    """Return the array that the bytes of a `.npy` are.

    Source:  the format of numpy.lib.format, versions 1 to 3.
    """
    import numpy as np

    if not raw.startswith(MAGIC):
        raise DataError("The file is no array of NumPy.", where=place)
    try:
        width, form = (2, "<H") if raw[6] == 1 else (4, "<I")
        (size,) = struct.unpack_from(form, raw, 8)
        start = 8 + width + size
        if size > LONGEST_HEADER or start > len(raw):
            raise ValueError("its header is too long")
        header = ast.literal_eval(raw[8 + width : start].decode("utf-8" if raw[6] >= 3 else "latin-1"))
        shape, by_column = header["shape"], header["fortran_order"]
        dtype = np.lib.format.descr_to_dtype(header["descr"])
        if not all(type(each) is int and each >= 0 for each in shape):
            raise ValueError(f"its shape is {shape}")
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, MemoryError, RecursionError, struct.error) as e:
        raise _damaged(place, str(e).splitlines()[0][:100] if str(e) else type(e).__name__) from None
    if dtype.hasobject:
        raise DataError(
            "The array holds Python objects: that is a pickle, which can run code, and is not read.",
            where=place,
            hint="save it as numbers or text: array.astype(float), array.astype(str)",
        )
    count = math.prod(shape)
    given, promised = len(raw) - start, count * dtype.itemsize
    if given != promised:
        what = "is cut short" if given < promised else "goes on behind its end"
        raise _damaged(place, f"it {what}: {promised:,} bytes of values are promised, and there are {given:,}")
    flat = np.frombuffer(raw, dtype, count, start) if promised else np.zeros(count if dtype.itemsize else 0, dtype)
    if len(flat) != count:
        raise DataError("The array holds texts of no length.", where=place)
    return flat.reshape(shape, order="F" if by_column else "C")


def _columns(title: str, array: np.ndarray, place: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield the columns of an array: itself, those of its second dimension, or its fields."""
    if array.dtype.names is not None:
        if array.ndim > 1:
            raise DataError("An array with fields has one dimension.", where=place, received=array.shape)
        for field in array.dtype.names:
            yield from _columns(field, array[field], place)
    elif array.ndim == 1:
        yield title, _values(array, title, place)
    elif array.ndim == 2:
        _check_count(array.shape[1], place)
        for number in range(array.shape[1]):
            yield f"{title}{number}", _values(array[:, number], f"{title}{number}", place)
    else:
        raise DataError(f"The field {title!r} has several dimensions.", where=place, received=array.shape[1:])


def _values(array: np.ndarray, column: str, place: str) -> list[Any]:
    """Return the values of a column as Python has them."""
    import numpy as np

    kind = array.dtype.kind
    if kind in "biuU":
        return array.tolist()
    if kind == "f":
        # the shortest number that is the same at this precision: 0.1 of 32 bits is not 0.10000000149011612
        values = array.tolist() if array.dtype.itemsize == 8 else [float(str(value)) for value in array]
        return [None if value != value else value for value in values]
    if kind == "S":
        try:
            return [value.decode() for value in array.tolist()]
        except UnicodeDecodeError:
            raise DataError(f"Column {column!r} holds bytes that are not text.", where=place) from None
    if kind == "M":
        return [None if value == "NaT" else value for value in np.datetime_as_string(array).tolist()]
    raise DataError(f"Column {column!r} is of a kind that is not read.", where=place, received=str(array.dtype))


def _check_count(count: int, place: str) -> None:
    if count > MOST_COLUMNS:
        raise DataError(f"A table has at most {MOST_COLUMNS:,} columns.", where=place, received=f"{count:,} and more")


def _damaged(place: str, reason: str) -> DataError:
    return DataError(f"The array is damaged or cut short ({reason}).", where=place, hint="copy or download it again")
