"""The way down from the Hub, against one of our own: what is reported, what is fetched, and what goes wrong on the way."""

import errno
import hashlib
import json
import shutil
import subprocess
import threading

import pytest
import torch
from huggingface_hub import constants
from stock_models import stock, vq_model

from genarium.catalogue import Catalogue
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.errors import CheckpointError, HubError, InputError, Stopped
from genarium.hub import fetch as fetch_module
from genarium.hub.fetch import fetch, make_room, own_cache
from genarium.hub.offer import look, parse_address

WEIGHTS = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def repo(hub, tiny_checkpoints):
    """someone/vae: a tiny VAE with its sources, its weights in other forms beside, and things that nobody needs."""
    weights = (tiny_checkpoints / "tiny-vae" / WEIGHTS).read_bytes()
    repo = hub.add_folder("someone/vae", tiny_checkpoints / "tiny-vae")
    extra = {
        "vae/diffusion_pytorch_model.fp16.safetensors": weights,
        "vae/diffusion_pytorch_model.bin": b"pickle",
        "vae_ema/config.json": b"{}",
        "vae_ema/diffusion_pytorch_model.safetensors": weights,
        "evil.py": b"raise SystemExit",
        "training.npy": b"\0" * 1000,
        "README.md": b"---\nlicense: mit\n---\n# A VAE\n![](samples.png)\n",
        "samples.png": b"\x89PNG",
    }
    repo.commit({**repo.files, **extra}, "more")
    return repo


def fetched(folder) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def change(repo, **files: bytes | None):
    """Another commit, with files put in or, where None, taken out; __ in a name stands for a slash, _DOT_ for a dot."""
    names = {name.replace("__", "/").replace("_DOT_", "."): content for name, content in files.items()}
    repo.commit({k: v for k, v in {**repo.files, **names}.items() if v is not None}, "change")


# ---- addresses ----


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("user/name", ("user/name", None)),
        (" user/na-me.1 ", ("user/na-me.1", None)),
        ("user/name@v1.0", ("user/name", "v1.0")),
        ("user/name@refs/pr/1", ("user/name", "refs/pr/1")),
        ("https://huggingface.co/user/name", ("user/name", None)),
        ("huggingface.co/user/name/tree/dev", ("user/name", "dev")),
        ("https://hf.co/user/name/", ("user/name", None)),
    ],
)
def test_addresses(text, means):
    assert parse_address(text) == means


@pytest.mark.parametrize(
    "text", ["", "name", "a b/c", "user/name@", "user/name@a b", "../x", "a/b/c", "user/" + "x" * 97]
)
def test_what_is_no_address(text):
    with pytest.raises(InputError, match="no Hub id"):
        parse_address(text)


# ---- looking ----


def test_a_look_tells_everything_and_fetches_no_weights(hub, repo, families):
    offer = look("someone/vae", families, token=False)
    assert (offer.class_name, offer.family.name, offer.license) == ("VAEPipeline", "vae", "mit")
    assert offer.commit == repo.sha and offer.name == f"someone/vae@{repo.sha}" and not offer.problem
    weights = len(repo.files[WEIGHTS])
    assert weights < offer.size < 1.2 * weights + 50_000
    assert {f.path for f in offer.files} == {
        "model_index.json",
        "README.md",
        "samples.png",
        "vae/config.json",
        WEIGHTS,
    }
    assert hub.asked("GET", "/resolve/") == 1 and hub.asked("GET", "/resolve/.*model_index.json") == 1


def test_fetching_brings_exactly_these_and_they_load(hub, repo, families):
    steps = []
    offer = look("someone/vae", families, token=False)
    folder = fetch(offer, lambda done, total: steps.append((done, total)))
    assert fetched(folder) == {f.path for f in offer.files}
    assert steps[-1] == (offer.size, offer.size) and [s for s, _ in steps] == sorted(s for s, _ in steps)
    assert len({done for done, _ in steps}) > 3
    assert not hub.asked("GET", r"\.py|\.bin|fp16|ema")
    checkpoint = open_checkpoint(folder, families, name=offer.name)
    assert type(load_pipeline(checkpoint)).__module__ == "pipelines.pipeline_vae"


