"""What work raises in one thread, kept for the thread that waits for it."""

from types import TracebackType


class Caught:
    """A context that takes over whatever its block raises: `error` holds it, to be raised again where it is waited for.

    Example:
        >>> with (caught := Caught()):
        ...     1 / 0
        >>> caught.error
        ZeroDivisionError('division by zero')
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> "Caught":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True
