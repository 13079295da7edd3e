"""A server as a process of its own: started, waited for, measured, ended."""

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ADDRESS = re.compile(r"http://(127\.0\.0\.1):(\d+)")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LOWERFUNNEL = (sys.executable, "-c", "import sys; from lowerfunnel.cli.main import main; sys.exit(main())")
"""The command `lowerfunnel` of this interpreter."""


class ServerError(RuntimeError):
    """The server did not start, or is not ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a process and its children have taken so far."""

    cpu_s: float
    """CPU time of all that live."""
    rss_mb: float
    """Resident memory of all; pages that they share count for each."""
    peak_rss_mb: float
    """The sum of what each has held at the most."""


class ServerProcess:
    """A server that runs; see `serving`."""

    def __init__(self, process: subprocess.Popen[str], host: str, port: int, lines: deque[str]) -> None:
        self.process, self.host, self.port = process, host, port
        self.lines = lines
        """The last lines that it wrote."""

    def get(self, path: str, *, timeout_s: float = 5.0) -> tuple[int, str]:
        """Return status and body of a GET.

        Raises:
            OSError: If it does not answer.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def wait_until_ready(self, timeout_s: float) -> float:
        """Wait until `/readyz` is good; return the seconds waited.

        Raises:
            ServerError: If it takes longer, or the process ends.
        """
        began_s = time.monotonic()
        said = "nothing"
        while (waited_s := time.monotonic() - began_s) < timeout_s:
            if self.process.poll() is not None:
                raise ServerError(f"the server ended with {self.process.returncode}:\n" + "\n".join(self.lines))
            try:
                status, said = self.get("/readyz")
            except OSError as error:
                said = str(error)
            else:
                if status == 200:
                    return waited_s
            time.sleep(0.05)
        raise ServerError(f"the server was not ready within {timeout_s:.0f} s; /readyz says {said}")

    def usage(self) -> Usage:
        """Return what it has taken until now (Linux)."""
        cpu_s = rss_kb = peak_kb = 0.0
        for pid in _family(self.process.pid):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
                status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            except (FileNotFoundError, ProcessLookupError):
                continue
            cpu_s += (int(stat[11]) + int(stat[12])) / _TICKS_PER_S
            held = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+)", status, re.MULTILINE))
            rss_kb += int(held.get("VmRSS", 0))
            peak_kb += int(held.get("VmHWM", 0))
        return Usage(cpu_s=cpu_s, rss_mb=rss_kb / 1024, peak_rss_mb=peak_kb / 1024)


@contextmanager
def serving(
    arguments: Sequence[str | Path],
    *,
    command: Sequence[str] = LOWERFUNNEL,
    start_s: float = 120.0,
    stop_s: float = 20.0,
    environment: dict[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Start a server that says where it listens (`http://127.0.0.1:PORT` in a line of its output), and end it afterwards.

    Args:
        arguments: What the command is started with, such as ``("serve", run, "--port", "0")``.
        command: The command.
        start_s: Seconds until it has said so.
        stop_s: Seconds between asking it to end and killing it.
        environment: Variables beside those of this process.

    Raises:
        ServerError: If it ends or says nothing in that time.
    """
    process = subprocess.Popen(
        [*command, *(str(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    lines: deque[str] = deque(maxlen=50)
    address: list[tuple[str, int]] = []
    known = threading.Event()

    def read() -> None:
        assert process.stdout is not None  # noqa: S101
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if not address and (found := _ADDRESS.search(line)):
                address.append((found[1], int(found[2])))
                known.set()
        known.set()

    reader = threading.Thread(target=read, name="server-output", daemon=True)
    reader.start()
    try:
        if not known.wait(start_s) or not address:
            raise ServerError(
                f"the server said no http://127.0.0.1:PORT within {start_s:.0f} s; it wrote:\n" + "\n".join(lines)
            )
        yield ServerProcess(process, *address[0], lines)
    finally:
        process.terminate()
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(stop_s)
        assert process.stdout is not None  # noqa: S101
        process.stdout.close()


def _family(pid: int) -> list[int]:
    """Return a process and all that it has started, and so on."""
    family = [pid]
    for member in family:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                family += [int(child) for child in children.read_text(encoding="ascii").split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return family