def test_a_second_time_nothing_is_fetched(hub, repo, families):
    fetch(look("someone/vae", families))
    before = hub.asked("GET", "/resolve/")
    fetch(look("someone/vae", families))
    assert hub.asked("GET", "/resolve/") == before


def test_a_pinned_revision_is_fetched_as_it_was(repo, families):
    first = repo.sha
    change(repo, README_DOT_md=b"# Changed")
    repo.tags["v1"] = first
    for revision in ("v1", first):
        offer = look(f"someone/vae@{revision}", families)
        assert offer.commit == first and b"A VAE" in (fetch(offer) / "README.md").read_bytes()
    assert look("someone/vae", families).commit == repo.sha != first
    with pytest.raises(HubError, match="no such revision"):
        look("someone/vae@v2", families)


def test_the_parts_of_large_weights_are_all_fetched(repo, families, tmp_path):
    """Sharded as diffusers shards them, with the whole file left beside: the loader takes the parts."""
    folder = fetch(look("someone/vae", families))
    load_pipeline(open_checkpoint(folder, families)).vae.save_pretrained(tmp_path / "vae", max_shard_size="20KB")
    parts = {f"vae/{p.name}": p.read_bytes() for p in (tmp_path / "vae").glob("*safetensors*")}
    assert len(parts) > 2
    repo.commit({**repo.files, **parts}, "parts")
    offer = look("someone/vae", families)
    paths = {f.path for f in offer.files}
    assert set(parts) <= paths and WEIGHTS not in paths
    assert type(load_pipeline(open_checkpoint(fetch(offer), families)).vae).__name__ == "VAEModel"


