"""The services that the tests of the edge run against. A further one is one line.

Each has the runs "run-a", which is published, and "run-b", and an empty catalogue; the tests put in what they need.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep

from tests.serving.http.memory_service import MemoryService

from lowerfunnel.serving.requests import CandidateAnswer, CandidateRequest
from lowerfunnel.serving.service import CandidateService, Readiness, VersionInfo

SERVICES: dict[str, Callable[[Path], CandidateService]] = {"memory": lambda _folder: MemoryService()}


class Watched:
    """A service, with what it was asked, and with as much time taken as a test wants."""

    def __init__(self, service: CandidateService) -> None:
        self.inner = service
        self.asked: list[CandidateRequest] = []
        self.published: list[str] = []
        self.answer_delay_s = 0.0
        self.write_delay_s = 0.0
        self.bug = False

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def candidates(self, requests: Sequence[CandidateRequest]) -> list[CandidateAnswer]:
        if self.bug:
            raise KeyError("u-17 secret of the inside")
        sleep(self.answer_delay_s)
        self.asked += requests
        return self.inner.candidates(requests)

    def add_events(self, events):
        sleep(self.write_delay_s)
        return self.inner.add_events(events)

    def publish(self, name: str) -> VersionInfo:
        sleep(self.write_delay_s)
        self.published.append(name)
        return self.inner.publish(name)

    def readiness(self) -> Readiness:
        return self.inner.readiness()
