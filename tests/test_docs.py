"""README and docs say what is true: commands, settings, recipes, links, reasons and examples are checked against the code."""

import csv
import doctest
import gzip
import importlib
import importlib.util
import io
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
import typer.core

import lowerfunnel
from lowerfunnel.cli.main import app
from lowerfunnel.config import load_settings
from lowerfunnel.evaluation.metrics_json import MetricRow
from lowerfunnel.events.build import build_store
from lowerfunnel.events.canonical import COLUMNS, canonical_rows
from lowerfunnel.events.limits import cannot_do
from lowerfunnel.events.quality import read_quality
from lowerfunnel.events.quarantine import NO_ROW
from lowerfunnel.events.readers import READERS
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.settings import LogConfig, SourceConfig
from lowerfunnel.lab.study import Study
from lowerfunnel.lab.tune.space import Space
from lowerfunnel.metrics.ranking import RANK_METRICS
from lowerfunnel.pipeline.fingerprints import OUTPUTS
from lowerfunnel.pipeline.recipe import Recipe, load_recipe
from lowerfunnel.serving.server import ServerConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    return [
        Block(page, found[1], found[2])
        for found in _FENCE.finditer(page.read_text(encoding="utf-8"))
        if found[1] == language
    ]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def shell_lines(page: Path) -> Iterator[str]:
    """Every line of a shell block and every piece of inline code."""
    for block in blocks(page, "sh"):
        yield from block.text.splitlines()
    yield from re.findall(r"`([^`\n]+)`", prose(page))


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `lowerfunnel` command; optional parts count as given, "..." as nothing."""
    lines = [re.sub(r"[\[\]]|\.\.\.", " ", line) for line in shell_lines(page) if line.startswith("lowerfunnel ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def parse(arguments: list[str]) -> None:
    """Let the command line parse a command without doing it."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    with group.make_context("lowerfunnel", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, list(arguments))
        while isinstance(command, typer.core.TyperGroup) and rest:
            context = command.make_context(name, list(rest), parent=context)  # noqa: PLW2901 - that of the group within
            name, command, rest = command.resolve_command(context, list(rest))
        numbers = ["7" if word == "N" else word for word in rest]
        command.make_context(name, numbers, parent=context)


def test_every_command_in_the_docs_is_one_that_the_program_takes():
    found = [arguments for page in PAGES for arguments in commands(page)]
    assert len(found) > 10
    # A command by its name alone is a mention, not a call.
    mentioned = {arguments[0] for arguments in found if len(arguments) == 1}
    assert mentioned <= set(typer.main.get_command(app).commands)
    of_world = {arguments[1] for arguments in found if arguments[0] == "world" and len(arguments) == 2}
    assert of_world <= set(typer.main.get_command(app).commands["world"].commands)
    for arguments in found:
        if len(arguments) > (2 if arguments[0] == "world" else 1):
            parse(arguments)


@pytest.mark.parametrize(
    "wrong", ["run r.toml", "run r.toml --out d --dat x", "trane r.toml", "evaluate", "world mak --out d", "world make"]
)
def test_a_command_that_does_not_exist_is_found(wrong):
    with pytest.raises(Exception, match=r"Missing|No such") as caught:
        parse(wrong.split())
    assert type(caught.value).__module__.split(".")[0] in ("click", "typer")


def test_every_command_of_the_program_is_in_the_readme():
    described = commands(ROOT / "README.md")
    group = typer.main.get_command(app)
    assert {arguments[0] for arguments in described} == set(group.commands)
    assert {arguments[1] for arguments in described if arguments[0] == "world"} == set(group.commands["world"].commands)


def test_every_make_target_in_the_docs_exists_and_the_readme_names_the_main_ones():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        (page.name, found[1])
        for page in PAGES
        for line in shell_lines(page)
        if (found := re.match(r"make ([a-z-]+)", line))
    }
    assert {target for _, target in named} <= targets
    assert {"demo", "test", "check", "bench", "install"} <= {target for name, target in named if name == "README.md"}