@pytest.mark.parametrize("weights", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"])
def test_a_repository_of_the_time_before_folders(hub, families, tmp_path, weights):
    """All files beside each other, code among them, as in google/ddpm-cifar10-32."""
    stock("DDPMPipeline").save_pretrained(tmp_path / "stock")
    files = {p.name: p.read_bytes() for p in (tmp_path / "stock").rglob("*") if p.is_file()}
    assert set(files) == {
        "model_index.json",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler_config.json",
    }
    needed = set(files)
    files |= {"diffusion_pytorch_model.bin": b"pickle", "modeling_ddpm.py": b"raise SystemExit", "images/0.png": b"\0"}
    if weights.endswith(".bin"):
        del files["diffusion_pytorch_model.safetensors"]
    hub.add_repo("google/ddpm", files)
    offer = look("google/ddpm", families)
    if weights.endswith(".bin"):
        assert "pickled" in offer.problem
        return
    folder = fetch(offer)
    assert fetched(folder) == needed
    adopted = load_pipeline(open_checkpoint(folder, families))
    assert adopted.config.sample_size == 32 and adopted.config.channels == 3
    assert adopted.scheduler.config.beta_schedule == "linear"


def test_a_pipeline_whose_parts_have_other_names_there(hub, families, tmp_path):
    stock("DiTPipeline").save_pretrained(tmp_path)
    hub.add_folder("facebook/dit", tmp_path)
    checkpoint = Catalogue({}, (), families)["facebook/dit"]
    assert {"vae/config.json", "transformer/diffusion_pytorch_model.safetensors"} < fetched(checkpoint.folder)
    assert load_pipeline(checkpoint).autoencoder.config.scaling_factor == 0.18215


@pytest.mark.parametrize("weights", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"])
def test_a_repository_of_a_single_model(hub, families, tmp_path, weights):
    """No model_index.json; what else lies there stays there, also what would be another checkpoint's."""
    vq_model().save_pretrained(tmp_path)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    assert set(files) == {"config.json", "diffusion_pytorch_model.safetensors"}
    needed = set(files)
    files |= {
        "vq.ckpt": b"pickle",
        "diffusion_pytorch_model.bin": b"pickle",
        "vq.safetensors": b"\0",
        "run.py": b"exit()",
    }
    if weights.endswith(".bin"):
        files = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    hub.add_repo("someone/vq", files)
    offer = look("someone/vq", families)
    assert (offer.class_name, offer.family.name) == ("VQModel", "vqgan")
    if weights.endswith(".bin"):
        assert "weights of vqgan are pickled" in offer.problem
        return
    checkpoint = Catalogue({}, (), families)["someone/vq"]
    assert fetched(checkpoint.folder) == needed and "generate" not in checkpoint.tasks
    assert load_pipeline(checkpoint).reconstruct(torch.zeros(1, 3, 32, 32)).images[0].size == (32, 32)


# ---- what cannot be used ----


def gone(repo):
    change(repo, vae__diffusion_pytorch_model_DOT_safetensors=None)


def only_fp16(repo):
    gone(repo)
    change(repo, vae__diffusion_pytorch_model_DOT_bin=None)


def nothing(repo):
    only_fp16(repo)
    change(repo, **{"vae__diffusion_pytorch_model_DOT_fp16_DOT_safetensors": None})


def pickled(repo):
    gone(repo)
    change(repo, **{"vae__diffusion_pytorch_model_DOT_fp16_DOT_safetensors": None})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda r: change(r, model_index_DOT_json=b'{"_class_name": ["pipeline_nobody", "NobodysPipeline"]}'),
            "'NobodysPipeline'.*VAEPipeline",
        ),
        (
            lambda r: change(r, model_index_DOT_json=b'{"_class_name": "LDMPipeline"}'),
            "'LDMPipeline'.*Known: .*DDPMPipeline",
        ),
        (lambda r: change(r, model_index_DOT_json=b"{"), "cannot be read"),
        (lambda r: change(r, model_index_DOT_json=b"[]"), "cannot be read"),
        (lambda r: change(r, model_index_DOT_json=b" " * 3_000_000), "cannot be read"),
        (lambda r: change(r, model_index_DOT_json=None), "no diffusers pipeline"),
        (
            lambda r: change(r, model_index_DOT_json=None, config_DOT_json=b'{"_class_name": "UNet2DModel"}'),
            "single model of the class 'UNet2DModel'.*VQModel",
        ),
        (
            lambda r: change(r, model_index_DOT_json=None, config_DOT_json=b'{"model_type": "bert"}'),
            "no diffusers pipeline",
        ),
        (pickled, "pickled .*diffusion_pytorch_model.bin.*safetensors"),
        (only_fp16, "variant fp16 only"),
        (nothing, "no weights of vae"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_fetched(hub, repo, families, damage, says):
    damage(repo)
    offer = look("someone/vae", families)
    assert offer.commit == repo.sha
    with pytest.raises(CheckpointError, match=says):
        fetch(offer)
    assert not hub.asked("GET", "/resolve/.*safetensors")


def test_what_is_too_large_is_said_before_anything_is_fetched(hub, repo, families, monkeypatch):
    monkeypatch.setenv("GENARIUM_MAX_DOWNLOAD_GB", "0.00001")
    offer = look("someone/vae", families)
    with pytest.raises(CheckpointError, match="GENARIUM_MAX_DOWNLOAD_GB"):
        fetch(offer)
    assert not hub.asked("GET", "/resolve/.*safetensors")
    monkeypatch.setenv("GENARIUM_MAX_DOWNLOAD_GB", "much")
    with pytest.raises(InputError, match="takes a number"):
        look("someone/vae", families)


def test_missing_private_and_gated_are_distinguished_as_far_as_the_hub_does(hub, repo, families):
    hub.add_repo("someone/secret", dict(repo.files), private=True)
    hub.add_repo("someone/gate", dict(repo.files), gated="manual")
    for address in ("someone/nothing", "someone/secret"):
        with pytest.raises(HubError, match=r"not on the Hub, or is private.*GENARIUM_HUB_TOKEN"):
            look(address, families, token=False)
        with pytest.raises(HubError, match="There is no"):
            look(address, families)
    with pytest.raises(HubError, match=r"is gated.*GENARIUM_HUB_TOKEN"):
        fetch(look("someone/gate", families, token=False))
    with pytest.raises(HubError, match=r"is gated. Ask for access"):
        fetch(look("someone/gate", families))
    hub.repo("someone/gate").readers.add("user")
    assert fetch(look("someone/gate", families, token="hf_user")).is_dir()


# ---- what breaks on the way ----


def assert_works_next_time(hub, families):
    hub.heal()
    offer = look("someone/vae", families)
    folder = fetch(offer)
    assert hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() == next(
        f.sha256 for f in offer.files if f.sha256
    )


def test_a_cut_connection_leaves_nothing_half_fetched(hub, repo, families, tmp_path):
    hub.cut("GET", "/resolve/.*safetensors", after=1000, times=20)
    with pytest.raises(HubError, match=r"cut|whole"):
        fetch(look("someone/vae", families))
    cache = tmp_path / "hf-home/hub"
    assert not list(cache.rglob("*.incomplete")) and not list(cache.rglob("*.safetensors"))
    assert_works_next_time(hub, families)


@pytest.mark.parametrize("path", ["/resolve/.*safetensors", "/resolve/.*vae/config.json"])
def test_a_damaged_file_is_thrown_away(hub, repo, families, path):
    hub.corrupt(path)
    with pytest.raises(HubError, match="arrived damaged and was thrown away"):
        fetch(look("someone/vae", families))
    assert_works_next_time(hub, families)


def test_a_file_damaged_on_the_disk_is_noticed(hub, repo, families):
    folder = fetch(look("someone/vae", families))
    blob = (folder / WEIGHTS).resolve()
    blob.write_bytes(b"\0" * blob.stat().st_size)
    with pytest.raises(HubError, match="damaged"):
        fetch(look("someone/vae", families))
    assert_works_next_time(hub, families)


def test_a_full_disk_is_reported_before_and_during(hub, repo, families, monkeypatch, tmp_path):
    offer = look("someone/vae", families)
    with monkeypatch.context() as patch:
        patch.setattr(fetch_module.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 10**9, 1000))
        with pytest.raises(HubError, match="MB left"):
            fetch(offer)
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")

        def write(*args, **options):
            raise full

        patch.setattr("huggingface_hub.file_download.http_get", write)
        with pytest.raises(HubError, match="disk is full"):
            fetch(offer)
    assert not list((tmp_path / "hf-home/hub").rglob("*.incomplete"))
    assert_works_next_time(hub, families)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 kB; only root may make one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_cache_on_a_disk_that_is_really_full(hub, repo, families, monkeypatch, small_disk):
    """As `test_a_full_disk_is_reported_before_and_during` simulates it."""
    change(repo, **{"vae__diffusion_pytorch_model_DOT_safetensors": bytes(range(256)) * 1000})
    cache = small_disk / "hub"
    offer = look("someone/vae", families, cache=cache)
    with pytest.raises(HubError, match="MB left"):
        fetch(offer, cache=cache)
    monkeypatch.setattr(fetch_module, "SPARE", -(10**9))
    with pytest.raises(HubError, match="disk is full"):
        fetch(offer, cache=cache)
    assert not list(cache.rglob("*.incomplete")) and not list(cache.rglob("*.safetensors"))


def test_stop_ends_it_within_a_piece(hub, repo, families, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    stop, seen = threading.Event(), []

    def report(done, total):
        seen.append(done)
        if done > total // 2:
            stop.set()

    offer = look("someone/vae", families)
    with pytest.raises(Stopped):
        fetch(offer, report, stop)
    assert seen[-1] < offer.size and sum(done > offer.size // 2 for done in seen) == 1
    assert not list((tmp_path / "hf-home/hub").rglob("*.incomplete"))
    assert_works_next_time(hub, families)


# ---- by name, and without a connection ----


def test_a_catalogue_opens_hub_ids_and_asks_once(hub, repo, families):
    catalogue = Catalogue({}, (), families)
    checkpoint = catalogue["someone/vae"]
    assert checkpoint.family.name == "vae" and catalogue["someone/vae"] is checkpoint
    assert hub.asked("GET", "/api/models/") == 1


def test_what_was_fetched_before_works_offline(hub, repo, families, monkeypatch):
    folder = Catalogue({}, (), families)["someone/vae"].folder
    hub.add_repo("someone/other", dict(repo.files))
    look("someone/other", families)  # no weights of this one are here
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    catalogue = Catalogue({}, (), families)
    assert catalogue["someone/vae"].folder == catalogue[f"someone/vae@{repo.sha}"].folder == folder
    for address in ("someone/other", "someone/vae@0123456", "someone/never"):
        with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
            catalogue[address]


def test_room_is_made_by_what_was_not_used_for_longest(hub, repo, families, tmp_path):
    cache = tmp_path / "ours"
    make_room(cache, 10**6, 1, set())  # nothing there: nothing to do
    own_cache(cache)
    offers = []
    for name in ("a", "b", "c"):
        files = {**repo.files, "vae/config.json": repo.files["vae/config.json"] + name.encode().replace(b"", b"\n")}
        weights = files[WEIGHTS][:-1] + name.encode()  # other bytes, of the same size
        hub.add_repo(f"someone/{name}", {**files, WEIGHTS: weights})
        offers.append(look(f"someone/{name}", families, cache=cache))
        fetch(offers[-1], cache=cache)
    size = offers[0].size
    make_room(cache, size, 3 * size + 10_000, keep={offers[0].commit})
    there = {p.name for p in cache.glob("models--*/snapshots/*")}
    assert offers[0].commit in there and offers[2].commit in there and offers[1].commit not in there
    make_room(cache, size, size, keep={offers[0].commit})
    assert {p.name for p in cache.glob("models--*/snapshots/*")} == {offers[0].commit}


def test_nothing_is_deleted_in_a_cache_of_somebody_else(hub, repo, families, tmp_path, monkeypatch):
    cache = tmp_path / "mine"
    offer = look("someone/vae", families, cache=cache)
    folder = fetch(offer, cache=cache)
    make_room(cache, 10**12, 1, set())
    assert (folder / "model_index.json").exists()
    monkeypatch.setenv("GENARIUM_HUB_CACHE", str(cache))
    with pytest.raises(InputError, match="not a cache of this app"):
        own_cache(cache)


# ---- code ----


def test_no_code_from_the_hub_runs(hub, repo, families, tmp_path):
    """Every Python file of the repository would leave a mark."""
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')\n".encode()
    index = json.loads(repo.files["model_index.json"])
    assert index["_class_name"] == ["pipeline_vae", "VAEPipeline"] and index["vae"][0] == "modeling_vae"
    change(repo, pipeline_vae_DOT_py=code, vae__modeling_vae_DOT_py=code, setup_DOT_py=code, vae____init___DOT_py=code)
    checkpoint = Catalogue({}, (), families)["someone/vae"]
    load_pipeline(checkpoint)
    assert not marker.exists() and not list(checkpoint.folder.rglob("*.py")) and not hub.asked("GET", r"\.py$")
    change(repo, model_index_DOT_json=json.dumps({**index, "_class_name": ["pipeline_vae", "OtherPipeline"]}).encode())
    with pytest.raises(CheckpointError, match="code from the Hub is not run"):
        Catalogue({}, (), families)["someone/vae"]
    assert not marker.exists() and not hub.asked("GET", r"\.py$")
