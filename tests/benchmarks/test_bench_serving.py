"""The benchmark of the server, against a small server that answers exactly or misses a tenth."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bench_serving import main, probed_recall
from load_generator import (
    RunLog,
    ServerError,
    allowed_items,
    candidate_requests,
    fault_of_answer,
    filters_of_share,
    serving,
)
from load_generator.server_process import _family

STAND_IN = Path(__file__).with_name("stand_in_server.py")


@pytest.fixture(scope="session")
def log(run):
    return RunLog.of_run(run)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_filters_let_about_their_share_of_the_catalogue_pass(log, share):
    filters, shares = filters_of_share(log, share, count=5, generator=np.random.default_rng(0))
    passing = [allowed_items(log, each).mean() for each in filters]
    assert passing == pytest.approx(shares)
    assert passing == pytest.approx([share] * 5, rel=0.11)
    assert len({str(each) for each in filters}) == 5


def test_a_share_below_one_item_is_refused(log):
    with pytest.raises(ValueError, match="no advertisers sell"):
        filters_of_share(log, 0.001, count=1, generator=np.random.default_rng(0))


def test_requests_are_those_of_the_log_and_strangers(log):
    mix = candidate_requests(log, np.random.default_rng(0), k=7, at=log.end, debug_share=0.25)
    asked = [next(mix) for _ in range(2000)]
    assert [json.loads(each.body) for each in asked] == [each.about for each in asked]
    bodies = [each.about for each in asked]
    known = {row["user_id"] for row in log.request_R}
    assert np.mean([body["user_id"] in known for body in bodies]) == pytest.approx(0.8, abs=0.04)
    assert np.mean(["debug" in body for body in bodies]) == pytest.approx(0.25, abs=0.04)
    assert {body["surface"] for body in bodies} == {"homefeed", "related", "search"}
    assert all(("subject_item_id" in body) == (body["surface"] == "related") for body in bodies)
    assert all(("query" in body) == (body["surface"] == "search") for body in bodies)
    assert {body["k"] for body in bodies} == {7}


def test_a_share_of_the_requests_is_filtered(log):
    filters = [{"advertisers": {"allow": ["a"]}}]
    mix = candidate_requests(log, np.random.default_rng(0), filters=filters, filtered_share=0.3)
    asked = [next(mix) for _ in range(2000)]
    assert [json.loads(each.body) for each in asked] == [each.about for each in asked]
    assert np.mean(["filters" in each.about for each in asked]) == pytest.approx(0.3, abs=0.04)


def answer_of(*found: tuple[int, float, str], **fields: object) -> dict[str, object]:
    candidates = [{"item_id": item, "score": score, "sources": [source]} for item, score, source in found]
    return {"candidates": candidates, "partial": False, "version": "v", **fields}


@pytest.mark.parametrize(
    ("status", "answer", "fault"),
    [
        (200, answer_of((1, 0.5, "a"), (2, 0.9, "b"), (3, 0.4, "a")), None),
        (200, answer_of((1, 0.5, "a"), partial=True), None),
        (200, answer_of((1, 0.5, "a")), "does not say so"),
        (200, answer_of((1, 0.5, "a"), (1, 0.5, "b"), partial=True), "twice"),
        (200, answer_of((1, 0.5, "a"), (2, 0.6, "a"), partial=True), "not sorted"),
        (200, answer_of((1, 4.0, "a"), (2, 3.0, "a"), (3, 2.0, "a"), (4, 1.0, "a")), "more candidates"),
        (200, answer_of((1, 0.5, "a"), partial=True, version=""), "no version"),
        (503, None, "status 503"),
    ],
)
def test_a_fault_of_an_answer_is_found(status, answer, fault):
    found = fault_of_answer({"k": 3}, status, answer)
    assert found is None if fault is None else fault in found


def test_the_probe_is_read_from_the_metrics():
    page = "# HELP x\nlowerfunnel_ann_recall_probes_count 4.0\nlowerfunnel_ann_recall_probes_sum 3.5\nother_sum 9\n"
    assert probed_recall(page) == (3.5, 4.0)
    assert probed_recall("") == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "recall"), [("exact", 1.0), ("misses", 0.9)])
def test_the_benchmark_measures_what_a_server_does(run, tmp_path, capsys, how, recall):
    results = tmp_path / "serving.jsonl"
    load = ["--rate", "40", "--seconds", "2", "--warm-up", "0.5", "--k", "20", "--shares", "1", "0.1", "--filters", "4"]
    code = main(["--run", str(run), "--results", str(results), *load], command=(sys.executable, str(STAND_IN), how))
    shown = capsys.readouterr().out
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    figure = {(row["config"].split("share ")[1].split(",")[0], row["metric"]): row["value"] for row in rows}
    assert figure["1", "sampled_recall"] == pytest.approx(recall, abs=0.02)
    assert figure["0.1", "sampled_recall"] == pytest.approx(recall, abs=0.02)
    assert figure["0.1", "passing_share"] == pytest.approx(0.1, rel=0.11)
    assert figure["1", "p50_ms"] <= figure["1", "p99_ms"] <= figure["1", "max_ms"]
    assert figure["1", "failed"] == 0
    assert figure["1", "server_rss_mb"] > 100
    assert "mean ms of each stage: search" in shown
    # A short answer says so with the stand-in, so nothing is complained about.
    assert "complaints" not in shown
    assert code == 0


def test_a_server_that_ends_at_once_is_an_error_with_its_words():
    broken = (sys.executable, "-c", "print('no such run'); raise SystemExit(2)")
    with pytest.raises(ServerError, match="no such run"), serving((), command=broken):
        pass


def test_a_server_that_says_nothing_is_ended():
    silent = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(ServerError, match=r"within 0 s|within 1 s"), serving((), command=silent, start_s=0.5):
        pass


def test_a_servers_usage_counts_what_it_has_started_too():
    child = "import time; x = bytearray(80_000_000); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    code = f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {parent!r}])"
    code += "; print('http://127.0.0.1:1', flush=True); c.wait()"
    with serving((), command=(sys.executable, "-c", code), stop_s=5) as server:
        deadline = time.monotonic() + 20
        while (usage := server.usage()).rss_mb < 90 and time.monotonic() < deadline:
            time.sleep(0.05)
        family = _family(server.process.pid)
        assert usage.rss_mb >= 90
        assert usage.peak_rss_mb >= usage.rss_mb - 1
        assert usage.cpu_s > 0
        assert len(family) == 3
        for pid in family[1:]:
            os.kill(pid, signal.SIGKILL)
