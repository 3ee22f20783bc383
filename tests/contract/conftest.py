"""Plug-in files loaded by a test are forgotten after it: artifacts would name them."""

import sys

import pytest

from septet import registry


@pytest.fixture
def forget_code(monkeypatch):
    monkeypatch.setattr(registry, "_codes", {})
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()
    for name in [n for n in sys.modules if n.startswith("septet_code_")]:
        del sys.modules[name]
