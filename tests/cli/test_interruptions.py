"""Killed and interrupted in earnest: a process of its own, signals at random moments."""

import random
import re
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = "import sys; from lowerfunnel.cli.main import main; main()"
# A checkpoint after every step, so that kills in the middle of training are resumed from the middle.
OFTEN = (
    "--set",
    "training.checkpoint_every_s=0.001",
    "--set",
    "training.epochs=6",
    "--set",
    "evaluation.bootstrap=100",
)


def start(*arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    """A run that nobody touched, and how long it took."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    started_s = time.monotonic()
    status, _, err = finish(start("run", tiny, "--out", out, *OFTEN))
    assert status == 0, err
    return out, time.monotonic() - started_s


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_and_started_again_gives_the_same_metrics(seed, uninterrupted, tiny, tmp_path):
    expected, whole_s = uninterrupted
    rng, out = random.Random(seed), tmp_path / "run"  # noqa: S311 - no secret
    for _ in range(40):
        process = start("run", tiny, "--out", out, *OFTEN)
        time.sleep(rng.uniform(0.25, 0.9) * whole_s)  # the first quarter is spent on importing packages
        process.kill()
        status, _, err = finish(process)
        if status == 0:
            break
        assert err == ""
    status, _, err = finish(start("run", tiny, "--out", out, *OFTEN))
    assert status == 0, err
    assert (out / "metrics.json").read_bytes() == (expected / "metrics.json").read_bytes()
    assert (out / "manifest.json").read_bytes() == (expected / "manifest.json").read_bytes()
    assert [path for path in out.rglob("*") if path.name.endswith(".tmp")] == []


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.8, 0.95])
def test_ctrl_c_ends_in_one_sentence(share, uninterrupted, tiny, tmp_path):
    _, whole_s = uninterrupted
    process = start("run", tiny, "--out", tmp_path / "run", *OFTEN)
    time.sleep(share * whole_s)
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    if status == 0:
        pytest.skip("the run was over before the signal")
    assert status == 130, err
    assert re.fullmatch(r"stopped; [^\n]*\n", err)


@pytest.mark.slow
def test_of_two_runs_at_once_in_one_folder_the_second_is_refused(uninterrupted, tiny, tmp_path):
    expected, _ = uninterrupted
    out = tmp_path / "run"
    first = start("run", tiny, "--out", out, *OFTEN)
    while not (out / "run.json").exists():
        time.sleep(0.01)
    status, _, err = finish(start("run", tiny, "--out", out, *OFTEN, "--seed", 5))
    assert status == 1
    assert re.fullmatch(r"error: another process is at work in [^\n]*\n", err)
    assert finish(first)[0] == 0
    assert (out / "metrics.json").read_bytes() == (expected / "metrics.json").read_bytes()


@pytest.mark.slow
def test_whoever_stops_reading_gets_no_traceback(finished):
    for command in (["settings"], ["report", finished], ["--help"]):
        process = start(*command)
        process.stdout.close()
        process.wait(timeout=60)
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()
