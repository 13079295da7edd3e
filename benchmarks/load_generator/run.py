"""The open loop: requests leave when they are due, over a fixed number of keep-alive connections."""

import asyncio
import gc
import select
import selectors
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

import numpy as np

from load_generator.answers import Answer
from load_generator.connection import Connection, LoadRequest
from load_generator.result import LoadResult, Tally

OnAnswer = Callable[[LoadRequest, int, bytes, float], str | None]
"""Takes a request, the status, the body and the latency in ms; returns what is wrong with the answer, or None."""

_SWEEP_S = 0.05
_RECONNECT_S = 0.02
_GAPS = 4096


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that wakes up within some ten microseconds (Linux).

    asyncio's ordinary one, and uvloop, round every wait up to a whole millisecond, which would be in every latency.
    """
    return asyncio.SelectorEventLoop(_PreciseSelector())


class _PreciseSelector(selectors.EpollSelector):
    """Waits for its own epoll descriptor by `select`, whose timeout counts microseconds where epoll's counts milliseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select((self.fileno(),), (), (), timeout)
            timeout = 0
        return super().select(timeout)


async def run_load(
    host: str,
    port: int,
    requests: Iterable[LoadRequest],
    rate_per_s: float,
    duration_s: float,
    connections: int,
    *,
    on_answer: OnAnswer | None = None,
    generator: np.random.Generator | None = None,
    warm_up_s: float = 0.0,
    timeout_s: float = 10.0,
    headers: Mapping[str, str] | None = None,
) -> LoadResult:
    """Send requests at a rate, whatever becomes of them, and measure each from when it was due.

    Several of these may run side by side in one loop, such as readers and writers. A connection that breaks is made
    again, for as long as it takes; what was under way on it has failed, and is never sent twice.

    Args:
        host: Where the server listens.
        port: Its port.
        requests: What is sent; taken one at a time when it is due. If it ends early, so does the load.
        rate_per_s: Requests a second.
        duration_s: Seconds in which requests are due and count.
        connections: Connections held open. A request that finds none free waits for one, and that wait counts.
        on_answer: Looks at every answer, those of the warm-up too. It runs between the requests: keep it short.
        generator: Draws exponential times between arrivals (a Poisson process); without it they are evenly spaced.
        warm_up_s: Seconds before that, in which requests are sent and not counted.
        timeout_s: Seconds after it was due in which a request is given up.
        headers: Sent with every request, such as an `Authorization`.

    Raises:
        OSError: If nothing listens there when the load begins.
        ValueError: If a rate, a time or the number of connections is not above 0.
    """
    if min(rate_per_s, duration_s, connections, timeout_s) <= 0 or warm_up_s < 0:
        raise ValueError(
            "rate_per_s, duration_s, connections and timeout_s must be above 0 and warm_up_s at least 0, got "
            f"{rate_per_s}, {duration_s}, {connections}, {timeout_s}, {warm_up_s}"
        )
    load = _Load(
        host,
        port,
        iter(requests),
        _arrivals(rate_per_s, generator),
        warm_up_s=warm_up_s,
        duration_s=duration_s,
        timeout_s=timeout_s,
        on_answer=on_answer,
        headers="".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items()),
    )
    gc.freeze()
    try:
        return await load.run(connections)
    finally:
        gc.unfreeze()


def _arrivals(rate_per_s: float, generator: np.random.Generator | None) -> Iterator[float]:
    """Yield when requests are due, in seconds after the first, without end.

    Not from gap to gap on the machine's clock: whether the last one still counts would hang on its rounding.
    """
    if generator is None:
        yield from (number / rate_per_s for number in count())
    due_s = 0.0
    while generator is not None:
        for gap_s in generator.exponential(1.0 / rate_per_s, _GAPS).tolist():
            yield due_s
            due_s += gap_s


