"""A Hub, or a repository on it, that means harm: endless bodies, heaps of files, deep JSON, answers of another form."""

import gzip
import json
import os

import pytest
from huggingface_hub import constants

from genarium.catalogue import find_checkpoints
from genarium.errors import CheckpointError, FileError, HubError
from genarium.hub import answers
from genarium.hub.fetch import fetch, fetch_address
from genarium.hub.offer import MAX_FILES, look

INFO = r"^/api/models/someone/vae"
DEEP = b"[" * 100_000


@pytest.fixture
def repo(hub, tiny_checkpoints):
    return hub.add_folder("someone/vae", tiny_checkpoints / "tiny-vae")


def change(repo, **files):
    repo.commit({**repo.files, **files}, "change")


def leftovers(tmp_path):
    return [p for p in (tmp_path / "hf-home").rglob("*") if "incomplete" in p.name or p.suffix == ".safetensors"]


def test_a_body_that_does_not_end_is_cut_at_the_declared_size(hub, repo, families, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    offer = look("someone/vae", families)
    hub.swell(r"/resolve/.*safetensors", more=10**9)
    with pytest.raises(HubError, match="longer than the Hub declared"):
        fetch(offer)
    assert hub.swollen < 10**8, "what lies in the buffers of sockets, and no more"
    assert not leftovers(tmp_path)
    hub.heal()
    assert (fetch(look("someone/vae", families)) / "vae/diffusion_pytorch_model.safetensors").exists()


def test_an_index_that_does_not_end_is_cut_too(hub, repo, families, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.swell(r"/resolve/.*model_index", more=10**9)
    with pytest.raises(HubError, match="longer than the Hub declared"):
        look("someone/vae", families)
    assert hub.swollen < 10**8


@pytest.mark.parametrize("where", ["vae/{}.json", "vae/diffusion_pytorch_model-{:05d}-of-99999.safetensors"])
def test_a_repository_of_heaps_of_files_is_refused_before_any_is_fetched(hub, repo, families, where):
    change(repo, **{where.format(i): b"{}" for i in range(MAX_FILES + 10)}, **{"vae/config.json": b"{}"})
    offer = look("someone/vae", families)
    assert f"more than the {MAX_FILES} allowed" in offer.problem and not offer.files
    with pytest.raises(CheckpointError, match="files to fetch"):
        fetch(offer)
    assert not hub.asked("GET", "/resolve/.*vae/")


def test_heaps_of_files_that_nobody_needs_and_of_components_are_no_work(hub, repo, families):
    index = json.loads(repo.files["model_index.json"])
    index |= {f"part{i}": ["diffusers", "UNet2DModel"] for i in range(5000)}
    heaps = {f"part{i}/{i}.json": b"{}" for i in range(5000)}
    change(repo, **heaps, **{"model_index.json": json.dumps(index).encode()})
    assert "files to fetch" in look("someone/vae", families).problem
    change(repo, **{"model_index.json": json.dumps({k: v for k, v in index.items() if "part" not in k}).encode()})
    assert not look("someone/vae", families).problem


@pytest.mark.parametrize("content", [DEEP, b'{"a":' * 100_000, b'{"_class_name": ' + b"9" * 5000 + b"}", b"\xff\xfe"])
def test_an_index_that_cannot_be_read_is_a_sentence(hub, repo, families, content):
    change(repo, **{"model_index.json": content})
    assert "cannot be read" in look("someone/vae", families).problem


@pytest.mark.parametrize("file", ["model_index.json", "config.json"])
def test_a_checkpoint_of_deep_json_is_listed_as_broken(house, families, file):
    (house / "checkpoints/deep").mkdir()
    (house / "checkpoints/deep" / file).write_bytes(DEEP)
    catalogue = find_checkpoints(families)
    assert [b.origin for b in catalogue.broken] == ["checkpoints/deep"] and not catalogue.checkpoints
    with pytest.raises(CheckpointError, match="cannot be used"):
        catalogue["deep"]


def test_nothing_that_a_folder_does_wrong_ends_the_search_for_checkpoints(house, families, monkeypatch):
    from genarium import catalogue

    def fail(*arguments):
        raise ZeroDivisionError("unforeseen")

    (house / "checkpoints/odd").mkdir()
    (house / "checkpoints/odd/model_index.json").write_text("{}")
    monkeypatch.setattr(catalogue, "open_checkpoint", fail)
    (broken,) = find_checkpoints(families).broken
    assert broken.reason == "ZeroDivisionError: unforeseen" and "Traceback" in broken.details


GOOD = {"_id": "1", "id": "someone/vae", "sha": "0" * 40, "siblings": [{"rfilename": "model_index.json", "size": 2}]}
FILE = {"rfilename": "model_index.json", "size": 2, "blobId": "0" * 40}


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"<html>A proxy's page</html>", b"{", DEEP, b"null", b"3", b'"text"', b"[]", b"[{}]", b"\xff"),
        *({}, {"id": 3}, GOOD | {"sha": None}, GOOD | {"sha": "../../.."}, GOOD | {"sha": ["x"]}, GOOD | {"sha": 5}),
        *(GOOD | {"siblings": value} for value in (3, "text", [3], [None], [{}], {"a": 1})),
        *(
            GOOD | {"siblings": [FILE | {"rfilename": v}]}
            for v in (None, 3, ["x"], "../../x", "/etc/x", "a\0b", "..\\x")
        ),
        *(GOOD | {"siblings": [FILE | {"size": value}]} for value in ("2", -1, 2.5, [], {"a": 1})),
        *(GOOD | {"siblings": [FILE | {"blobId": value}]} for value in (3, ["x"], "x", "../../x")),
        *(GOOD | {"siblings": [FILE | {"lfs": value}]} for value in (3, "x", [1], {"sha256": 3}, {"sha256": "x" * 64})),
        *(GOOD | {"lastModified": value} for value in (3, "yesterday", [])),
        *(GOOD | {"cardData": value} for value in (3, "x", [1])),
        *(GOOD | {"tags": 3, "config": 3, "safetensors": 3, "transformersInfo": 3, "spaces": 3, "gguf": 3},),
    ],
    ids=lambda answer: (answer[:20] if isinstance(answer, bytes) else json.dumps(answer)[-60:].encode()).decode(
        "latin-1"
    ),
)
def test_an_answer_of_another_form_is_a_sentence(hub, repo, families, answer):
    hub.answer("GET", INFO, answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    try:
        offer = look("someone/vae", families, token=False)
    except HubError as error:
        assert "someone/vae" in str(error) and len(str(error)) < 500
    else:  # what was odd in it is not used here
        assert isinstance(offer.problem, str)


def test_an_answer_without_an_end_is_thrown_away(hub, repo, families, monkeypatch):
    """By the length that it declares, by the bytes that come, or because it is packed: a bomb would unpack to gigabytes."""
    whole = look("someone/vae", families).commit
    monkeypatch.setattr(answers, "MAX_ANSWER", 5000)
    hub.answer("GET", INFO, json.dumps(GOOD).encode() + b" " * 5000)
    with pytest.raises(HubError, match="was thrown away"):
        look("someone/vae", families)
    hub.heal()
    hub.answer("GET", INFO, gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="gzip")
    with pytest.raises(HubError, match="packed"):
        look("someone/vae", families)
    hub.heal()
    hub.swell(INFO, more=10**9)
    with pytest.raises(HubError, match="more than"):
        look("someone/vae", families)
    assert hub.swollen < 10**8, "what lies in the buffers of sockets, and no more"
    hub.heal()
    monkeypatch.setattr(answers, "MAX_ANSWER", 2**20)
    assert look("someone/vae", families).commit == whole
    hooks = answers.get_session().event_hooks
    assert hooks["response"].count(answers._bound) == 1, "added once, however often it is asked"


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"x"', "X_Repo_Commit": "x" * 40, "Content_Type": "a/b"},
        {"ETag": "../../../x", "X_Repo_Commit": "../../x"},
        {"X_Linked_Size": "-5", "ETag": "y"},
        {"X_Linked_Size": "many", "ETag": "y", "X_Repo_Commit": "0"},
        {"Location": "//[", "ETag": "z"},
        {"Content_Encoding": "gzip", "ETag": "z"},
        {},
    ],
)
def test_headers_of_another_form_are_a_sentence_and_nothing_is_written_elsewhere(
    hub, repo, families, headers, tmp_path
):
    offer = look("someone/vae", families)
    before = set(tmp_path.rglob("*"))
    hub.answer("HEAD", r"/resolve/.*safetensors", b"", **headers)
    hub.answer("GET", r"/resolve/.*safetensors", b"xx", **headers)
    with pytest.raises(HubError, match="someone/vae"):
        fetch(offer)
    assert all(tmp_path / "hf-home" in path.parents for path in set(tmp_path.rglob("*")) - before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_a_sentence_to_a_user(hub, repo, families, tmp_path):
    cache = tmp_path / "hf-home/hub"
    cache.mkdir()
    cache.chmod(0o500)
    try:
        with pytest.raises((HubError, FileError), match="written"):
            fetch_address("someone/vae", families)
    finally:
        cache.chmod(0o700)


def test_a_cache_that_cannot_be_written_is_a_sentence(hub, repo, families, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", "/somewhere/blobs")

    offer = look("someone/vae", families)
    monkeypatch.setattr("genarium.hub.download.hf_hub_download", refuse)
    with pytest.raises(HubError, match=r"cannot be written: Permission denied.*HF_HOME"):
        fetch(offer)
