"""Shell completion: verbs, recipe files, dotted keys with their values, plug-in names."""

import os
import subprocess
import sys

import pytest

from septet import cli


def complete(words, cword, shell="bash", cwd=None):
    env = os.environ | {"COMP_WORDS": words, "COMP_CWORD": str(cword), "_SEPTET_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "septet"], capture_output=True, text=True, timeout=60, check=False, env=env, cwd=cwd
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion_of_verbs_keys_values_and_files(tmp_path):
    (tmp_path / "recipe.yaml").write_text("data: {}\n")
    (tmp_path / "data.csv").write_text("")
    assert complete("septet tr", 1) == ["train"]
    assert complete("septet train ", 2, cwd=tmp_path) == ["recipe.yaml"]
    assert "train.lr=" in complete("septet train r.yaml train.l", 3)
    assert complete("septet train r.yaml train.schedule=c", 3) == ["train.schedule=cosine", "train.schedule=constant"]
    assert complete("septet train r.yaml train.schedule = co", 5) == ["cosine", "constant"]  # as bash breaks the word
    assert complete("septet train r.yaml method=lo", 3) == ["method=lora"]
    assert complete("septet list me", 2) == ["method", "metric"]
    assert complete("septet explain data.sp", 2)[0] == "data.split"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(capsys, shell):
    with pytest.raises(SystemExit) as caught:
        cli.main(["completion", shell])
    assert caught.value.code == 0
    assert "_SEPTET_COMPLETE" in capsys.readouterr().out


def test_bash_completion_script_is_valid_and_adds_no_blank_after_a_key():
    done = subprocess.run(
        [sys.executable, "-m", "septet", "completion", "bash"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "compopt -o nospace" in done.stdout
    subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True, timeout=20)
