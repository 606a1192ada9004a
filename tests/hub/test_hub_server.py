"""The tests' own Hub speaks the protocol: the plain huggingface_hub client does with it what it does with the real one."""

from pathlib import Path

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelCard,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "folder"
    (folder / "unet").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [genarium]\nlibrary_name: diffusers\n---\n# Card\n")
    (folder / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    (folder / "unet/model.safetensors").write_bytes(WEIGHTS)
    return folder


def test_up_and_down_again(hub, folder):
    api = HfApi()
    assert api.whoami()["name"] == "user"
    url = api.create_repo("user/model", private=True)
    assert url.repo_id == "user/model"
    assert api.create_repo("user/model", exist_ok=True).repo_id == "user/model"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("user/model")
    commit = api.upload_folder(repo_id="user/model", folder_path=folder)

    info = api.model_info("user/model", files_metadata=True)
    assert info.sha == commit.oid and info.private and info.tags == ["diffusers", "genarium"]
    sizes = {s.rfilename: s.size for s in info.siblings}
    assert sizes["unet/model.safetensors"] == len(WEIGHTS) and set(sizes) >= {"README.md", "model_index.json"}
    by_name = {s.rfilename: s for s in info.siblings}
    assert by_name["unet/model.safetensors"].lfs.size == len(WEIGHTS) and by_name["README.md"].lfs is None
    assert api.model_info("user/model", expand=["gated", "usedStorage"]).used_storage == sum(sizes.values())
    assert [e.path for e in api.list_repo_tree("user/model")] == [
        "unet",
        ".gitattributes",
        "README.md",
        "model_index.json",
    ]
    assert api.list_repo_refs("user/model").branches[0].target_commit == commit.oid
    (entry,) = api.get_paths_info("user/model", ["unet/model.safetensors"], expand=True)
    assert entry.lfs.size == len(WEIGHTS) and entry.last_commit.oid == commit.oid

    local = Path(snapshot_download("user/model"))
    assert local.name == commit.oid
    for path in folder.rglob("*"):
        if path.is_file():
            assert (local / path.relative_to(folder)).read_bytes() == path.read_bytes()
    asked = len(hub.requests)
    assert snapshot_download("user/model", revision=commit.oid) == str(local) and len(hub.requests) == asked
    api.delete_repo("user/model")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("user/model")


def test_a_commit_adds_and_deletes_at_once_and_leaves_out_what_has_not_changed(hub, folder):
    api = HfApi()
    api.create_repo("genarium/app", repo_type="space", space_sdk="gradio", space_hardware="zero-a10g")
    add = [CommitOperationAdd("weights.npy", WEIGHTS), CommitOperationAdd("app.py", b"print()\n")]
    api.create_commit("genarium/app", add, commit_message="one", repo_type="space")
    uploads = hub.asked("PUT", "/lfs/")
    assert uploads == 1
    operations = [
        CommitOperationDelete("app.py"),
        CommitOperationAdd("main.py", b"print(2)\n"),
        CommitOperationAdd("weights.npy", WEIGHTS),
    ]
    done = api.create_commit("genarium/app", operations, commit_message="two", repo_type="space")
    space = hub.repo("genarium/app", "space")
    assert set(space.files) == {".gitattributes", "README.md", "weights.npy", "main.py"} and space.sha == done.oid
    assert [c.title for c in space.commits][-2:] == ["one", "two"] and hub.asked("PUT", "/lfs/") == uploads
    with pytest.raises(HfHubHTTPError, match="412"):
        late = [CommitOperationAdd("late.txt", b"late")]
        api.create_commit(
            "genarium/app", late, commit_message="3", repo_type="space", parent_commit=space.commits[0].oid
        )
    assert api.space_info("genarium/app").runtime.requested_hardware == "zero-a10g"
    assert api.request_space_hardware("genarium/app", "cpu-basic").requested_hardware == "cpu-basic"


def test_who_may_see_and_write_what(hub):
    hub.add_repo("user/secret", {"a.txt": b"a"}, private=True)
    hub.add_repo("other/gated", {"a.txt": b"a"}, gated="manual")
    stranger, user = HfApi(token=False), HfApi()
    for repo in ("user/secret", "user/missing"):
        with pytest.raises(RepositoryNotFoundError, match="401"):
            stranger.model_info(repo)
    with pytest.raises(RepositoryNotFoundError, match="404"):
        user.model_info("user/missing")
    assert user.model_info("other/gated").gated == "manual"
    with pytest.raises(GatedRepoError):
        hf_hub_download("other/gated", "a.txt")
    hub.repo("other/gated").readers.add("user")
    assert Path(hf_hub_download("other/gated", "a.txt")).read_text() == "a"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(token="hf_wrong").whoami()
    for token, repo in (("hf_user", "other/mine"), ("hf_read", "user/mine"), ("hf_other", "genarium/mine")):
        with pytest.raises(HfHubHTTPError, match="403"):
            HfApi(token=token).create_repo(repo)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("user/secret", "b.txt")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("user/secret", "a.txt", revision="v9")
    repo = hub.repo("user/secret")
    repo.tags["v1"] = repo.sha
    repo.commit({"a.txt": b"new"}, "newer")
    assert Path(hf_hub_download("user/secret", "a.txt", revision="v1")).read_text() == "a"
    assert Path(hf_hub_download("user/secret", "a.txt")).read_text() == "new"


def test_metadata_is_validated(hub):
    ModelCard("---\nlicense: mit\n---\n").validate()
    with pytest.raises(ValueError, match="license"):
        ModelCard("---\nlicense: free for all\n---\n").validate()
    api = HfApi()
    api.create_repo("user/model")
    with pytest.raises(ValueError, match="license"):
        bad = [CommitOperationAdd("README.md", b"---\nlicense: free for all\n---\n")]
        api.create_commit("user/model", bad, commit_message="bad")
    assert len(hub.repo("user/model").commits) == 1


def test_collections_and_lists(hub):
    api = HfApi()
    hub.add_repo("user/model", {"README.md": b"---\ntags: [genarium]\n---\n"})
    hub.add_repo("user/other")
    assert [m.id for m in api.list_models(filter="genarium")] == ["user/model"]
    assert [m.id for m in api.list_models(search="OTHER", author="user")] == ["user/other"]
    collection = api.create_collection("My models", exists_ok=True)
    assert api.create_collection("My models", exists_ok=True).slug == collection.slug
    api.add_collection_item(collection.slug, "user/model", "model", note="small")
    found = api.add_collection_item(collection.slug, "user/model", "model", exists_ok=True)
    assert [(i.item_id, i.note) for i in found.items] == [("user/model", "small")]
    with pytest.raises(HfHubHTTPError, match="404"):
        api.add_collection_item(collection.slug, "user/missing", "model")


def test_faults_come_as_ordered_and_pass(hub):
    hub.add_repo("user/model", {"weights.safetensors": WEIGHTS})
    api = HfApi()
    hub.fail("GET", "/api/models/user/model", 500)
    with pytest.raises(HfHubHTTPError, match="500"):
        api.model_info("user/model")
    hub.fail("GET", "/api/models/user/model", 429, ratelimit='"api";r=0;t=55')
    with pytest.raises(HfHubHTTPError, match="Retry after 55 seconds"):
        api.model_info("user/model")
    hub.fail("GET", "/api/models/user/model", 403, message="Forbidden by test")
    with pytest.raises(HfHubHTTPError, match="Forbidden by test"):
        api.model_info("user/model")

    hub.cut("GET", "/resolve/", after=1000)  # the client goes on from there
    assert Path(hf_hub_download("user/model", "weights.safetensors")).read_bytes() == WEIGHTS
    assert hub.asked("GET", "/resolve/") == 2
    hub.cut("GET", "/resolve/", after=0, times=99)
    with pytest.raises(httpx2.RemoteProtocolError):
        hf_hub_download("user/model", "weights.safetensors", force_download=True)
    hub.heal()
    hub.corrupt("/resolve/")
    wrong = Path(hf_hub_download("user/model", "weights.safetensors", force_download=True)).read_bytes()
    assert len(wrong) == len(WEIGHTS) and wrong != WEIGHTS, "the client checks the size only"

    hub.cut("PUT", "/lfs/", after=100)
    api.upload_file(path_or_fileobj=WEIGHTS[::-1], path_in_repo="more.safetensors", repo_id="user/model")
    assert hub.asked("PUT", "/lfs/") == 2 and hub.repo("user/model").files["more.safetensors"] == WEIGHTS[::-1]
    commits = len(hub.repo("user/model").commits)
    hub.fail("POST", "/commit/", 400, message="No")
    with pytest.raises(BadRequestError):
        api.upload_file(path_or_fileobj=b"text", path_in_repo="text.txt", repo_id="user/model")
    assert len(hub.repo("user/model").commits) == commits
