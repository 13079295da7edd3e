"""The page at `/`: its addresses, and what an error of the engine looks like to a person."""

import json
import uuid
from collections.abc import Callable, Sequence

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.responses import RedirectResponse

from lowerfunnel.errors import DataError, RunError, StoreError, UnavailableError
from lowerfunnel.serving.console.access import forget_key, from_elsewhere, keep_key, key_of_form, read_key
from lowerfunnel.serving.console.asjson import body_of, command_of
from lowerfunnel.serving.console.charts import charts_of, stripes_of
from lowerfunnel.serving.console.explain import basis, headline, left_out, not_known, why_short
from lowerfunnel.serving.console.form import FIRST_K, Form, read_form
from lowerfunnel.serving.console.idtext import text_of_id
from lowerfunnel.serving.console.pages import asset, page
from lowerfunnel.serving.console.settings import ConsoleConfig
from lowerfunnel.serving.console.views import (
    CARDS_A_PAGE,
    EVENTS_A_PAGE,
    cards_of,
    events_of,
    page_of,
    removed_of,
    stages_of,
)
from lowerfunnel.serving.console.wording import moment
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.service import CandidateService, Inspection, Readiness

KNOWN_USERS = 50
"""Users that are suggested."""
SHOWN_S = 300.0
"""How far back the charts go."""
FINE_S, WINDOW_S = 2.0, 10.0
"""The charts have a point every 2 s, each of the 10 s before it: calm enough to read, quick enough to watch."""
COARSE_S, MINUTE_S = 30.0, 60.0
"""A row of the tables, and the figure above a chart."""
_REFUSED = (UnavailableError, StoreError, RunError)


def console_router(
    service: CandidateService,
    recent: RecentAnswers,
    *,
    config: ConsoleConfig,
    dependencies: Sequence[Depends] = (),
    allows: Callable[[str], bool] | None = None,
) -> APIRouter:
    """Return the routes of the page: `/`, and what it loads below `/console`.

    Args:
        service: What answers.
        recent: What was answered lately.
        config: Settings.
        dependencies: Run before the page and its charts, such as a limit of requests; not before login and assets.
        allows: Whether a key opens the page. None lets everybody in: for a server that is bound to loopback without keys.

    Raises:
        ValueError: If `recent` cannot tell apart or does not remember what the charts show.
    """
    recent.series(step_s=FINE_S, span_s=SHOWN_S, window_s=WINDOW_S)
    console = _Console(service, recent, config, allows)
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", console.index, methods=["GET"], dependencies=list(dependencies))
    router.add_api_route("/console/live", console.live, methods=["GET"], dependencies=list(dependencies))
    router.add_api_route("/console/assets/{name}", console.asset, methods=["GET"])
    if allows is not None:
        router.add_api_route("/console/login", console.login, methods=["POST"])
        router.add_api_route("/console/logout", console.logout, methods=["POST"])
    return router


