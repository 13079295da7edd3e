"""A second face: an OpenRTB 2.6 request is a request for candidates, and its best items are bids.

There is no auction here: every bid has the price of the setting `openrtb_cpm`.
"""

import json
import re
from collections.abc import Sequence
from urllib.parse import quote

from pydantic import ValidationError

from lowerfunnel.serving.http.countries import alpha_2
from lowerfunnel.serving.http.openrtb_bodies import BidRequest, DataAsset, Imp, NativeAsset, NativeRequest
from lowerfunnel.serving.http.refusals import RefusalError, refusal_of_values
from lowerfunnel.serving.http.settings import HttpConfig
from lowerfunnel.serving.http.strict_json import LEAST_INT, MOST_INT, parse_json
from lowerfunnel.serving.requests import CandidateRequest, Choice, Filters, Id
from lowerfunnel.serving.service import ItemView

SPARE = 4
"""Candidates asked for each place: one may lack what the place needs, such as an image."""
_DEFAULT_TMAX_MS = 120.0
_SPONSOR, _PRICE, _BUTTON = 1, 6, 12
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.IGNORECASE)


def native_places(body: BidRequest, *, config: HttpConfig) -> list[tuple[Imp, NativeRequest]]:
    """Return the places that could get a bid: native, in our currency, and with a floor that the price reaches.

    Raises:
        RefusalError: 400 or 422 if a native request cannot be read.
    """
    if body.cur is not None and body.cur and config.openrtb_currency not in body.cur:
        return []
    found = []
    for number, imp in enumerate(body.imp):
        if imp.native is None:
            continue
        asked = _native_request(imp.native.request, place=f"imp[{number}].native.request")
        if imp.bidfloor > 0 and (imp.bidfloorcur != config.openrtb_currency or imp.bidfloor > require_price(config)):
            continue
        found.append((imp, asked))
    return found


def deadline_ms(body: BidRequest, *, config: HttpConfig) -> float:
    """Return how long an answer may take here: what is left of `tmax` without the network; may be below 0."""
    tmax_ms = _DEFAULT_TMAX_MS if body.tmax is None else float(body.tmax)
    return min(tmax_ms - config.openrtb_network_ms, 10_000.0)


def bid_candidates(
    body: BidRequest, *, request_id: str, places: int, left_ms: float, config: HttpConfig
) -> CandidateRequest:
    """Return a request for bids in the service's words.

    Raises:
        RefusalError: 422 if the country is none.
    """
    return CandidateRequest(
        request_id=request_id,
        k=places * SPARE,
        user_id=_user_id(body, config=config),
        filters=Filters(
            country=_country(body),
            advertisers=Choice(
                allow=None if body.wadomain is None else frozenset(body.wadomain), deny=frozenset(body.badv)
            ),
            categories=Choice(deny=frozenset(body.bcat)),
        ),
        deadline_ms=left_ms,
    )


def bids(
    places: Sequence[tuple[Imp, NativeRequest]],
    views: Sequence[ItemView],
    *,
    request_id: str,
    config: HttpConfig,
) -> list[dict[str, object]]:
    """Return a bid for each place for which an item has all that it needs; the best item that fits, each item once."""
    waiting = list(views)
    found: list[dict[str, object]] = []
    for imp, asked in places:
        for view in waiting:
            markup = _markup(asked, view, config=config)
            if markup is not None:
                waiting.remove(view)
                found.append(_bid(imp, view, markup, bid_id=f"{request_id}.{len(found)}", config=config))
                break
    return found


def _bid(imp: Imp, view: ItemView, markup: str, *, bid_id: str, config: HttpConfig) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": bid_id,
        "impid": imp.id,
        "price": require_price(config),
        "adid": str(view.item_id),
        "crid": str(view.item_id),
        "adm": markup,
    }
    if view.advertiser_id is not None and _DOMAIN.fullmatch(view.advertiser_id):
        fields["adomain"] = [view.advertiser_id]
    return fields


def _markup(asked: NativeRequest, view: ItemView, *, config: HttpConfig) -> str | None:
    """Return a native ad, or None if the item lacks something that must be there."""
    assets = []
    for asset in asked.assets:
        filled = _asset(asset, view)
        if filled is not None:
            assets.append({"id": asset.id, **filled})
        elif asset.required:
            return None
    url = (config.openrtb_click_url or "").replace("{item_id}", quote(str(view.item_id), safe=""))
    markup = {"ver": "1.2", "assets": assets, "link": {"url": url}}
    return json.dumps(markup, separators=(",", ":"), ensure_ascii=False)


def _asset(asset: NativeAsset, view: ItemView) -> dict[str, object] | None:
    if asset.title is not None and view.title:
        return {"title": {"text": _fitted(view.title, asset.title.len)}}
    if asset.img is not None and view.image_url is not None:
        return {"img": {"url": view.image_url}}
    if asset.data is not None:
        value = _data(asset.data, view)
        if value is not None:
            return {"data": {"value": value}}
    return None


def _data(data: DataAsset, view: ItemView) -> str | None:
    """Return a text of an ad; None where the catalogue has none, or where it would have to be cut to a wrong price."""
    if data.type == _PRICE and view.price is not None:
        shown = f"{view.price:.2f}" if view.currency is None else f"{view.price:.2f} {view.currency}"
        return shown if data.len is None or len(shown) <= data.len else None
    if data.type == _SPONSOR and view.advertiser_id is not None:
        return view.advertiser_id if data.len is None else _fitted(view.advertiser_id, data.len)
    return None


def _fitted(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _native_request(request: object, *, place: str) -> NativeRequest:
    value = parse_json(request, what=place) if isinstance(request, str) else request
    # Before 1.1 the request lay under a field of its own, and some exchanges still write it so.
    if isinstance(value, dict) and set(value) == {"native"}:
        value = value["native"]
    try:
        return NativeRequest.model_validate(value)
    except ValidationError as error:
        refusal = refusal_of_values(error)
        details = [{**detail, "place": f"{place}: {detail['place']}"} for detail in refusal.details]
        raise RefusalError(422, refusal.code, f"{place}: {refusal.message}", details=details) from error


def _country(body: BidRequest) -> str | None:
    for place, geo in (
        ("device", body.device.geo if body.device is not None else None),
        ("user", body.user.geo if body.user is not None else None),
    ):
        if geo is not None and geo.country is not None:
            code = alpha_2(geo.country)
            if code is None:
                problem = {"place": f"{place}.geo.country", "problem": "no country of ISO 3166-1 alpha-3"}
                message = f"The request cannot be used: {problem['place']}: {problem['problem']}."
                raise RefusalError(422, "invalid_request", message, details=[problem])
            return code
    return None


def _user_id(body: BidRequest, *, config: HttpConfig) -> Id | None:
    """Return who the ad is for. Where the log has integers, an id that is none is of nobody whom the log knows."""
    if body.user is None:
        return None
    text = body.user.buyeruid or body.user.id or None
    if text is None or config.openrtb_ids == "string":
        return text
    if not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if LEAST_INT <= value <= MOST_INT else None


def require_price(config: HttpConfig) -> float:
    """Return the price of every bid, CPM.

    Raises:
        RefusalError: 404 if there is none: then nobody wants this face.
    """
    if config.openrtb_cpm is None:
        raise RefusalError(
            404, "openrtb_off", "OpenRTB is off; it is turned on by the settings openrtb_cpm and openrtb_click_url."
        )
    return config.openrtb_cpm
