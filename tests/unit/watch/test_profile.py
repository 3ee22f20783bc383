import json

import numpy as np
import pytest

from septet.errors import ModelError
from septet.tasks import Prediction
from septet.watch import profile


def predictions(count, *, embed=True):
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        red = float(rng.random())
        scores = {"red": red, "blue": 1 - red}
        vector = rng.normal(size=8).astype(np.float16) if embed else None
        found.append(Prediction(i, max(scores, key=scores.__getitem__), scores, vector, 10 + i % 5, 3 * (i == 0)))
    return found


def test_what_is_written_is_read(tmp_path):
    given = predictions(40)
    profile.write(tmp_path, given)
    found = profile.read(tmp_path)
    assert found.n == 40
    assert sum(found.labels.values()) == 40
    assert found.tokens[0] == 13
    np.testing.assert_array_equal(found.embeddings, np.stack([p.embedding for p in given]).astype(np.float32))
    facts = json.loads((tmp_path / "profile.json").read_text())
    assert facts["tokens"]["quantiles"]["0.5"] == 12.0
    assert sum(facts["tokens"]["histogram"]["counts"]) == 40
    assert facts["truncated_rows"] == 1
    assert 0.5 <= facts["confidence"]["mean"] <= 1


def test_no_more_than_2000_embeddings_are_kept_and_every_length(tmp_path):
    profile.write(tmp_path, predictions(2100))
    found = profile.read(tmp_path)
    assert (len(found.embeddings), len(found.tokens)) == (2000, 2100)
    assert (tmp_path / "profile.safetensors").stat().st_size < 2000 * 8 * 2 + 2100 * 4 + 500


def test_without_embeddings_the_rest_is_kept(tmp_path):
    profile.write(tmp_path, predictions(5, embed=False))
    assert profile.read(tmp_path).embeddings.shape == (0, 0)


@pytest.mark.parametrize("name", ["profile.json", "profile.safetensors"])
def test_a_damaged_profile_is_named(tmp_path, name):
    profile.write(tmp_path, predictions(5))
    (tmp_path / name).write_bytes(b"\x00damaged")
    with pytest.raises(ModelError, match="profile"):
        profile.read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=r"no profile\.json"):
        profile.read(tmp_path)
