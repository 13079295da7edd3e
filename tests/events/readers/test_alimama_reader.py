import pytest

from lowerfunnel.errors import DataError

SAMPLE = (
    "user,time_stamp,adgroup_id,pid,nonclk,clk",
    "581738,1494137644,1,430548_1007,1,0",
    "449818,1494638778,3,430539_1007,0,1",
)
ADS = (
    "adgroup_id,cate_id,campaign_id,customer,brand,price",
    "1,6406,83237,9001,95471,170.0",
    "3,6406,83237,9001,NULL,19.9",
)
TRAITS = "cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation"
PROFILES = (
    f"userid,{TRAITS},new_user_class_level ",  # the original has this blank behind the last name
    "449818,0,5,2,5,,3,0,3",
)
BEHAVIOR = (
    "user,time_stamp,btag,cate,brand",
    "449818,1494638700,pv,6406,95471",
    "449818,1494638800,cart,6406,95471",
    "449818,1494638900,fav,6250,91286",
    "449818,1494639000,buy,6406,95471",
)


def write_all(log, ending=""):
    log.write(f"raw_sample.csv{ending}", *SAMPLE)
    log.write(f"ad_feature.csv{ending}", *ADS)
    log.write(f"user_profile.csv{ending}", *PROFILES)
    log.write(f"behavior_log.csv{ending}", *BEHAVIOR)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_every_row_is_an_impression_and_a_clicked_one_also_a_click(log, events, ending):
    write_all(log, ending)
    store = log.build("alimama")
    assert events(store, "user_id", "item_id", "action", "ts", "surface") == [
        (449818, 3, "impression", "2017-05-13 01:26:18", "430539_1007"),
        (449818, 3, "click", "2017-05-13 01:26:18", "430539_1007"),
        (581738, 1, "impression", "2017-05-07 06:14:04", "430548_1007"),
    ]


def test_the_customer_is_the_advertiser_and_null_is_no_brand(log, items):
    write_all(log)
    store = log.build("alimama")
    assert items(store, "item_id", "advertiser_id", "category_id", "price", "attributes") == [
        (1, "9001", "6406", 170.0, ["brand=95471", "campaign_id=83237"]),
        (3, "9001", "6406", 19.9, ["campaign_id=83237"]),
    ]


@pytest.mark.parametrize("reader", ["alimama", "alimama_groups"])
def test_users_have_the_traits_of_their_profile(log, users, reader):
    write_all(log)
    assert users(log.build(reader)) == [
        (
            449818,
            [
                "age_level=5", "cms_group_id=5", "cms_segid=0", "final_gender_code=2", "new_user_class_level=3",
                "occupation=0", "shopping_level=3",
            ],
        ),
        (581738, None),
    ]  # fmt: skip


def test_without_profiles_nothing_is_known_of_users(log, users):
    write_all(log)
    (log.folder / "user_profile.csv").unlink()
    assert users(log.build("alimama")) == [(449818, None), (581738, None)]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_ads_and_shop_meet_in_product_groups(log, events, ending):
    write_all(log, ending)
    store = log.build("alimama_groups")
    assert events(store, "user_id", "item_id", "action", "ts", "surface") == [
        (449818, "6406:95471", "view", "2017-05-13 01:25:00", "shop"),
        (449818, "6406:", "impression", "2017-05-13 01:26:18", "430539_1007"),
        (449818, "6406:", "click", "2017-05-13 01:26:18", "430539_1007"),
        (449818, "6406:95471", "add_to_cart", "2017-05-13 01:26:40", "shop"),
        (449818, "6250:91286", "favorite", "2017-05-13 01:28:20", "shop"),
        (449818, "6406:95471", "checkout", "2017-05-13 01:30:00", "shop"),
        (581738, "6406:95471", "impression", "2017-05-07 06:14:04", "430548_1007"),
    ]


def test_a_group_has_its_category_and_its_brand_as_advertiser(log, items):
    write_all(log)
    assert items(log.build("alimama_groups"), "item_id", "category_id", "advertiser_id") == [
        ("6250:91286", "6250", "91286"),
        ("6406:", "6406", None),
        ("6406:95471", "6406", "95471"),
    ]


def test_bad_rows_are_set_aside_with_their_reasons(log, events, quarantined):
    write_all(log)
    log.write(
        "raw_sample.csv", *SAMPLE, "5,1494137644,1,430548_1007,1,1", "5,noon,1,430548_1007,1,0", "5,1494137644,77"
    )
    log.write("ad_feature.csv", *ADS, "4,6406,83237,9001,95471,-2.0")
    store = log.build("alimama")
    assert len(events(store, "user_id")) == 3
    assert quarantined(store) == [
        ("events", "action is unknown", "clk=1, nonclk=1"),
        ("events", "ts cannot be read as a time", "noon"),
        ("events", "wrong number of columns", None),
        ("items", "price is negative", "-2.0"),
    ]


def test_bad_rows_of_the_groups_are_set_aside_with_their_reasons(log, quarantined):
    write_all(log)
    log.write("raw_sample.csv", *SAMPLE, "5,1494137644,99,430548_1007,1,0")  # an ad that nobody knows
    log.write("behavior_log.csv", *BEHAVIOR, "5,1494137644,pv,,91286", "5,1494137644,look,6250,91286")
    assert quarantined(log.build("alimama_groups")) == [
        ("events", "action is unknown", "look"),
        ("events", "item_id is missing", None),
        ("events", "item_id is missing", None),
    ]


@pytest.mark.parametrize(
    ("reader", "name"),
    [
        ("alimama", "raw_sample.csv"),
        ("alimama", "ad_feature.csv"),
        ("alimama_groups", "ad_feature.csv"),
        ("alimama_groups", "behavior_log.csv"),
    ],
)
def test_a_missing_file_is_named(log, reader, name):
    write_all(log)
    (log.folder / name).unlink()
    with pytest.raises(DataError, match=rf"lacks {name}"):
        log.build(reader)
