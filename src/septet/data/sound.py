"""A recording: what it is known by, and its samples.

Read are WAV, FLAC, Ogg (Vorbis, Opus) and MP3, by `soundfile`. Several channels are averaged to one. What was cut short is found by what the file itself
says of its length: a decoder is content with less.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.data.address import SHOWN, Unreadable, listed, read
from septet.errors import DataError, MissingExtraError
from septet.report import Finding

if TYPE_CHECKING:
    import numpy as np

NAME, SLUG = "recording", "recording-unreadable"
KINDS = {"WAV": "WAV", "WAVEX": "WAV", "RF64": "WAV", "FLAC": "FLAC", "OGG": "OGG", "MP3": "MP3", "MPEG": "MP3"}
LEAST_S, MOST_S = 0.05, 600  # a model hears in frames of 25 ms; ten minutes at 48 kHz are 115 MB
RATES = (2_000, 384_000)  # Hz; below there is no sound to learn from, above no microphone
SILENT = 1e-4  # of full scale: -80 dB, below the noise of a microphone
_BLOCK = 1 << 16
_HEADS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3")


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that can be read: where it lies, what it is known by, and what is told of it; `peak` is a share of full scale."""

    address: str
    sha256: str
    samples: int
    rate: int
    channels: int
    kind: str
    peak: float

    @property
    def milliseconds(self) -> int:
        return math.ceil(1000 * self.samples / self.rate)


def read_whole(address: str) -> Recording:
    """Return what a recording is, decoded once to the end.

    Raises:
        Unreadable: it cannot be read; says why.
    """
    raw = read(address)
    samples, found = _decoded(raw)
    peak = float(abs(samples).max())
    kind = KINDS[found.format]
    return Recording(
        address, hashlib.sha256(raw).hexdigest(), len(samples), found.samplerate, found.channels, kind, peak
    )


def samples_of(address: str, rate: int) -> np.ndarray:
    """Return (T,) float32: the samples of a recording, one channel, so many a second.

    Raises:
        DataError: it is gone, or cannot be read any more.
    """
    try:
        samples, found = _decoded(read(address))
    except Unreadable as error:
        raise _gone(address, error) from None
    return resampled(samples, found.samplerate, rate)


def milliseconds_of(address: str) -> int:
    """Return how long a recording is, by its head.

    Raises:
        DataError: it is gone, or cannot be read any more.
    """
    try:
        raw = read(address)
        with _opened(raw) as file:
            return math.ceil(1000 * file.frames / file.samplerate)
    except Unreadable as error:
        raise _gone(address, error) from None


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return (T,) float32 samples at another rate, by a polyphase filter that lets nothing fold back."""
    if rate == wanted:
        return samples
    import numpy as np
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.ascontiguousarray(resample_poly(samples, wanted // common, rate // common), dtype=np.float32)


def measured(files: Sequence[Recording]) -> dict[str, list[int]]:
    """Return the sizes that a profile tells of recordings."""
    return {"milliseconds": [each.milliseconds for each in files], "sampling rate": [each.rate for each in files]}


def told(files: Sequence[Recording]) -> list[Finding]:
    """Return what is to be told of recordings that can be read: those without a sound."""
    names = [Path(each.address).name for each in files if each.peak < SILENT]
    if not names:
        return []
    return [
        Finding(
            "recording-silent",
            "warning",
            f"{len(names):,} {'recording is' if len(names) == 1 else 'recordings are'} silent, nowhere louder than -80 dB: {listed(names)}.",
            "remove them unless silence is what their label says",
            {"rows": len(names), "places": names[:SHOWN]},
        )
    ]


def _decoded(raw: bytes) -> tuple[np.ndarray, Any]:
    """Return (T,) float32 samples of one channel, and the open file they are of."""
    import numpy as np

    with _opened(raw) as file:
        _check(file, raw)
        blocks = list(_blocks(file))
    samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    # of an MP3 the length is an estimate
    if len(samples) < file.frames * (0.95 if KINDS[file.format] == "MP3" else 1):
        raise Unreadable("cut short")
    if len(samples) < LEAST_S * file.samplerate:
        raise Unreadable(f"shorter than {LEAST_S} seconds")
    if not np.isfinite(samples).all():
        raise Unreadable("numbers that are not finite")
    return samples, file


@contextlib.contextmanager
def _opened(raw: bytes) -> Iterator[Any]:
    """Open the bytes of a recording; what its decoder says of them, within too, is why it cannot be read."""
    try:
        import soundfile
    except (ImportError, OSError):  # without its library it cannot be imported either
        raise MissingExtraError("soundfile", "audio", "Reading recordings") from None
    try:
        with soundfile.SoundFile(_Bytes(raw)) as file:
            yield file
    except soundfile.LibsndfileError:
        raise Unreadable("a damaged recording" if raw.startswith(_HEADS) else "no recording") from None


def _gone(address: str, reason: Unreadable) -> DataError:
    return DataError(f"The recording cannot be read: {reason}.", where=address)


class _Bytes(io.BytesIO):
    """Bytes that a decoder may seek in as the head of a damaged file says: to places that are not there."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:  # soundfile would print it, from a callback
            return self.tell()


def _check(file: Any, raw: bytes) -> None:
    """Refuse what is no recording as read here, by what its head says."""
    if file.format not in KINDS:
        raise Unreadable("no WAV, FLAC, Ogg or MP3")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise Unreadable(f"a sampling rate of {file.samplerate:,} Hz")
    if _is_cut(raw):
        raise Unreadable("cut short")


def _blocks(file: Any) -> Iterator[np.ndarray]:
    """Yield the samples of a file in pieces, of one channel."""
    done, most = 0, MOST_S * file.samplerate
    if KINDS[file.format] != "MP3" and file.frames > most:
        raise Unreadable(f"longer than {MOST_S // 60} minutes")
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        done += len(block)
        if done > most:
            raise Unreadable(f"longer than {MOST_S // 60} minutes")
        yield block[:, 0] if block.shape[1] == 1 else block.mean(1)


def _is_cut(raw: bytes) -> bool:
    """Whether a WAV's samples, or the last page of an Ogg, are fewer bytes than their head says."""
    if raw.startswith(b"RIFF"):
        at = 12
        while at + 8 <= len(raw):
            size = int.from_bytes(raw[at + 4 : at + 8], "little")
            if raw[at : at + 4] == b"data":
                # a writer that never came to the end leaves 0 or the largest size there is
                return at + 8 + size > len(raw) and size < 0xFFFFFF00
            at += 8 + size + size % 2
    if raw.startswith(b"OggS"):
        at = raw.rfind(b"OggS")
        segments = raw[at + 27 : at + 27 + raw[at + 26]] if at + 26 < len(raw) else b""
        return not segments or at + 27 + len(segments) + sum(segments) > len(raw)
    return False
