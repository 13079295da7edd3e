"""Alimama (Taobao) display ads: impressions and clicks of eight days in May 2017, and what their users did in the shop.

Source: https://tianchi.aliyun.com/dataset/56 ("Ali_Display_Ad_Click"). Files, each also as .gz or .zst:

- `raw_sample.csv`: user, time_stamp (s), adgroup_id, pid (where the ad stood), nonclk, clk
- `ad_feature.csv`: adgroup_id, cate_id, campaign_id, customer, brand, price ("NULL" for no brand)
- `user_profile.csv`: userid, cms_segid, cms_group_id, final_gender_code, age_level, pvalue_level, shopping_level,
  occupation, new_user_class_level (optional: without it, nothing is known of users)
- `behavior_log.csv`: user, time_stamp (s), btag (pv, cart, fav, buy), cate, brand; 22 days, 700 million rows

**The behaviour log names no item.** A view, cart or purchase is of some product of a category and a brand, so it cannot
be put into a log of ads without guessing which ad it belongs to. There are two readers instead of a guess:

- `alimama`: the item is the **ad** (adgroup), with its customer as advertiser, category, price and brand. Impressions
  and clicks only: `behavior_log.csv` is not read, so the log has **no conversions**, and clicks are all there is to
  learn.
- `alimama_groups`: the item is the **product group** "category:brand", and all four files make one log. An ad's
  impressions and clicks count for the group of its product, beside the views, favourites, carts and purchases of the
  shop: the way to retrieve on **conversions** here. The ads of a group are then looked up in `ad_feature.csv`. The
  brand stands for the advertiser, as one group has many customers; groups have no price.

Choices in both: one row of `raw_sample` becomes an `impression` and, if clicked, also a `click` at the same second;
`surface` is the `pid`, and "shop" for the behaviour log. `pv` (which the documentation also calls `ipv`) is a `view`.
The catalogue and the users carry no dates. The currency is not said. A row whose `clk` and `nonclk` do not exclude each
other is quarantined.
"""

from pathlib import Path

from lowerfunnel.events.readers.layout import (
    PublishedTable,
    filled_in,
    find_optional_table,
    find_table,
    first_columns,
)
from lowerfunnel.events.settings import LogConfig, SourceConfig

_NAME = "Alimama display ads"
_SAMPLE = PublishedTable(
    names=("raw_sample.csv",), columns=("user", "time_stamp", "adgroup_id", "pid", "nonclk", "clk")
)
_ADS = PublishedTable(
    names=("ad_feature.csv",), columns=("adgroup_id", "cate_id", "campaign_id", "customer", "brand", "price")
)
_BEHAVIOR = PublishedTable(names=("behavior_log.csv",), columns=("user", "time_stamp", "btag", "cate", "brand"))
_TRAITS = (
    "cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level", "occupation",
    "new_user_class_level",
)  # fmt: skip
_USERS = PublishedTable(names=("user_profile.csv",), columns=("userid", *_TRAITS))
_NULLS = ("", "NULL")

_SHOWN_AND_CLICKED = """
    unnest(CASE
        WHEN clk = '0' AND nonclk = '1' THEN ['impression']
        WHEN clk = '1' AND nonclk = '0' THEN ['impression', 'click']
        ELSE ['clk=' || coalesce(clk, '') || ', nonclk=' || coalesce(nonclk, '')]
    END) AS action
"""
_AD_EVENTS = f"""
    SELECT "user" AS user_id, adgroup_id AS item_id, time_stamp AS ts, pid AS surface, {_SHOWN_AND_CLICKED}
    FROM source
"""
# A join does not promise to keep the order of the rows: they are numbered before it.
_GROUP_AD_EVENTS = f"""
    SELECT user_id, item_id, ts, surface, action FROM (
        SELECT
            sample."user" AS user_id,
            ads.cate_id || ':' || coalesce(ads.brand, '') AS item_id,
            sample.time_stamp AS ts,
            sample.pid AS surface,
            sample.number,
            {_SHOWN_AND_CLICKED}
        FROM (SELECT *, row_number() OVER () AS number FROM source) AS sample
        LEFT JOIN (SELECT DISTINCT ON (adgroup_id) adgroup_id, cate_id, brand FROM ads ORDER BY ALL) AS ads
            USING (adgroup_id)
    )
    ORDER BY number, action DESC
"""
_GROUP_SHOP_EVENTS = """
    SELECT
        "user" AS user_id, cate || ':' || coalesce(brand, '') AS item_id, time_stamp AS ts, btag AS action,
        'shop' AS surface
    FROM source
"""
_GROUPS = """
    SELECT cate || ':' || coalesce(brand, '') AS item_id, cate AS category_id, brand AS advertiser_id
    FROM (SELECT cate, brand FROM source UNION SELECT cate_id, brand FROM ads)
    WHERE cate IS NOT NULL
    ORDER BY item_id
"""


def read_alimama(data_dir: Path, config: LogConfig) -> LogConfig:
    """Describe impressions and clicks of ads, with the ads' customers as advertisers.

    Raises:
        DataError: If `raw_sample.csv` or `ad_feature.csv` is missing or has other columns.
    """
    return filled_in(
        config,
        events=[
            SourceConfig(files=find_table(data_dir, _SAMPLE, of=_NAME), null_values=_NULLS, query=_AD_EVENTS),
        ],
        items=[
            SourceConfig(
                files=find_table(data_dir, _ADS, of=_NAME),
                columns={"item_id": "adgroup_id", "advertiser_id": "customer", "category_id": "cate_id"},
                attributes=("brand", "campaign_id"),
                null_values=_NULLS,
            )
        ],
        users=_users(data_dir),
    )


def read_alimama_groups(data_dir: Path, config: LogConfig) -> LogConfig:
    """Describe ads and shop as one log of product groups, "category:brand".

    Raises:
        DataError: If `raw_sample.csv`, `ad_feature.csv` or `behavior_log.csv` is missing or has other columns.
    """
    ads = {"ads": find_table(data_dir, _ADS, of=_NAME)[0]}
    sample = find_table(data_dir, _SAMPLE, of=_NAME)
    behavior = find_table(data_dir, _BEHAVIOR, of=_NAME)
    return filled_in(
        config,
        events=[
            SourceConfig(files=sample, tables=ads, null_values=_NULLS, query=_GROUP_AD_EVENTS),
            SourceConfig(
                files=behavior,
                actions={
                    "pv": "view", "ipv": "view", "fav": "favorite", "cart": "add_to_cart", "buy": "checkout",
                },
                null_values=_NULLS,
                query=_GROUP_SHOP_EVENTS,
            ),
        ],
        items=[SourceConfig(files=behavior, tables=ads, null_values=_NULLS, query=_GROUPS)],
        users=_users(data_dir),
        item_id_type="string",
    )  # fmt: skip


def _users(data_dir: Path) -> list[SourceConfig]:
    files = find_optional_table(data_dir, _USERS, of=_NAME)
    if not files:
        return []
    # The original writes a blank behind the name of its last column.
    names = tuple(name.strip() for name in first_columns(data_dir / files[0]))
    return [
        SourceConfig(
            files=files,
            header=True,
            column_names=names,
            columns={"user_id": "userid"},
            attributes=_TRAITS,
            null_values=_NULLS,
        )
    ]
