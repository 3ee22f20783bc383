"""The user's cache folder: where it is, and that what is not whole counts as absent."""

import threading
from pathlib import Path

import pytest

from septet import cache


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_where_it_is(monkeypatch, tmp_path):
    assert cache.folder("measured") == tmp_path / "cache" / "measured"
    monkeypatch.delenv("SEPTET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "septet"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache.folder() == Path.home() / ".cache" / "septet"


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    for name in ("SEPTET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    cache.write("measured", {"a": 1}, {"rate": 2.5})
    assert cache.read("measured", {"a": 1}) is None
    monkeypatch.setenv("SEPTET_CACHE", "~nobody-of-this-name/kept")
    assert cache.folder() == Path.cwd() / "~nobody-of-this-name" / "kept"


def test_what_was_written_is_read(own_folder):
    assert cache.read("measured", {"a": 1}) is None
    assert not own_folder.exists(), "reading makes no folder"
    cache.write("measured", {"a": 1}, {"rate": 2.5})
    assert cache.read("measured", {"a": 1}) == {"rate": 2.5}
    assert cache.read("measured", {"a": 2}) is None
    assert cache.read("other", {"a": 1}) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"facts": {"a": 2}, "value": {}}', '{"facts": {"a": 1}, "value": 3}', "\udc80"]
)
def test_a_damaged_entry_counts_as_absent(text):
    cache.write("measured", {"a": 1}, {"rate": 2.5})
    cache.entry("measured", {"a": 1}).write_bytes(text.encode(errors="surrogateescape"))
    assert cache.read("measured", {"a": 1}) is None


def test_a_folder_that_cannot_be_written_keeps_nothing(own_folder):
    own_folder.write_text("a file where the folder would be")
    cache.write("measured", {"a": 1}, {"rate": 2.5})
    assert cache.read("measured", {"a": 1}) is None


def test_two_may_write_at_once(own_folder):
    threads = [threading.Thread(target=cache.write, args=("k", {"a": 1}, {"rate": i})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.read("k", {"a": 1})["rate"] in range(8)
    assert [path.name for path in (own_folder / "k").iterdir()] == [cache.entry("k", {"a": 1}).name]
