"""Progress: plain lines at a sensible rate, a live display on a terminal."""

import io
import os
import pty
import re

import pytest

from septet.display import Lines, Live, Screen, duration, step_facts
from septet.report import Finding

STEP = {"total": 100, "loss": 0.51234, "lr": 2e-4, "tokens_per_s": 12345.6, "share": 0.61, "left_s": 80}


def test_lines_are_not_more_than_one_every_two_seconds():
    stream, now = io.StringIO(), [0.0]
    listen = Lines(stream, clock=lambda: now[0])
    for step in range(1, 101):
        listen("step", step=step, **STEP)
        now[0] += 0.1
    lines = stream.getvalue().splitlines()
    assert 5 <= len(lines) <= 7
    assert lines[0] == "step 1/100  loss 0.5123 · lr 0.0002 · 12,346 tokens/s · 61% of the ceiling · 1 min 20 s left"
    assert lines[-1].startswith("step 100/100")


def test_lines_show_every_evaluation_finding_and_note():
    stream = io.StringIO()
    listen = Lines(stream, clock=lambda: 0.0)
    for epoch in (1, 2):
        listen(
            "evaluation",
            step=50 * epoch,
            epoch=float(epoch),
            scores={"f1": 0.5 * epoch, "loss": 0.1},
            metric="f1",
            best={"step": 100},
        )
    listen("finding", finding=Finding("data-leak", "warning", "12 rows [sic] repeat.", "drop them"))
    listen("note", text="resumed at step 12")
    listen("stage", name="deploy")
    listen("run", path="runs/x")
    assert stream.getvalue().splitlines() == [
        "evaluation  step 50, epoch 1  f1 0.5000  loss 0.1000",
        "evaluation  step 100, epoch 2  f1 1.0000  loss 0.1000  ← best so far",
        "! data-leak: 12 rows [sic] repeat.",
        "    drop them",
        "resumed at step 12",
        "",
        "deploy",
    ]


def test_progress_is_shown_only_where_it_lasts():
    stream, now = io.StringIO(), [0.0]
    listen = Lines(stream, clock=lambda: now[0])
    for done in range(11):
        listen("progress", what="encode", done=done, total=10)
    assert stream.getvalue() == ""
    for done in range(11):
        listen("progress", what="features", done=done, total=10)
        now[0] += 0.5
    assert stream.getvalue().splitlines() == ["features  4/10", "features  8/10", "features  10/10"]


def test_facts_that_are_unknown_are_left_out():
    assert (
        step_facts({"loss": 123.4, "lr": 0.1, "tokens_per_s": 10, "share": None, "left_s": None})
        == "loss 123.4 · lr 0.1 · 10 tokens/s"
    )


def test_durations():
    assert [duration(s) for s in (0, 8.4, 200, 7500, -1)] == ["0 s", "8 s", "3 min 20 s", "2 h 5 min", "0 s"]


@pytest.fixture
def terminal():
    """Give a stream that is a terminal, and a way to read what it showed."""
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    stream = os.fdopen(slave, "w")
    seen = []

    def read():
        stream.flush()
        os.set_blocking(master, False)
        while True:
            try:
                part = os.read(master, 65536)
            except BlockingIOError:
                break
            if not part:
                break
            seen.append(part)
        return b"".join(seen).decode()

    yield stream, read
    stream.close()
    os.close(master)


def test_a_terminal_gets_the_live_display(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream, read = terminal
    with Screen().progress(stream) as listen:
        listen("stage", name="train")
        listen("evaluation", step=50, epoch=1.0, scores={"f1": 0.75}, metric="f1", best={"step": 50})
        listen("step", step=51, **STEP)
        listen("finding", finding=Finding("data-leak", "blocker", "12 rows [sic] repeat."))
    shown = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read()).split())  # lines wrap at the width of the terminal
    assert "evaluation step 50" in shown
    assert "12 rows [sic] repeat." in shown
    assert "51/100" in shown
    assert "f1 0.7500" in shown
    assert "1 min 20 s left" in shown


def test_no_terminal_gets_lines():
    stream = io.StringIO()
    with Screen().progress(stream) as listen:
        listen("note", text="hello")
    assert stream.getvalue() == "hello\n"


def test_live_bars_end_with_their_stage(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    live = Live(io.StringIO())
    live("progress", what="encode", done=1, total=10)
    assert set(live._bars) == {"encode"}
    live("stage", name="train")
    assert not live._bars
    live("step", step=100, **STEP)
    assert not live._bars
    live.close()


def test_the_screen_remembers_the_run():
    screen = Screen()
    with screen.progress(io.StringIO()) as listen:
        listen("run", path="runs/x")
    assert screen.run == "runs/x"
