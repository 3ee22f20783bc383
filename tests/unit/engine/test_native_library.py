"""The library of kernels: compiled once, loaded only where it is whole and nobody else could have written it; and what is told where there is none."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from septet.engine import kernels, native

WHY = native.lacking()
needs_kernels = pytest.mark.skipif(bool(WHY), reason=f"no kernels: {WHY}")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path))
    native._loaded.cache_clear()
    yield monkeypatch
    native._loaded.cache_clear()


def test_without_the_instructions(monkeypatch):
    monkeypatch.setattr(native, "cpu_flags", lambda: ["avx2", "avx512f"])
    assert native.lacking() == "the processor has no avx512_bf16"
    assert kernels.worth(1e15, torch.device("cpu"), "bf16") == (False, "the processor has no avx512_bf16")


def test_without_a_compiler(fresh):
    fresh.setattr(native, "cpu_flags", lambda: list(native.NEEDS))
    fresh.setattr(native.shutil, "which", lambda _name: None)
    assert native.lacking() == "no C++ compiler (g++) is installed"
    finding = kernels.unused(kernels.unfit(torch.device("cpu"), "bf16"))
    assert finding.slug == "kernels-unused" and "no C++ compiler (g++) is installed" in finding.message
    with pytest.raises(RuntimeError, match="no C"):
        native.call("septet_square_sum", torch.ones(4), 4, True)


def test_a_compiler_that_fails(fresh, tmp_path):
    fresh.setattr(native, "cpu_flags", lambda: list(native.NEEDS))
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'kernels.cpp:1: error: no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    fresh.setenv("CXX", str(broken))
    assert native.lacking() == "kernels.cpp:1: error: no such thing"
    assert not (tmp_path / "native").exists()


@pytest.fixture
def compiler(fresh, tmp_path):
    """A compiler that is quick, and notes how often it was asked."""
    script = tmp_path / "with blanks" / "quick"
    script.parent.mkdir()

    def does(*lines):
        script.write_text("\n".join(["#!/bin/sh", '[ "$1" = --version ] && exit', *lines]) + "\n")
        script.chmod(0o755)

    does('while [ "$1" != -o ]; do shift; done', f'echo once >> "{tmp_path}/asked"', 'echo library > "$2"')
    fresh.setenv("CXX", str(script))
    fresh.setattr(native, "cpu_flags", lambda: list(native.NEEDS))
    return SimpleNamespace(does=does, asked=lambda: len((tmp_path / "asked").read_text().splitlines()))


def test_a_library_that_is_not_whole_is_compiled_anew(compiler):
    """Loading one that was cut short would end the process with SIGBUS."""
    kept = native._built()
    whole = kept.read_bytes()
    assert native._built() == kept and compiler.asked() == 1
    for turn, damaged in enumerate((b"", whole[:5], whole[:-1], b"L" + whole[1:]), 2):
        kept.write_bytes(damaged)
        assert native._built() == kept and kept.read_bytes() == whole and compiler.asked() == turn
    assert list(kept.parent.iterdir()) == [kept]


def test_what_a_killed_process_left_is_cleared_away(compiler):
    kept = native._built()
    old, new = (kept.with_name(f"{native.WORK}{name}") for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "half.so").touch()
    os.utime(old, (0, 0))
    kept.unlink()
    assert native._built() == kept
    assert sorted(kept.parent.iterdir()) == sorted([kept, new])  # another may be at work in the new one


def test_what_others_could_have_written_is_not_loaded(compiler, monkeypatch):
    before = os.umask(0)
    try:
        kept = native._built()
    finally:
        os.umask(before)
    assert not any(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (kept, kept.parent))
    kept.chmod(0o770)
    assert native._built() == kept and compiler.asked() == 2
    kept.parent.chmod(0o777)
    assert native.lacking().startswith(f"other users can write {kept.parent}")
    kept.parent.chmod(0o700)
    if os.getuid() == 0:
        os.chown(kept.parent, 4242, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 4242)
    with pytest.raises(OSError, match="other users can write"):
        native._built()


def test_each_processor_and_openmp_has_its_own_library(compiler, monkeypatch):
    names = {native._built().name}
    monkeypatch.setattr(native, "all_cpu_flags", lambda: ["avx512f", "avx512_vbmi2"])
    names.add(native._built().name)
    monkeypatch.setattr(native, "_openmp", lambda: ["/usr/lib/libomp.so.5"])
    names.add(native._built().name)
    assert len(names) == 3


@pytest.mark.parametrize(
    "lines, why",
    [
        (["exit 0"], "makes nothing and says nothing"),
        (["exit 3"], "gives 3 and says nothing"),
        (["printf 'Fehler: unm\\366glich\\n' >&2", "exit 1"], "Fehler: unm\ufffdglich"),
        (
            ["echo 'ld: final link failed: No space left on device' >&2", "echo 'collect2: error: ld' >&2", "exit 1"],
            "ld: final link failed: No space left on device",
        ),
    ],
    ids=["makes-nothing", "silent", "latin-1", "full-disk"],
)
def test_what_a_compiler_says(compiler, tmp_path, lines, why):
    compiler.does(*lines)
    assert native.lacking().endswith(why)
    assert not list((tmp_path / "native").iterdir())


def test_a_compiler_that_does_not_end(compiler, tmp_path, monkeypatch):
    """It is not waited for, nor are the processes that it has started."""
    compiler.does("sleep 9 &", "sleep 9")
    monkeypatch.setattr(native, "LONGEST_S", 1)
    began = time.perf_counter()
    assert native.lacking().endswith("quick took longer than 1 s")
    assert time.perf_counter() - began < 8
    assert not list((tmp_path / "native").iterdir())


def test_the_openmp_of_pytorch_goes_before_that_of_others(tmp_path):
    maps, home = tmp_path / "maps", Path(torch.__file__).parent
    others = "7f00-7f01 r-xp 0 0:1 2    /a b/scikit_learn.libs/libgomp-e985bcbb.so.1.0.0\n"
    for own in (home / "lib" / "libgomp.so.1", home.parent / "torch.libs" / "libgomp-a34b3233.so.1"):
        maps.write_text(f"{others}7f02-7f03 r--p 0 0:1 3    {own}\n")
        assert native._openmp(maps) == [str(own)]
    maps.write_text(others)
    assert native._openmp(maps) == ["/a b/scikit_learn.libs/libgomp-e985bcbb.so.1.0.0"]
    assert native._openmp(tmp_path / "none") == []


@pytest.mark.parametrize(
    "processor, tiles", [("sapphirerapids", True), ("cooperlake", False)], ids=["amx", "avx512-bf16"]
)
def test_it_compiles_for_either_processor(processor, tiles):
    """Also for the one that the tests do not run on; a compiler that does not know it is told of."""
    compiler = shutil.which("g++")
    if platform.machine() != "x86_64" or compiler is None:
        pytest.skip("needs g++ on x86-64")
    source = Path(native.__file__).parent / "attention.cpp"
    command = [compiler, *native.FLAGS, f"-march={processor}", "-S", str(source), "-o", "-"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=native.LONGEST_S)
    if "for ‘-march=’" in made.stderr:
        pytest.skip(f"g++ does not know {processor}")
    assert made.returncode == 0, made.stderr
    assert ("tdpbf16ps" in made.stdout) == tiles and ("vdpbf16ps" in made.stdout) != tiles


@needs_kernels
def test_it_is_compiled_once(fresh, tmp_path):
    assert native.lacking() == ""
    kept = list((tmp_path / "native").iterdir())
    assert [path.suffix for path in kept] == [".so"]
    native._loaded.cache_clear()
    fresh.setattr(native, "LONGEST_S", 0)
    assert native.lacking() == ""
