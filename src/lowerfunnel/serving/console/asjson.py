"""A request as the JSON that `POST /v1/candidates` takes, and as a command that a person can paste."""

import dataclasses
import json
import shlex
from typing import Any

from lowerfunnel.serving.requests import CandidateRequest


def body_of(request: CandidateRequest) -> dict[str, Any]:
    """Return what has to be sent for a request, without what is as it is anyway; sets are sorted lists.

    The request id is left out: it stands for one sending, and the server gives a new one.
    """
    return {name: value for name, value in _set_fields(request).items() if name != "request_id"}


def command_of(request: CandidateRequest, *, base_url: str, with_key: bool) -> str:
    """Return a `curl` command for a POSIX shell that gets the same answer.

    Args:
        request: What is asked.
        base_url: Of the server, such as "http://127.0.0.1:8080".
        with_key: Whether the server wants a key; it is taken from the variable LOWERFUNNEL_KEY.
    """
    lines = [f"curl -sS {shlex.quote(base_url.rstrip('/') + '/v1/candidates')}", "-H 'Content-Type: application/json'"]
    if with_key:
        lines.append('-H "Authorization: Bearer $LOWERFUNNEL_KEY"')
    lines.append(f"-d {shlex.quote(json.dumps(body_of(request), ensure_ascii=False))}")
    return " \\\n  ".join(lines)


def _set_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults, and those without one."""
    return {
        field.name: _plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.default is dataclasses.MISSING or getattr(value, field.name) != field.default
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _set_fields(value)
    if isinstance(value, frozenset):
        return sorted(value, key=lambda one: (isinstance(one, str), one))
    return list(value) if isinstance(value, tuple) else value
