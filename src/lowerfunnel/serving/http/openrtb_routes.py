"""`POST /openrtb2`."""

from time import perf_counter

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from lowerfunnel.serving.http.bodies import plain_body
from lowerfunnel.serving.http.edge import Edge, facts_of, json_bytes, json_response
from lowerfunnel.serving.http.openrtb import bid_candidates, bids, deadline_ms, native_places, require_price
from lowerfunnel.serving.http.openrtb_bodies import BidRequest, BidResponse
from lowerfunnel.serving.http.operations import Operation
from lowerfunnel.serving.http.refusals import refusal_of_values
from lowerfunnel.serving.http.serve_routes import note_answers
from lowerfunnel.serving.http.strict_json import parse_json


async def answer_bid_request(edge: Edge, request: Request) -> Response:
    """Bid, or answer 204."""
    require_price(edge.config)
    body = await edge.read_body(request)
    facts = facts_of(request)
    came = perf_counter()

    def work() -> bytes | None:
        config = edge.config
        try:
            asked = BidRequest.model_validate(
                parse_json(plain_body(body, facts.headers, most_bytes=config.most_plain_bytes))
            )
        except ValidationError as error:
            raise refusal_of_values(error) from error
        facts.fields["test"] = asked.test == 1
        places = native_places(asked, config=config)
        left_ms = deadline_ms(asked, config=config) - (perf_counter() - came) * 1000
        # An answer that comes too late is thrown away by the exchange: not to bid costs less.
        if not places or left_ms <= 0:
            return None
        wanted = bid_candidates(asked, request_id=facts.request_id, places=len(places), left_ms=left_ms, config=config)
        (answer,) = edge.service.candidates([wanted])
        note_answers(edge, facts, [answer], k=wanted.k)
        views = edge.service.views([candidate.item_id for candidate in answer.candidates])
        found = bids(places, [view for view in views if view is not None], request_id=facts.request_id, config=config)
        facts.fields["bids"] = len(found)
        if not found:
            return None
        return json_bytes(
            {"id": asked.id, "bidid": facts.request_id, "cur": config.openrtb_currency, "seatbid": [{"bid": found}]}
        )

    answer = await edge.serve_lane.run(work)
    response = Response(status_code=204) if answer is None else json_response(answer)
    response.headers["x-openrtb-version"] = "2.6"
    return response


OPERATIONS = (
    Operation(
        path="/openrtb2",
        method="POST",
        handler=answer_bid_request,
        scope="serve",
        summary="Bid (OpenRTB 2.6, native)",
        description=(
            "A request for candidates in OpenRTB's words, for native places. **There is no auction here**: every bid has the "
            "price of the setting `openrtb_cpm`, and without it this answers 404. `badv` and `wadomain` are compared with "
            "the catalogue's `advertiser_id`, `bcat` with its `category_id`. Of `tmax`, the setting `openrtb_network_ms` is "
            "kept back for the network; if nothing is left of it, there is no bid."
        ),
        body=BidRequest,
        answer=BidResponse,
        example={
            "id": "80ce30c53c16e6ede735f123ef6e32361bfc7b22",
            "bidid": "5f2c",
            "cur": "USD",
            "seatbid": [
                {
                    "bid": [
                        {
                            "id": "5f2c.0",
                            "impid": "1",
                            "price": 1.5,
                            "adid": "i-4",
                            "crid": "i-4",
                            "adm": '{"ver":"1.2","assets":[{"id":1,"title":{"text":"Lamp"}}],"link":{"url":"https://shop.example/items/i-4"}}',
                        }
                    ]
                }
            ],
        },
        answers={204: "No bid."},
        errors=(404, 503),
        tag="openrtb",
    ),
)
"""What this file adds to the server."""
