"""Signals are noted where work must be finished, obeyed at once elsewhere, and left alone where they are not ours."""

import builtins
import os
import signal
import threading

import pytest

from septet.interrupt import Interrupted, again, check, during, given_up, held, watched


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def python_owns_the_signals():
    """A shell that put pytest into the background had SIGINT ignored, and that is inherited."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_an_exception_with_its_exit_code(number, code):
    with pytest.raises(Interrupted) as caught, watched():
        send(number)
    assert caught.value.exit_code == code
    assert not caught.value.at_once
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "what was there before is there again"


def test_held_work_is_finished_first():
    done, heard = [], []
    with pytest.raises(Interrupted), watched(heard.append), held():
        for step in range(5):
            done.append(step)
            if step == 2:
                send()
            done.append("end")
            check()
    assert done == [0, "end", 1, "end", 2, "end"]
    assert heard == ["SIGTERM"]


def test_a_signal_after_the_last_check_is_not_lost():
    with pytest.raises(Interrupted), watched(), held():
        send()


def test_what_may_be_given_up_is():
    reached = []
    with pytest.raises(Interrupted), watched(), held(), given_up():
        send()
        reached.append("behind")
    assert reached == []
    with pytest.raises(Interrupted), watched(), held():
        send()
        reached.append("before")
        with given_up():
            reached.append("within")
    assert reached == ["before"]


def test_the_second_signal_ends_at_once_and_a_third_is_the_systems():
    with watched():
        with pytest.raises(Interrupted) as caught, held():
            send(signal.SIGINT)
            send(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert caught.value.at_once
    assert caught.value.exit_code == 143


def test_a_command_goes_on_with_other_options():
    args = ["predict", "runs/x", "a.csv", "--out=answers.csv", "--skip", "5", "--json"]
    goes_on = {"--skip": "1029", "-o": "answers.from-1029.csv"}
    told = "septet predict runs/x a.csv --json --skip 1029 -o answers.from-1029.csv"
    assert again(args, None, goes_on) == told
    assert again(["predict", "runs/x", "-o", "answers.csv", "a.csv", "--json"], None, goes_on) == told


def test_an_inner_watch_is_the_outer_one():
    heard = []
    with pytest.raises(Interrupted), watched(heard.append), watched(), held():
        send()
    assert heard == ["SIGTERM"]


def test_handlers_of_the_program_and_ignored_signals_stay(monkeypatch):
    own = []
    signal.signal(signal.SIGTERM, lambda *_: own.append("term"))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with watched():
        send(signal.SIGTERM)
        send(signal.SIGHUP)
    assert own == ["term"]


def test_signals_are_left_alone_in_a_notebook_and_in_other_threads(monkeypatch):
    seen = []

    def look():
        with watched():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    look()
    assert seen == [signal.SIG_DFL, signal.SIG_DFL]


def test_a_forked_process_dies_as_it_would_have():
    with watched(), held():
        pid = os.fork()
        if pid == 0:
            send()
            os._exit(7)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("stage", "step", "says"),
    [
        (None, None, "SIGTERM came before an update was made; nothing is lost."),
        (None, 0, "SIGTERM came; no update is committed yet."),
        (None, 1200, "SIGTERM came; update 1,200 is committed."),
        (
            "evaluate",
            None,
            "SIGTERM came during evaluate, which begins anew when it is run again; what was finished before is kept.",
        ),
    ],
)
def test_it_says_what_was_stopped(stage, step, says):
    stop = Interrupted(signal.SIGTERM)
    stop.stage, stop.step = stage, step
    assert str(stop) == says


def test_the_innermost_stage_is_the_one_that_was_stopped():
    with pytest.raises(Interrupted) as caught, watched(), during("run"), during("evaluate"):
        send()
    assert caught.value.stage == "evaluate"
    assert (caught.value.exit_code, caught.value.facts()["resumable"]) == (143, True)


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (["train", "r.yaml"], "septet train r.yaml --run {} --resume"),
        (
            ["run", "r.yaml", "train.lr=1e-4", "--run", "x", "--json"],
            "septet run r.yaml train.lr=1e-4 --json --run {} --resume",
        ),
        (["train", "a b.yaml", "--run=x", "--resume"], "septet train 'a b.yaml' --run {} --resume"),
        (["--debug", "train", "r.yaml"], "septet --debug train r.yaml --run {} --resume"),
    ],
)
def test_the_command_that_goes_on_is_exact(tmp_path, args, command):
    assert again(args, str(tmp_path)) == command.format(tmp_path).removesuffix(" --resume"), "nothing was trained yet"
    (tmp_path / "steps.jsonl").touch()
    assert again(args, str(tmp_path)) == command.format(tmp_path)


def test_the_command_that_does_a_stage_again_is_the_one_that_was_given(tmp_path):
    assert again(["evaluate", "runs/a b"], None) == "septet evaluate 'runs/a b'"
    (tmp_path / "steps.jsonl").touch()
    # these know no --resume
    assert again(["prepare", "r.yaml"], str(tmp_path)) == f"septet prepare r.yaml --run {tmp_path}"
    assert again(["check", "--run", "x", "r.yaml"], str(tmp_path)) == f"septet check r.yaml --run {tmp_path}"