def test_every_recipe_in_the_docs_exists_and_every_recipe_is_in_the_docs():
    named = {found for page in PAGES for found in re.findall(r"recipes/(\w+)\.toml", page.read_text(encoding="utf-8"))}
    assert named == {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_is_named_after_its_file(path):
    assert load_recipe(path).name == path.stem


def test_the_table_of_recipes_gives_their_headline():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `recipes/(\w+)\.toml` \|.*\| ([\w@]+) \|$", text, re.MULTILINE))
    assert said == {path.stem: load_recipe(path).evaluation.headline for path in RECIPES}


def test_every_study_in_the_docs_exists_and_every_study_is_in_the_docs():
    named = {
        found for page in PAGES for found in re.findall(r"studies/([a-z]\w*)\.toml", page.read_text(encoding="utf-8"))
    }
    assert named == {path.stem for path in (ROOT / "studies").glob("*.toml")}


def test_every_table_of_settings_in_the_docs_can_stand_in_a_file_of_its_kind():
    found = [block for page in PAGES for block in blocks(page, "toml")]
    assert len(found) >= 5
    for block in found:
        settings = tomllib.loads(block.text)
        where = f"{block.page.name}: {block.text.splitlines()[0]}"
        if "variants" in settings:
            load_settings(Study, settings, source=where)
        elif "ranges" in settings:
            load_settings(Space, settings, source=where)
        elif settings.keys() & {"engine", "http", "console", "manifest_key_env"}:
            load_settings(ServerConfig, settings, source=where)
        else:
            load_settings(Recipe, {"name": "part", "log": {}, **settings}, source=where)


def test_every_setting_named_in_the_docs_exists():
    spec = settings_module()
    known = {setting.name for kind in (Recipe, ServerConfig) for setting in spec.describe_settings(kind)}
    sections = {name.rpartition(".")[0] for name in known}
    parts = "log|world|labels|retrieval|training|index|evaluation|engine|http|console"
    named = {
        name
        for page in PAGES
        for name in re.findall(rf"`((?:{parts})\.[a-z_.]+)`", prose(page))
        if not name.endswith(".json")
    }
    assert named - known - sections == set()


def settings_module():
    path = ROOT / "docs" / "generate_settings.py"
    spec = importlib.util.spec_from_file_location("generate_settings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_settings_is_current():
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == settings_module().settings_reference(), "rewrite it with: python docs/generate_settings.py"


def test_every_setting_has_a_meaning():
    described = [s for kind in (Recipe, ServerConfig) for s in settings_module().describe_settings(kind)]
    assert [s.name for s in described if not s.description] == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_PAGE
def test_every_internal_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def test_every_page_of_the_docs_can_be_reached_from_the_readme():
    linked = {ROOT / target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(ROOT / "README.md"))}
    missing = [page for page in PAGES[1:] if page not in linked and page.parent not in linked]
    assert missing == []


def test_decisions_are_numbered_without_gaps_and_have_their_three_parts():
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:4] for path in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for number, path in enumerate(records, start=1):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequence"))


def test_the_layout_of_a_run_is_told_as_it_is():
    for page in (ROOT / "README.md", ROOT / "docs" / "run-folder.md"):
        listed = {line.split()[0].rstrip("/") for block in blocks(page, "") for line in block.text.splitlines() if line}
        assert {output for outputs in OUTPUTS.values() for output in outputs} <= listed
    text = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| .* \| `[\w/.]+`", text, re.MULTILINE) == list(OUTPUTS)


def test_every_row_of_metrics_in_the_docs_is_one():
    rows = [json.loads(block.text) for page in PAGES for block in blocks(page, "json")]
    assert len(rows) == 2
    for row in rows:
        assert MetricRow(**row).metric == "recall@100"


def test_every_metric_and_floor_is_explained():
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for metric in (*RANK_METRICS, "micro_recall"):
        assert f"| `{metric}@k` |" in text
    for floor in load_recipe(ROOT / "recipes" / "demo.toml").evaluation.floors:
        assert f"| `{floor}` |" in text


