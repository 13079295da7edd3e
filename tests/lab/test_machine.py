"""How many runs go side by side."""

import pytest

from lowerfunnel.lab.machine import Machine, share_of

GB = 10**9


@pytest.mark.parametrize(
    ("cores", "free_gb", "runs", "jobs", "run_gb", "on_gpu", "expected"),
    [
        (8, 100, 20, None, None, False, (8, 1)),
        (8, 100, 20, None, 1, False, (8, 1)),
        (8, 10, 20, None, 2, False, (4, 2)),
        (8, 1, 20, None, 2, False, (1, 8)),
        (8, None, 20, None, 2, False, (8, 1)),
        (8, 100, 3, None, 1, False, (3, 2)),
        (8, 100, 20, None, 1, True, (1, 8)),
        (8, 1, 20, 4, 2, True, (4, 2)),
        (2, 100, 20, 16, 1, False, (16, 1)),
        (2, 100, 1, 16, 1, False, (1, 2)),
        (2, 100, 0, None, None, False, (1, 2)),
    ],
)
def test_cores_memory_and_wishes_decide(
    cores: int, free_gb: int | None, runs: int, jobs: int | None, run_gb: int | None, on_gpu: bool, expected: tuple
) -> None:
    machine = Machine(cores=cores, available_bytes=None if free_gb is None else free_gb * GB)
    run_bytes = None if run_gb is None else run_gb * GB
    share = share_of(machine, runs=runs, jobs=jobs, run_bytes=run_bytes, on_gpu=on_gpu)
    assert (share.jobs, share.threads) == expected
    assert share.reason


def test_this_machine_has_a_core() -> None:
    here = Machine.here()
    assert here.cores >= 1
    assert here.available_bytes is None or here.available_bytes > 0