class _Console:
    """The pages. All methods but `login` and `logout` block, and run in the threads of the server."""

    def __init__(
        self,
        service: CandidateService,
        recent: RecentAnswers,
        config: ConsoleConfig,
        allows: Callable[[str], bool] | None,
    ) -> None:
        self._service = service
        self._recent = recent
        self._config = config
        self._allows = allows

    def index(self, request: Request) -> Response:
        if not self._may_enter(request):
            return self._ask_for_key(request, status=401)
        config = self._config
        trouble = ""
        status = 200
        surfaces: list[str] = []
        users: list[str] = []
        try:
            surfaces = self._service.surfaces()
            users = [text_of_id(user) for user in self._service.users(limit=KNOWN_USERS)]
        except _REFUSED as error:
            trouble, status = str(error), 503
        values = dict(request.query_params)
        form = read_form(
            values,
            request_id=f"console-{uuid.uuid4().hex[:12]}",
            most_k=config.most_k,
            deadline_ms=config.deadline_ms,
        )
        answer: dict[str, object] | None = None
        if form.wrong:
            status = 422
        elif form.request is not None and any(name in form.typed for name in values):
            try:
                inspection = self._service.inspect(form.request)
                answer = self._answer(form, form.request, inspection, surfaces=surfaces, base_url=str(request.base_url))
                trouble, status = "", 200
            except DataError as error:
                form, status = form.with_sentence(str(error)), 422
            except _REFUSED as error:
                trouble, status = str(error), 503
        values_shown = {
            "form": form,
            "surfaces": surfaces,
            "users": users,
            "first_k": FIRST_K,
            "pictures": config.show_images,
            "trouble": trouble,
            "answer": answer,
            "with_keys": self._allows is not None,
            "oob": False,
            **self._live_values(),
        }
        response = page("page.html.j2", values_shown, status=status, show_images=config.show_images)
        if "hx-request" in request.headers:
            response.headers["HX-Push-Url"] = form.address()
        return response

    def live(self, request: Request) -> Response:
        if not self._may_enter(request):
            return self._ask_for_key(request, status=401)
        return page("live.html.j2", {"oob": True, **self._live_values()})

    def asset(self, name: str) -> Response:
        return asset(name) or page("nothing.html.j2", {}, status=404)

    async def login(self, request: Request) -> Response:
        if from_elsewhere(request):
            return self._ask_for_key(request, status=403, sentence="The key was sent by another site; type it in here.")
        key = await key_of_form(request)
        if key is None or self._allows is None or not self._allows(key):
            return self._ask_for_key(request, status=401, sentence="This key does not open the page.")
        response = RedirectResponse("/", status_code=303)
        keep_key(response, key, secure=request.url.scheme == "https")
        return response

    async def logout(self, request: Request) -> Response:
        response = RedirectResponse("/", status_code=303)
        if not from_elsewhere(request):
            forget_key(response)
        return response

    def _may_enter(self, request: Request) -> bool:
        if self._allows is None:
            return True
        key = read_key(request)
        return key is not None and self._allows(key)

    def _ask_for_key(self, request: Request, *, status: int, sentence: str = "") -> Response:
        response = page("login.html.j2", {"sentence": sentence}, status=status)
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if "hx-request" in request.headers:
            response.headers["HX-Refresh"] = "true"
        return response

    def _answer(
        self,
        form: Form,
        request: CandidateRequest,
        inspection: Inspection,
        *,
        surfaces: Sequence[str],
        base_url: str,
    ) -> dict[str, object]:
        """Return what the template shows of an answer."""
        images = self._config.show_images
        answer = inspection.answer
        events = page_of(form, "events", total=len(inspection.timeline), size=EVENTS_A_PAGE)
        cards = page_of(form, "cards", total=len(inspection.cards), size=CARDS_A_PAGE)
        return {
            "said": headline(request, inspection),
            "basis": basis(request, answer),
            "left_out": [*left_out(answer), *not_known(request, answer, surfaces=surfaces)],
            "why_short": why_short(request, inspection),
            "raw": answer,
            "events_page": events,
            "events": events_of(form, inspection.timeline, events, show_images=images),
            "cards_page": cards,
            "cards": cards_of(form, inspection, cards, show_images=images),
            "removed": removed_of(form, inspection.removed, show_images=images),
            "stages": stages_of(answer.stage_ms),
            "total_ms": answer.stage_ms.get("total"),
            "json": json.dumps(body_of(request), ensure_ascii=False, indent=2),
            "command": command_of(request, base_url=base_url, with_key=self._allows is not None),
            "address": form.address(),
            "has_user": request.user_id is not None,
        }

    def _live_values(self) -> dict[str, object]:
        """Return what the charts and the panel of versions show."""
        coverage = self._recent.coverage()
        fine = self._recent.series(step_s=FINE_S, span_s=SHOWN_S, window_s=WINDOW_S)
        coarse = self._recent.series(step_s=COARSE_S, span_s=SHOWN_S)
        minute = self._recent.series(step_s=MINUTE_S, span_s=MINUTE_S)[0]
        stripes = stripes_of(self._recent.series(step_s=FINE_S, span_s=SHOWN_S))
        try:
            versions = [(version, moment(version.published_at_us)) for version in self._service.versions()]
            readiness = self._service.readiness()
        except _REFUSED as error:
            versions, readiness = [], Readiness(ready=False, checks={"engine": str(error)}, version=None)
        return {
            "charts": charts_of(fine, coarse, minute, stripes),
            "stripes": stripes,
            "span_min": round(SHOWN_S / 60),
            "coverage": coverage,
            "versions": versions,
            "readiness": readiness,
        }