def test_the_log_page_names_every_column_action_and_reader():
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    names = {column for columns in COLUMNS.values() for column in columns} | set(ACTIONS) | set(READERS)
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def reasons() -> set[str]:
    """Every reason for which a row can be set aside."""
    config = LogConfig(user_id_type="int64", item_id_type="int64")
    found = set(NO_ROW.values())
    for table, columns in COLUMNS.items():
        for order in ("ts", "seq"):
            held = [(name, "FLOAT[]" if name == "content" else "VARCHAR") for name in columns if name != order]
            query = canonical_rows(
                table,
                SourceConfig(files="f.csv"),
                held,
                "src",
                config=config,
                where=table,
                file="f",
                number=0,
                now_us=0,
            )
            found |= set(re.findall(r"THEN '([^']+)'", query.partition("CASE code ")[2].partition(" END AS reason")[0]))
    return found


def test_every_reason_for_setting_a_row_aside_is_listed_and_no_other():
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    table = text.partition("| reason | |")[2].partition("\n\n")[0]
    said = {reason for line in table.splitlines()[1:] for reason in re.findall(r"`([^`]+)`", line.split("|")[1])}
    assert said == reasons()


def test_the_log_page_says_all_that_a_log_may_be_unable_to_do():
    worst = [
        cannot_do(order=order, actions={"view"}, columns=set(), has_catalogue=False, advertisers=0)
        for order in ("none", "sequence")
    ]
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    table = text.partition("| the log lacks | then |\n|---|---|\n")[2].partition("\n\n")[0]
    assert len(table.splitlines()) == len(set(worst[0]) | set(worst[1]))


def test_the_log_of_the_readme_imports_as_its_recipe_says(tmp_path):
    (sample,) = blocks(ROOT / "README.md", "csv")
    (recipe,) = blocks(ROOT / "README.md", "toml")
    with gzip.open(tmp_path / "clickstream-2026.csv.gz", "wt", encoding="utf-8") as file:
        file.write(sample.text)
    skus = sorted({row["sku"] for row in csv.DictReader(io.StringIO(sample.text))})
    products = ["sku,merchant,category,price,colour,name", *(f"{sku},m1,c1,9.5,red,a thing" for sku in skus)]
    (tmp_path / "products.csv").write_text("\n".join(products) + "\n", encoding="utf-8")
    config = load_settings(Recipe, tomllib.loads(recipe.text), source="README.md")
    info = build_store(config.log, tmp_path, tmp_path / "store", threads=1)
    assert info.actions == {"impression": 1, "view": 1, "add_to_cart": 1, "checkout": 1}
    assert info.order == "time"
    assert {"value", "surface"} <= set(info.columns)
    quality = read_quality(tmp_path / "store")
    assert quality.rows["events"].ignored == 1
    assert quality.quarantined == {}
    items = pq.read_table(tmp_path / "store" / "items.parquet").to_pylist()
    assert items[0]["advertiser_id"] == "m1"
    assert items[0]["attributes"] == ["colour=red"]
    assert items[0]["price"] == 9.5


def test_the_readme_keeps_its_place_for_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- results:begin -->") == text.count("<!-- results:end -->") == 1
    assert text.index("<!-- results:begin -->") < text.index("<!-- results:end -->")


def test_the_changelog_opens_with_what_may_break_in_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = text.partition("\n## ")[2]
    assert newest.startswith(lowerfunnel.__version__)
    assert newest.partition("\n\n")[2].startswith("**May break:**")


@EVERY_PAGE
def test_a_page_names_no_place_of_one_machine(page):
    assert re.findall(r"(?<![\w.:/])/(?:home|tmp|work|root|Users)/\S*", page.read_text(encoding="utf-8")) == []


@EVERY_PAGE
def test_the_python_of_a_page_runs_and_gives_what_it_says(page):
    for number, block in enumerate(blocks(page, "python")):
        test = doctest.DocTestParser().get_doctest(block.text, {}, f"{page.name}, block {number + 1}", str(page), 0)
        assert test.examples, "python in the docs is a doctest"
        said = io.StringIO()
        assert doctest.DocTestRunner(verbose=False).run(test, out=said.write).failed == 0, said.getvalue()


PACKAGE = Path(lowerfunnel.__file__).parent
WITH_EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_examples_of_a_module_give_what_they_say(path):
    name = ".".join(["lowerfunnel", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module)
    written = len(re.findall(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert sum(len(test.examples) for test in tests) == written, "some example is where doctest does not find it"
    for test in tests:
        said = io.StringIO()
        result = doctest.DocTestRunner(verbose=False).run(test, out=said.write)
        assert result.failed == 0, said.getvalue()
