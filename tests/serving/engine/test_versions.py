"""Query tower, item index and feature schema are one version: verified before it serves, swapped and rolled back whole."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from lowerfunnel.errors import ConfigError, RunError, UnavailableError
from lowerfunnel.files import sha256_of_folder
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.server import load_server_config, manifest_key
from lowerfunnel.serving.versions.build import build_version
from lowerfunnel.serving.versions.golden import check_golden
from lowerfunnel.serving.versions.loaded import LoadedVersion
from lowerfunnel.serving.versions.manifest import read_manifest, verify_files
from lowerfunnel.serving.versions.registry import Registry


def quiet(_words):
    pass


@pytest.fixture(scope="session")
def published(served_before):
    """A registry with the versions of both runs. Read only."""
    return Registry.open(served_before)


@pytest.fixture(scope="session")
def ids(published):
    """The two versions by the name of their run."""
    found = sorted(published.manifests(), key=lambda manifest: manifest.built_at_us)
    return {"first": found[0].version, "second": found[1].version}


@pytest.fixture
def copy(published, ids, tmp_path):
    """Copy the first version, to be damaged."""
    return Path(shutil.copytree(published.folder(ids["first"]), tmp_path / "versions" / ids["first"]))


def load(folder, key=None):
    loaded = LoadedVersion.load(folder, key=key)
    check_golden(loaded)
    return loaded


def sign_again(folder):
    """Write the hashes of the files as they are now: what somebody does who can write the manifest as well."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = sha256_of_folder(folder)
    del files["manifest.json"]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": files}))


def test_a_version_that_was_built_is_whole(published, ids):
    for version in ids.values():
        loaded = load(published.folder(version))
        assert loaded.version == version
    assert ids["first"] != ids["second"]


def test_the_same_runs_make_the_same_version_once(published, ids, runs_folder):
    again = build_version({"conversion": runs_folder / "first"}, published, index=None, key=None, told=pytest.fail)
    assert again == ids["first"]


