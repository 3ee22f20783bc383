"""Rows that say nearly the same: texts whose vectors have a cosine of at least the threshold, in groups.

Every pair is compared, in blocks of bounded memory: N texts of H dimensions take N * N * H multiplications and no index, 10 seconds for 50,000 on
two cores. Where the vectors come from is `septet.meaning`.
"""

from __future__ import annotations

import numpy as np

from septet.data.near import Near

CELLS = 16_000_000  # of a block of cosines: 64 MB
_LINKS = 4_000_000  # pairs held at once


def near_in_meaning(vectors: np.ndarray, threshold: float) -> Near:
    """Return which texts say nearly what an earlier one says.

    Args:
        vectors: (N, H); one of length 0 resembles none.
        threshold: smallest cosine, above 0 to 1.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    count = len(unit)
    best = np.zeros(count, dtype=np.float32)
    groups, links = np.arange(count), [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    step = max(1, CELLS // max(1, count))
    for start in range(0, count, step):
        end = min(count, start + step)
        cosines = unit[start:end] @ unit[:end].T
        cosines[np.arange(start, end)[:, None] <= np.arange(end)] = -1.0  # with those before it only
        # the last digits of a product depend on how it is cut into blocks
        ones, others = np.nonzero(cosines >= threshold - 1e-6)
        for place in (ones + start, others):  # a later text may be what joins two
            np.maximum.at(best, place, cosines[ones, others])
        links.append((ones + start, others))
        if sum(len(each) for each, _ in links) > _LINKS:
            groups = _joined(groups, links)
            links = links[:1]
    groups = _joined(groups, links)
    return Near(groups, np.where(groups == np.arange(count), 0, np.minimum(best, 1)).astype(np.float32))


def _joined(groups: np.ndarray, links: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return (N,) the first text of each one's group, after joining those that are linked."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(groups)
    ones, others = (np.concatenate(each) for each in zip((np.arange(count), groups), *links, strict=True))
    graph = coo_matrix((np.ones(len(ones), dtype=bool), (ones, others)), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    firsts = np.full(count, count, dtype=np.int64)
    np.minimum.at(firsts, part, np.arange(count))
    return firsts[part]
