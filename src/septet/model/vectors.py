"""Vectors of texts for comparing and picking rows: by an untouched model where it is on this machine and reads texts, else by TF-IDF.

vectors, how = embed(texts, folder, name="starter", listen=listen)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from septet.errors import SeptetError
from septet.progress import Listen, quiet

WORDS, WIDTH, CHARACTERS = 50_000, 100, 2000  # of TF-IDF: terms, numbers of a vector, characters read of a text


def embed(
    texts: list[tuple[str, ...]], folder: Path | None, *, name: str, listen: Listen = quiet
) -> tuple[np.ndarray, str]:
    """Return (N, H) float32 vectors of texts, and what made them: the model's name, or `TF-IDF`.

    Args:
        texts: the columns of each row; a model reads the first two.
        folder: of the model; None where there is none on this machine.
        name: what the model is called.
    """
    from septet.model.kept import KeptFeatures

    if folder is not None:
        try:
            rows = [text[0] if len(text) == 1 else text[:2] for text in texts]
            return KeptFeatures(folder).encode(rows, listen), name
        except (SeptetError, OSError, ValueError, KeyError) as error:
            listen("note", text=f"rows are compared by TF-IDF: {name} cannot embed ({error})")
    return by_words([" ".join(text) for text in texts]), "TF-IDF"


def by_words(texts: list[str]) -> np.ndarray:
    """Return (N, H) float32 vectors of TF-IDF: of letters within words, which need no language, and of which a text of unseen words still has some."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    least = 2 if len(texts) > 2 else 1
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=least, sublinear_tf=True, max_features=WORDS)
    table = words.fit_transform([text[:CHARACTERS] if text.strip() else "(empty)" for text in texts])
    width = min(WIDTH, min(table.shape) - 1)
    if width < 1:
        return np.asarray(table.todense(), np.float32)
    return TruncatedSVD(width, random_state=0).fit_transform(table).astype(np.float32)
