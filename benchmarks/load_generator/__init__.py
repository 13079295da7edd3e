"""An open-loop HTTP load generator in one process: requests leave by the clock, whether or not earlier ones have come back.

    from load_generator import LoadRequest, precise_loop, run_load

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        result = runner.run(run_load("127.0.0.1", 8080, requests, rate_per_s=200, duration_s=60))
    print(result)

Latency counts from the moment at which a request was *due*. A server that stalls for a second is thereby charged for all
requests that would have come in that second, not only for the one that was under way (Gil Tene calls the other way of
measuring "coordinated omission").

**Reading the figures on a busy or small machine.** The generator shares the cores with the server: look at its own share
of a core (`cpu_share`) and at its own lateness (`late_p99_ms`) first. If it was late by a millisecond, so is every
latency it reports, and no server could do better. A p50 is steady within some per cent on any machine; a p99 of 12,000
requests rests on 120 of them, and one stall of the machine of 300 ms (another tenant, a disk) puts 60 of them there: repeat
the run, compare the smallest p99 of three with the smallest p99 of three, and say so. A maximum says something about the
machine. If `achieved_per_s` falls behind the rate that was asked for, the queue grew through the run, and its percentiles say
how long the run was, not how fast the server is: lower the rate. `most_waiting` above zero says that all connections were
in use: give it more, unless the server was stalled.
"""

from load_generator.candidate_mix import (
    RunLog,
    allowed_items,
    candidate_requests,
    fault_of_answer,
    filters_of_share,
)
from load_generator.connection import LoadRequest
from load_generator.result import LoadResult
from load_generator.run import precise_loop, run_load
from load_generator.server_process import ServerError, ServerProcess, Usage, serving
from load_generator.writers import BudgetWriter, EventWriter, ItemWriter

__all__ = [
    "BudgetWriter",
    "EventWriter",
    "ItemWriter",
    "LoadRequest",
    "LoadResult",
    "RunLog",
    "ServerError",
    "ServerProcess",
    "Usage",
    "allowed_items",
    "candidate_requests",
    "fault_of_answer",
    "filters_of_share",
    "precise_loop",
    "run_load",
    "serving",
]