class _Load:
    """One run. Times are of the monotonic clock, in seconds: uvloop's own stands still between two rounds of the loop."""

    def __init__(
        self,
        host: str,
        port: int,
        requests: Iterator[LoadRequest],
        arrivals: Iterator[float],
        *,
        warm_up_s: float,
        duration_s: float,
        timeout_s: float,
        on_answer: OnAnswer | None,
        headers: str,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._host, self._port = host, port
        self._requests, self._arrivals = requests, arrivals
        self._warm_up_s, self._duration_s, self._timeout_s = warm_up_s, duration_s, timeout_s
        self._on_answer = on_answer
        self._head = f"Host: {host}:{port}\r\nContent-Type: application/json\r\n{headers}Content-Length: "
        self._heads: dict[tuple[str, str], str] = {}
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._waiting: deque[tuple[LoadRequest, float, int]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._latency_s, self._status, self._late_s = array("d"), array("h"), array("d")
        self._first_row = 0
        self._outstanding = 0
        self._most_waiting = 0
        self._tally = Tally()
        self._all_due = False
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._began_s = self._due_s = self._after_s = self._last_answer_s = 0.0

    async def run(self, connections: int) -> LoadResult:
        try:
            for _ in range(connections):
                await self._connect()
        except OSError:
            self._done.cancel()
            await self._close()
            raise
        cpu_began_s = time.process_time()
        self._began_s = self._due_s = self._last_answer_s = time.monotonic()
        self._after_s = next(self._arrivals)
        self._loop.call_later(max(self._due_s - time.monotonic(), 0), self._tick)
        sweep = self._loop.call_later(_SWEEP_S, self._sweep)
        try:
            await self._done
        finally:
            self._all_due = True
            sweep.cancel()
            if not self._done.done():
                self._done.cancel()
            await self._close()
        return self._result(time.process_time() - cpu_began_s)

    async def _close(self) -> None:
        """Give all sockets back."""
        tasks = list(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._open:
            connection.drop("over")
        while self._open:
            await asyncio.sleep(0)

    async def _connect(self) -> None:
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._answered, self._lost), self._host, self._port
        )
        self._open.add(connection)
        self._free(connection)

    async def _connect_again(self) -> None:
        while not self._done.done():
            try:
                await self._connect()
            except OSError:
                await asyncio.sleep(_RECONNECT_S)
            else:
                return

    def _tick(self) -> None:
        """Send what is due by now, and come back when the next request is."""
        if self._done.done():
            return
        now_s = time.monotonic()
        end_s = self._warm_up_s + self._duration_s
        self._late_s.append(now_s - self._due_s)
        try:
            while self._due_s <= now_s and self._after_s < end_s:
                request = next(self._requests, None)
                if request is None:
                    end_s = self._after_s
                    break
                self._take(request)
                self._after_s = next(self._arrivals)
                self._due_s = self._began_s + self._after_s
        except Exception as error:  # whoever awaits the load gets it
            self._done.set_exception(error)
            return
        if self._after_s < end_s:
            self._loop.call_later(max(self._due_s - time.monotonic(), 0), self._tick)
        else:
            self._all_due = True
            self._finish_if_empty()

    def _take(self, request: LoadRequest) -> None:
        row = len(self._status)
        if self._after_s < self._warm_up_s:
            self._first_row = row + 1
        self._status.append(0)
        self._latency_s.append(0.0)
        self._outstanding += 1
        asked = (request, self._due_s, row)
        if self._idle:
            self._send(self._idle.popleft(), asked)
        else:
            self._waiting.append(asked)
            self._most_waiting = max(self._most_waiting, len(self._waiting))

    def _send(self, connection: Connection, asked: tuple[LoadRequest, float, int]) -> None:
        request = asked[0]
        head = self._heads.get((request.method, request.path))
        if head is None:
            head = f"{request.method} {request.path} HTTP/1.1\r\n{self._head}"
            self._heads[request.method, request.path] = head
        connection.asked = asked
        connection.send(f"{head}{len(request.body)}\r\n\r\n".encode("ascii"), request.body)

    def _free(self, connection: Connection) -> None:
        """Give a connection its next request, or lay it down behind the others: each is used before the server tires of it."""
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _answered(self, connection: Connection, answer: Answer) -> None:
        now_s = time.monotonic()
        assert connection.asked is not None  # noqa: S101
        request, due_s, row = connection.asked
        connection.asked = None
        self._settle(row, answer.status, now_s - due_s)
        self._last_answer_s = now_s
        if row >= self._first_row:
            self._tally.statuses[answer.status] += 1
        if answer.closes:
            connection.drop("closed")
        else:
            self._free(connection)
        if self._on_answer is not None and not self._done.done():
            try:
                complaint = self._on_answer(request, answer.status, answer.body, (now_s - due_s) * 1e3)
            except Exception as error:  # whoever awaits the load gets it
                self._done.set_exception(error)
                return
            if complaint is not None:
                self._tally.complaints[complaint] += 1
        self._finish_if_empty()

    def _lost(self, connection: Connection, why: str) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.asked is not None and not self._done.done():
            self._give_up(connection.asked, why)
            connection.asked = None
        self._finish_if_empty()
        if not self._done.done():
            task = self._loop.create_task(self._connect_again())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _sweep(self) -> None:
        """Give up what has waited too long."""
        if self._done.done():
            return
        too_old_s = time.monotonic() - self._timeout_s
        while self._waiting and self._waiting[0][1] < too_old_s:
            self._give_up(self._waiting.popleft(), "timeout")
        for connection in list(self._open):
            if connection.asked is not None and connection.asked[1] < too_old_s:
                asked, connection.asked = connection.asked, None
                self._give_up(asked, "timeout")
                connection.drop("timeout")
        self._finish_if_empty()
        self._loop.call_later(_SWEEP_S, self._sweep)

    def _give_up(self, asked: tuple[LoadRequest, float, int], why: str) -> None:
        _, due_s, row = asked
        self._settle(row, 0, time.monotonic() - due_s)
        if row >= self._first_row:
            self._tally.failures[why] += 1

    def _settle(self, row: int, status: int, latency_s: float) -> None:
        self._status[row] = status
        self._latency_s[row] = latency_s
        self._outstanding -= 1

    def _finish_if_empty(self) -> None:
        if self._all_due and not self._outstanding and not self._done.done():
            self._done.set_result(None)

    def _result(self, cpu_s: float) -> LoadResult:
        status_N = np.array(self._status, np.int16)[self._first_row :]
        latency_ms_N = np.array(self._latency_s)[self._first_row :] * 1e3
        counted_from_s = self._began_s + self._warm_up_s
        wall_s = max(self._last_answer_s - self._began_s, 1e-9)
        answered = int((status_N > 0).sum())
        due_s = min(self._due_s - counted_from_s, self._duration_s)
        return LoadResult(
            latency_ms_N=latency_ms_N,
            status_N=status_N,
            statuses=dict(self._tally.statuses),
            failures=dict(self._tally.failures),
            complaints=dict(self._tally.complaints),
            offered_per_s=len(status_N) / due_s if due_s > 0 else 0.0,
            achieved_per_s=answered / max(self._last_answer_s - counted_from_s, due_s, 1e-9),
            late_p99_ms=float(np.percentile(np.array(self._late_s), 99, method="higher")) * 1e3,
            most_waiting=self._most_waiting,
            cpu_s=cpu_s,
            cpu_ms_per_request=cpu_s * 1e3 / max(len(self._status), 1),
            cpu_share=cpu_s / max(time.monotonic() - self._began_s, 1e-9),
            wall_s=wall_s,
        )
