"""Settings of the page at `/`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleConfig:
    """Settings of the page at `/`."""

    show_images: bool = False
    """Show the pictures of items. They come from the advertisers' servers, which then see who looks; else they are drawn."""
    most_k: int = 500
    """Candidates that a person may ask for, at most."""
    deadline_ms: float = 50.0
    """Of a person's request."""
