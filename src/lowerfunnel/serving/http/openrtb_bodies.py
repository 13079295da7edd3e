"""The part of OpenRTB 2.6 and of its native format 1.2 that is read; whatever else a request holds is passed over.

Source: InteractiveAdvertisingBureau/openrtb2.x, 2.6.md, and OpenRTB Dynamic Native Ads 1.2.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lowerfunnel.serving.http.values import Answer

_Text = Annotated[str, Field(max_length=512)]
_Texts = Annotated[list[_Text], Field(max_length=10_000)]


class _Read(BaseModel):
    """The standard lets exchanges add fields, so that unknown ones are no error here."""

    model_config = ConfigDict(extra="ignore", strict=True, use_attribute_docstrings=True)


class TitleAsset(_Read):
    """Asks for a title."""

    len: Annotated[int, Field(ge=1)] = 10_000


class ImageAsset(_Read):
    """Asks for an image."""

    type: int | None = None


class DataAsset(_Read):
    """Asks for a text: 1 is who pays for the ad, 6 the price, 12 the words on the button."""

    type: int
    len: Annotated[int, Field(ge=1)] | None = None


class NativeAsset(_Read):
    """One part of a native ad."""

    id: int
    required: Literal[0, 1] = 0
    title: TitleAsset | None = None
    img: ImageAsset | None = None
    data: DataAsset | None = None
    video: dict[str, Any] | None = None


class NativeRequest(_Read):
    """What a native ad is made of."""

    ver: str = "1.2"
    assets: Annotated[list[NativeAsset], Field(min_length=1, max_length=100)]


class Native(_Read):
    """Says that a place takes a native ad."""

    request: str | dict[str, Any]
    """A native request of 1.2, as JSON or as a string that holds it."""
    ver: str | None = None


class Imp(_Read):
    """A place for an ad; places without `native` get no bid."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    native: Native | None = None
    bidfloor: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """CPM."""
    bidfloorcur: str = "USD"


class Geo(_Read):
    """Where somebody is."""

    country: str | None = None
    """ISO 3166-1 alpha-3."""


class Device(_Read):
    """What somebody uses."""

    geo: Geo | None = None


class User(_Read):
    """Who the ad is for."""

    id: _Text | None = None
    buyeruid: _Text | None = None
    """Goes before `id`: it is the buyer's own."""
    geo: Geo | None = None


class BidRequest(_Read):
    """A request for bids."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "80ce30c53c16e6ede735f123ef6e32361bfc7b22",
                    "imp": [
                        {
                            "id": "1",
                            "native": {
                                "request": '{"ver":"1.2","assets":[{"id":1,"required":1,"title":{"len":90}}]}',
                                "ver": "1.2",
                            },
                        }
                    ],
                    "user": {"buyeruid": "u-17"},
                    "device": {"geo": {"country": "DEU"}},
                    "tmax": 120,
                    "at": 1,
                    "cur": ["USD"],
                }
            ]
        },
    )

    id: Annotated[str, Field(min_length=1, max_length=512)]
    imp: Annotated[list[Imp], Field(min_length=1, max_length=64)]
    device: Device | None = None
    user: User | None = None
    test: Literal[0, 1] = 0
    """1 for an ad that nobody pays for; the answer is the same, and the log says so."""
    at: Annotated[int, Field(ge=1)] = 2
    """The price does not depend on it, as it is fixed."""
    tmax: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Milliseconds until the answer must have come, network included."""
    cur: _Texts | None = None
    bcat: _Texts = Field(default=[])
    """Categories that may not come; compared with the catalogue's `category_id`."""
    badv: _Texts = Field(default=[])
    """Advertisers that may not come; compared with the catalogue's `advertiser_id`."""
    wadomain: _Texts | None = None
    """Advertisers of which only may come; the same."""


class Bid(Answer):
    """A bid for one place."""

    id: str
    impid: str
    price: float
    """CPM."""
    adid: str
    crid: str
    adm: str
    """A native ad of 1.2, as a string."""
    adomain: list[str] | None = None
    """The advertiser, where its id is a domain."""


class SeatBid(Answer):
    """Bids of one buyer."""

    bid: list[Bid]


class BidResponse(Answer):
    """Bids."""

    id: str
    """Of the request."""
    bidid: str
    cur: str
    seatbid: list[SeatBid]