def test_every_file_is_verified_before_it_is_read(published, ids, copy):
    names = sorted(read_manifest(copy).files)
    assert len(names) > 15
    for name in names:
        path, whole = copy / name, (copy / name).read_bytes()
        for damaged in (whole[:-1], whole[: len(whole) // 2], bytes([whole[0] ^ 1]) + whole[1:], b""):
            path.unlink()
            path.write_bytes(damaged)
            with pytest.raises(RunError, match="is not what was published"):
                load(copy)
        path.unlink()
        with pytest.raises(RunError, match="lacks its file"):
            load(copy)
        path.write_bytes(whole)
    load(copy)


def test_a_file_that_was_not_published_and_a_link_are_refused(copy, tmp_path):
    (copy / "extra").write_text("x")
    with pytest.raises(RunError, match="extra, which was not published"):
        load(copy)
    (copy / "extra").unlink()
    golden = copy / "generators" / "conversion" / "golden.json"
    shutil.move(golden, tmp_path / "golden.json")
    golden.symlink_to(tmp_path / "golden.json")
    with pytest.raises(RunError, match="lacks its file"):
        load(copy)


def test_a_folder_of_another_name_is_refused(copy):
    moved = copy.rename(copy.with_name("0" * 16))
    with pytest.raises(RunError, match="stays in the folder of its name"):
        load(moved)


@pytest.mark.parametrize(
    "parts",
    [
        ["query_tower.onnx"],
        ["index/vectors.safetensors", "index/index.json"],
        ["item_inputs.safetensors"],
        ["model/weights.safetensors"],
        ["golden.json"],
    ],
)
def test_a_mix_of_two_versions_cannot_be_served(published, ids, copy, parts):
    other = published.folder(ids["second"])
    for part in parts:
        path = copy / "generators" / "conversion" / part
        path.unlink()
        shutil.copyfile(other / "generators" / "conversion" / part, path)
    with pytest.raises(RunError, match="is not what was published"):
        load(copy)
    # Even if the manifest says that it is right: the golden queries, or the tower itself, tell.
    sign_again(copy)
    with pytest.raises(RunError, match=r"worked out|is not that of this model|belong together"):
        load(copy)


def test_a_manifest_that_is_damaged_or_of_another_format_is_refused(copy):
    path = copy / "manifest.json"
    text = path.read_text()
    for damaged in (text[:-10], "[]", "{}", '"x"', text.replace('"format": 1', '"format": 2'), "\xff"):
        path.write_text(damaged)
        with pytest.raises(RunError):
            load(copy)
    path.unlink()
    with pytest.raises(RunError, match="is no manifest"):
        load(copy)


def test_features_of_another_schema_are_refused(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["generators"]["conversion"]["feature_schema"] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="features of the generator"):
        load(copy)


def test_with_a_key_only_versions_signed_with_it_are_served(tmp_path, run):
    registry = Registry.open(tmp_path)
    version = build_version({"conversion": run}, registry, index=None, key=b"secret", told=quiet)
    folder = registry.folder(version)
    load(folder, key=b"secret")
    with pytest.raises(RunError, match="not signed with the configured key"):
        verify_files(folder, read_manifest(folder), key=b"other")
    (folder / "lists.safetensors").unlink()
    (folder / "lists.safetensors").write_bytes(b"x")
    sign_again(folder)
    with pytest.raises(RunError, match="not signed with the configured key"):
        load(folder, key=b"secret")


def test_a_key_that_is_not_set_is_a_clear_error(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY, which is not set"):
        manifest_key(load_server_config(None, ["manifest_key_env=NO_SUCH_KEY"]))


def ask(engine, k=10, user=None):
    return engine.candidates([CandidateRequest(request_id="r", k=k, user_id=user, at_us=2**51, deadline_ms=10_000)])[0]


def test_publish_and_roll_back(engine):
    first = ask(engine)
    published = engine.publish("second")
    second = ask(engine)
    assert second.version == published.version != first.version
    assert second.candidates != first.candidates
    assert [info.current for info in engine.versions()] == [True, False]
    assert engine.rollback().version == first.version
    assert ask(engine).candidates == first.candidates
    with pytest.raises(RunError, match="no version before"):
        engine.rollback()


def test_what_was_published_last_is_served_after_a_restart(start):
    engine = start()
    version = engine.publish("second").version
    engine.close()
    assert ask(start()).version == version


@pytest.mark.parametrize("name", ["nothing", "", "..", "../first", "/etc", "first/../second", "."])
def test_only_a_run_of_the_folder_can_be_published(engine, name):
    before = ask(engine)
    with pytest.raises(RunError):
        engine.publish(name)
    assert ask(engine).candidates == before.candidates


def test_a_damaged_run_is_not_published_and_what_serves_goes_on(start, run, tmp_path):
    engine = start()
    before = ask(engine)
    broken = Path(shutil.copytree(run, tmp_path / "runs" / "broken"))
    weights = broken / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    engine._runs = lambda name: {"conversion": tmp_path / "runs" / name}
    with pytest.raises(RunError, match="weights"):
        engine.publish("broken")
    assert ask(engine).candidates == before.candidates
    assert [info.version for info in engine.versions() if info.current] == [before.version]


def test_a_damaged_version_is_not_rolled_back_to(start, tmp_path):
    engine = start()
    first = ask(engine).version
    second = engine.publish("second").version
    lists = tmp_path / "state" / "versions" / first / "lists.safetensors"
    lists.unlink()
    with pytest.raises(RunError, match="lacks its file"):
        engine.rollback()
    assert ask(engine).version == second
    assert Registry.open(tmp_path / "state").pointer().version == second


def test_nothing_published_is_told_as_such(tmp_path):
    with pytest.raises(UnavailableError, match="nothing is published"):
        Registry.open(tmp_path / "empty").pointer()


def test_a_version_that_was_published_elsewhere_is_followed(start, ids, tmp_path):
    engine = start()
    now = ask(engine).version
    (other,) = {*ids.values()} - {now}
    Registry.open(tmp_path / "state").point_to(other, at_us=2**51)
    waited = threading.Event()
    for _ in range(100):
        if ask(engine).version == other:
            break
        waited.wait(0.1)
    assert ask(engine).version == other


def test_looking_for_what_others_published_never_refuses_a_publication(start):
    engine = start(settings=["engine.freshness.poll_s=0.00001"])
    for _ in range(10):
        assert engine.publish("second").current
        assert engine.rollback().current


def test_every_answer_during_many_swaps_is_of_one_version_and_equals_its_offline_result(start):
    engine = start(settings=["engine.store.timeout_ms=5000"])
    users = engine.users(limit=6)
    expected = {}
    for _ in range(2):
        expected |= {(user, ask(engine, user=user).version): ask(engine, user=user).candidates for user in users}
        engine.publish("second")
    engine.rollback()
    failures, seen, stop = [], set(), threading.Event()

    def answer():
        while not stop.is_set():
            for user in users:
                found = ask(engine, user=user)
                seen.add(found.version)
                held = {one.item_id: one.score for one in expected[user, found.version]}
                close = all(abs(held.get(one.item_id, 9.0) - one.score) < 1e-4 for one in found.candidates[:5])
                if not close:
                    failures.append((user, found.version))

    readers = [threading.Thread(target=answer) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(5):
            engine.publish("second")
            engine.rollback()
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert len(seen) == 2


def test_a_damaged_version_is_built_anew_when_its_run_is_published_again(published, ids, runs_folder, tmp_path):
    registry = Registry(Path(shutil.copytree(published.root, tmp_path / "copy")))
    tower = registry.folder(ids["first"]) / "generators" / "conversion" / "query_tower.onnx"
    whole = tower.read_bytes()
    tower.unlink()
    tower.write_bytes(whole[:-1])
    told = []
    runs = {"conversion": runs_folder / "first"}
    assert build_version(runs, registry, index=None, key=None, told=told.append) == ids["first"]
    assert told
    load(registry.folder(ids["first"]))


def test_versions_out_of_reach_of_a_rollback_are_removed(start, tmp_path):
    engine = start()
    registry = Registry.open(tmp_path / "state")
    assert len(registry.manifests()) == 2
    engine.publish("first")
    assert [manifest.version for manifest in registry.manifests()] == [registry.pointer().version]
