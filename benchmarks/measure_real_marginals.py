"""Measure the marginals of real logs that a world is calibrated against, and write them where the package keeps them.

    python benchmarks/measure_real_marginals.py --data DIR [--out src/lowerfunnel/world/describe/real_marginals.toml]

DIR holds one folder per set. Only summary figures are written, never rows; each says its set, the number of rows behind
it, and what to mind. A set that is not there is named and left out, and then nothing is written.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lowerfunnel.world.describe import marginals

ROOT = Path(__file__).resolve().parents[1]
Entry = tuple[str, dict[str, float], int, str]
CURVE_POINTS = 24


def column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()


def codes(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)


def retailrocket(folder: Path) -> list[Entry]:
    events = pq.read_table(folder / "events.parquet")
    user, t = column(events, "user_id"), column(events, "ts").astype(np.int64)
    step = np.array([("view", "add_to_cart", "purchase").index(a) for a in events["action"].to_pylist()])
    note = "buyers only; one purchase of each, and what they did with it, is left out of this copy"
    return [
        ("funnel", marginals.buyers_funnel(user, step), len(events), note),
        ("gaps_s", marginals.gaps(user, t), len(events), note),
        (
            "cart_to_purchase_s",
            marginals.cart_to_purchase(user, column(events, "item_id"), t, step),
            len(events),
            note,
        ),
        ("sessions", marginals.sessions(user, t), len(events), note),
        ("items", marginals.tail(column(events, "item_id")), len(events), note),
        ("rhythm", marginals.rhythm(t), len(events), note),
        ("curve gaps", dict(_pairs(marginals.gap_curve(user, t, points=CURVE_POINTS))), len(events), note),
    ]


def rees46_sessions(folder: Path) -> list[Entry]:
    events = pq.read_table(folder / "events.parquet")
    note = "two days of 2019, nearly all views; prices are normalised and cannot be compared"
    brand, category = column(events, "brand_id"), column(events, "category_id")
    session = column(events, "session_id")
    # -1 stands for no session at all.
    size = np.unique(session[session != -1], return_counts=True)[1]
    known = brand >= 0
    return [
        ("brands", marginals.tail(brand[known].astype(np.int64)), int(known.sum()), note),
        ("categories", marginals.tail(category.astype(np.int64)), len(events), note),
        ("items", marginals.tail(column(events, "item_id").astype(np.int64)), len(events), note),
        (
            "sessions",
            {
                "events_mean": float(size.mean()),
                "single_share": float((size == 1).mean()),
                "events_q90": float(np.quantile(size, 0.9)),
            },
            len(events),
            note + "; sessions as its source cut them",
        ),
    ]


def item_tail(note: str, file: str = "events.parquet") -> Callable[[Path], list[Entry]]:
    def measure(folder: Path) -> list[Entry]:
        item = column(pq.read_table(folder / file), "item_id")
        curve = dict(_pairs(marginals.tail_curve(item, points=CURVE_POINTS)))
        return [("items", marginals.tail(item), len(item), note), ("curve items", curve, len(item), note)]

    return measure


def complete_journey(folder: Path) -> list[Entry]:
    bought = pq.read_table(folder / "transactions_sample.parquet")
    products = pq.read_table(folder / "products.parquet")
    quantity = column(bought, "quantity").astype(np.float64)
    unit_price = column(bought, "sales_value").astype(np.float64) / np.where(quantity > 0, quantity, np.nan)
    product, place = np.unique(column(bought, "product_id").astype(str), return_inverse=True)
    ordered = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[ordered], np.arange(len(product)))
    price = np.array(
        [
            np.nanmedian(part) if np.isfinite(part).any() else np.nan
            for part in np.split(unit_price[ordered], starts[1:])
        ]
    )
    category_of = dict(
        zip(column(products, "product_id").astype(str), codes(products, "product_category"), strict=True)
    )
    category = np.array([category_of.get(each, -1) for each in product])
    manufacturer = dict(
        zip(column(products, "product_id").astype(str), codes(products, "manufacturer_id"), strict=True)
    )
    seller = np.array([manufacturer.get(each, -1) for each in product])[place]
    note = "groceries of a household panel, the manufacturer as advertiser; a product's price is its median"
    return [
        ("prices", marginals.prices(price, category), len(product), note),
        ("advertisers", marginals.tail(seller), len(bought), note),
    ]


def ipinyou(folder: Path) -> list[Entry]:
    click = np.concatenate(
        [column(pq.read_table(folder / f"{part}_auctions.parquet"), "click") for part in ("validation", "test")]
    )
    shown = marginals.clicks(np.array([len(click)]), np.array([(click > 0).sum()]))
    return [("ads", shown, len(click), "one advertiser's auctions, display ads")]


def open_bandit(folder: Path) -> list[Entry]:
    parts = [pq.read_table(folder / f"random_{campaign}.parquet") for campaign in ("men", "women")]
    click = np.concatenate([column(part, "click") for part in parts]) > 0
    position = np.concatenate([column(part, "position") for part in parts]).astype(np.int64)
    figures = marginals.clicks(np.bincount(position), np.bincount(position[click], minlength=position.max() + 1))
    return [("ads", figures, len(click), "evenly drawn fashion items; some 100 clicks, so very noisy")]


SETS: dict[str, Callable[[Path], list[Entry]]] = {
    "retailrocket": retailrocket,
    "rees46_sessions": rees46_sessions,
    "gowalla": item_tail("check-ins at places", "train.parquet"),
    "taobao_userbehavior": item_tail("favourites, carts and purchases; no views"),
    "mule_taobao": item_tail("favourites, carts and purchases; no views"),
    "mule_jdata": item_tail("favourites, carts and purchases; no views"),
    "complete_journey": complete_journey,
    "ipinyou_2997": ipinyou,
    "open_bandit": open_bandit,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "src/lowerfunnel/world/describe/real_marginals.toml")
    arguments = parser.parse_args()
    missing = [name for name in SETS if not (arguments.data / name).is_dir()]
    if missing:
        print(f"not there, so nothing is written: {', '.join(missing)}", file=sys.stderr)
        return 1
    lines = ["# Marginals of real logs, made by benchmarks/measure_real_marginals.py. Summary figures only.", ""]
    for name, measure in SETS.items():
        for group, figures, n, note in measure(arguments.data / name):
            curve = group.startswith("curve ")
            lines += [
                "[[curve]]" if curve else "[[group]]",
                f'set = "{name}"',
                f'name = "{group.removeprefix("curve ")}"',
            ]
            lines += [f"n = {n}", f'note = "{note}"']
            if curve:
                lines += [f"{key} = {value}" for key, value in figures.items()]
            else:
                lines += ["figures = { " + ", ".join(f"{key} = {value:.6g}" for key, value in figures.items()) + " }"]
                print(f"{name:22s} {group:12s} n={n:<9,d} " + "  ".join(f"{k} {v:.4g}" for k, v in figures.items()))
            lines.append("")
    arguments.out.write_text("\n".join(lines), encoding="utf-8")
    return 0


def _pairs(curve: list[tuple[float, float]]) -> list[tuple[str, str]]:
    return [(axis, "[" + ", ".join(f"{point[i]:.4g}" for point in curve) + "]") for i, axis in enumerate("xy")]


if __name__ == "__main__":
    sys.exit(main())
