"""Requests as they were served, one JSON line each, for `lowerfunnel replay` and for training.

    STATE/requests/20260131T120000Z-000.jsonl

Lines are written by a thread of its own: a slow disk delays no answer. When it is so slow that lines pile up, the newest
are dropped and counted, never the service. A line that waits holds the version that answered.
"""

import contextlib
import json
import queue
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from lowerfunnel.files import disk_errors
from lowerfunnel.serving.settings import RequestLogConfig

_LARGEST_FILE_MB = 64
_WAITING = 10_000
_TOLD_EVERY_S = 60.0
_CLOSING_S = 10.0
_SHARE_STEPS = 1 << 20


Line = Callable[[], Mapping[str, object]]
"""Makes a line."""


class RequestLog:
    """Writes requests down. `close` writes what is waiting."""

    def __init__(self, folder: Path, config: RequestLogConfig, *, on_error: Callable[[OSError], None]) -> None:
        """Open the log.

        Args:
            folder: Where its files are; made if it is not there.
            config: How much is written and kept.
            on_error: Told when lines cannot be written, such as on a full disk, at most once a minute; serving goes on
                without them.
        """
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._config = config
        self._on_error = on_error
        self._waiting: queue.Queue[Line | None] = queue.Queue(_WAITING)
        self._path: Path | None = None
        self._tell_again_s = 0.0
        self._taken = 0
        self.dropped = 0
        """Lines that were not written: the disk was full or too slow."""
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    def wants(self, request_id: str) -> bool:
        """Tell whether a request is among the share that is written down; the same for the same id everywhere."""
        return zlib.crc32(request_id.encode()) % _SHARE_STEPS < self._config.share * _SHARE_STEPS

    def write(self, line: Line) -> None:
        """Write a line soon. It is made then, on the thread that writes; it must be JSON."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.dropped += 1
            self._tell(TimeoutError("the disk is too slow, and lines are dropped"))

    def let_go(self, *, timeout_s: float) -> None:
        """Wait until what waits now is being written, and drop what is not by then, so that no line holds an old version."""
        wanted = self._taken + self._waiting.qsize()
        until_s = time.monotonic() + timeout_s
        while self._taken < wanted and time.monotonic() < until_s:
            time.sleep(0.005)
        with contextlib.suppress(queue.Empty):
            for _ in range(wanted - self._taken):
                if self._waiting.get_nowait() is None:
                    self._waiting.put_nowait(None)
                    return
                self.dropped += 1

    def close(self) -> None:
        """Write what is waiting and stop; a disk that hangs is not waited for without end."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSING_S)
            self._thread.join(timeout=_CLOSING_S)

    def _write_all(self) -> None:
        more = True
        while more:
            text, lines, more = self._take()
            if lines:
                self._append(text, lines)

    def _take(self) -> tuple[str, int, bool]:
        """Wait for lines, and return their text, how many they are, and whether more will come.

        The lines themselves are let go with this call: neither a long wait nor a long write holds the version behind them.
        """
        taken = [self._waiting.get()]
        with contextlib.suppress(queue.Empty):
            while taken[-1] is not None and len(taken) < _WAITING:
                taken.append(self._waiting.get_nowait())
        lines = [line for line in taken if line is not None]
        self._taken += len(lines)
        text = "".join(json.dumps(line(), separators=(",", ":"), allow_nan=False) + "\n" for line in lines)
        return text, len(lines), taken[-1] is not None

    def _append(self, text: str, lines: int) -> None:
        try:
            path = self._file()
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            self.dropped += lines
            self._path = None  # the next line tries again, in a file of its own: this one may end in half a line
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        now_s = time.monotonic()
        if now_s >= self._tell_again_s:
            self._tell_again_s = now_s + _TOLD_EVERY_S
            self._on_error(error)

    def _file(self) -> Path:
        """Return the file to write to; a new one where the last is full, and then the oldest beyond the limit go."""
        if self._path is not None and (size := _size(self._path)) is not None and size < _LARGEST_FILE_MB << 20:
            return self._path
        stamp = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
        self._path = None
        while self._path is None:
            # Past the highest of the second: the oldest go, and a name is never used twice.
            taken = [int(path.stem.rpartition("-")[2]) for path in self._folder.glob(f"{stamp}-*.jsonl")]
            path = self._folder / f"{stamp}-{max(taken, default=-1) + 1:03d}.jsonl"
            with contextlib.suppress(FileExistsError):  # another process was quicker
                path.open("x").close()
                self._path = path
        files = sorted(path for path in self._folder.glob("*.jsonl") if path != self._path)
        sizes = [_size(file) or 0 for file in files]
        spare = sum(sizes) - (self._config.most_mb << 20)
        for file, size in zip(files[:-1], sizes, strict=False):
            if spare <= 0:
                break
            spare -= size
            file.unlink(missing_ok=True)
        return self._path


def _size(path: Path) -> int | None:
    """Return the bytes of a file; None if another process of this state has removed it as the oldest."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
