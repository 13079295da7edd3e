"""Sentences for settings that no world can have."""

from collections.abc import Iterable


def require_shares(settings: object, names: Iterable[str]) -> None:
    """Raise unless each named setting lies in [0, 1]."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} should be between 0 and 1, got {getattr(settings, name)}")


def require_at_least(settings: object, least: float, names: Iterable[str]) -> None:
    """Raise unless each named setting is at least `least`."""
    for name in names:
        if getattr(settings, name) < least:
            wanted = "not be negative" if least == 0 else f"be at least {least:g}"
            raise ValueError(f"{name} should {wanted}, got {getattr(settings, name)}")


def require_positive(settings: object, names: Iterable[str]) -> None:
    """Raise unless each named setting is above 0."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} should be positive, got {getattr(settings, name)}")
