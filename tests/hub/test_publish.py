"""The way up: a checkpoint is exported, proved, checked and published whole, or not at all; and it comes back as it was."""

import dataclasses
import json
import re
import resource
import shutil

import pytest
import torch
from conftest import build_tiny, picture_families, run_bare
from furnishing import furnish
from hub_server import sha256
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from genarium import paths
from genarium.card.check import card_problems
from genarium.card.render import render_card
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.cli import app
from genarium.errors import CheckpointError, HubError, RecipeError
from genarium.families import discover
from genarium.hub.proof import prove
from genarium.hub.publish import Export, collect, export, pin, upload

BUNDLED = sorted(index.parent.name for index in (paths.ROOT / "checkpoints").glob("*/model_index.json"))
WEIGHTS = {"a.safetensors": bytes(range(256)) * 30, "b.safetensors": bytes(range(255, -1, -1)) * 30}
CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: unconditional-image-generation
datasets: [a/b]
tags: [genarium]
---
`from_pretrained("user/model")`
"""


@pytest.fixture
def run():
    """Runs a command -> what it printed; fails unless it exits with `code`."""

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    return invoke


@pytest.fixture
def exported(tmp_path) -> Export:
    """What could be a small checkpoint, with two files of weights."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    (folder / "model_index.json").write_text("{}")
    for name, content in WEIGHTS.items():
        (folder / name).write_bytes(content)
    return Export("user/model", folder, {p.name: p.stat().st_size for p in sorted(folder.iterdir())}, [])


@pytest.fixture
def unproved(monkeypatch):
    """For tests of what comes before or after the proof, which takes a process of its own."""
    monkeypatch.setattr("genarium.hub.publish.prove", lambda checkpoint: list(checkpoint.tasks))


# ---- there and back ----


def test_published_in_one_commit_and_loaded_from_the_hub_in_a_bare_diffusers(hub, vae, run, tmp_path, families):
    text = run("publish", "tiny-vae", "--pin", "--collection", "Tiny models")
    repo = hub.repo("user/tiny-vae")
    assert [c.title for c in repo.commits] == ["initial commit", "Publish with Genarium"] and not repo.private
    assert {"README.md", "evaluation.json", "samples.png", "pipeline_vae.py", "vae/modeling_vae.py"} < set(repo.files)
    assert f"revision: {repo.sha}" in text and f"{hub.endpoint}/user/tiny-vae/tree/{repo.sha}" in text
    assert "bit for bit: generate, reconstruct, interpolate, anomaly" in text
    assert str(tmp_path) not in "".join(
        c.decode() for n, c in repo.files.items() if n.endswith((".json", ".md", ".py"))
    )
    before, after = ((json.loads(t)) for t in ((vae / "model_index.json").read_bytes(), repo.files["model_index.json"]))
    assert after["anomaly_quantiles"] == before["anomaly_quantiles"] and after["id2label"] == before["id2label"]
    recipe = (tmp_path / "hub_configs/tiny-vae.yaml").read_text()
    assert f"repo_id: user/tiny-vae\nrevision: {repo.sha}\n" in recipe and recipe.endswith("# the end\n")
    (collection,) = hub.collections.values()
    assert collection["title"] == "Tiny models" and [i["id"] for i in collection["items"]] == ["user/tiny-vae"]

    pipeline = load_pipeline(open_checkpoint(vae, families))
    generator = [torch.Generator().manual_seed(i) for i in range(2)]
    torch.save(pipeline(2, generator, [1, 2], output_type="pt").images, tmp_path / "images.pt")
    program = f"""
import torch
from diffusers import DiffusionPipeline
torch.set_num_threads({torch.get_num_threads()})
pipe = DiffusionPipeline.from_pretrained("user/tiny-vae", trust_remote_code=True, revision="{repo.sha}")
pipe.vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)
images = pipe(2, [torch.Generator().manual_seed(i) for i in range(2)], [1, 2], output_type="pt").images
assert torch.equal(images, torch.load("images.pt"))
"""
    run_bare(program, tmp_path, **hub.environment(tmp_path / "bare"))


def test_published_again_without_change_it_stays_as_it_is(hub, vae, run, unproved):
    run("publish", "tiny-vae", "--collection", "Tiny models")
    revision = hub.repo("user/tiny-vae").sha
    assert revision in run("publish", "tiny-vae", "--collection", "Tiny models")
    assert len(hub.repo("user/tiny-vae").commits) == 2, "nothing new, no new commit"
    (collection,) = hub.collections.values()
    assert len(collection["items"]) == 1


def test_every_family_pushed_with_diffusers_own_push_to_hub_comes_back_bit_for_bit(hub, families, tmp_path):
    """In one bare process: all families from the Hub, side by side; saved again there, and loaded once more."""
    families = picture_families(families)
    names = [family.name for family in families]
    for family in families:
        pipeline = build_tiny(family)
        pipeline.push_to_hub(f"user/{family.name}")
        if callable(pipeline):
            generator = [torch.Generator().manual_seed(i) for i in (3, 5)]
            images = pipeline(2, generator, [3, 5], output_type="pt").images
        elif hasattr(pipeline, "reconstruct"):
            images = pipeline.reconstruct(torch.zeros(2, 1, 28, 28), output_type="pt").images
        else:
            images = pipeline.anomaly_score(torch.zeros(2, 1, 28, 28)).maps
        torch.save(images, tmp_path / f"{family.name}.pt")
        assert len(hub.repo(f"user/{family.name}").commits) == 2
    program = f"""
import torch
from diffusers import DiffusionPipeline
torch.set_num_threads({torch.get_num_threads()})

def load(source):
    pipe = DiffusionPipeline.from_pretrained(source, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        part.eval().requires_grad_(False) if isinstance(part, torch.nn.Module) else None
    return pipe

def check(pipe, name):
    generator = [torch.Generator().manual_seed(i) for i in (3, 5)]
    if callable(pipe):
        images = pipe(2, generator, [3, 5], output_type="pt").images
    elif hasattr(pipe, "reconstruct"):
        images = pipe.reconstruct(torch.zeros(2, 1, 28, 28), output_type="pt").images
    else:
        images = pipe.anomaly_score(torch.zeros(2, 1, 28, 28)).maps
    assert torch.equal(images, torch.load(name + ".pt")), name

pipes = {{name: load("user/" + name) for name in {names!r}}}
for name, pipe in pipes.items():  # each after all were loaded
    check(pipe, name)
    pipe.save_pretrained("again/" + name)
for name in pipes:
    check(load("again/" + name), name)
    check(pipes[name], name)
print(*{{type(pipe).__module__.split(".")[0] for pipe in pipes.values()}})
"""
    output = run_bare(program, tmp_path, **hub.environment(tmp_path / "bare"))
    assert output.split()[-1] == "diffusers_modules"
    for name in names:  # what was loaded from the Hub and saved again still has its sources
        there, again = hub.repo(f"user/{name}").files, tmp_path / "again" / name
        sources = {n: c for n, c in there.items() if n.endswith(".py")}
        assert sources and all((again / n).read_bytes() == c for n, c in sources.items())


# ---- proof ----


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED)
def test_each_bundled_checkpoint_is_fit_to_be_published(name, monkeypatch, tmp_path):
    """With a card made now: that in its folder may wait for an evaluation that has not been run yet."""
    monkeypatch.delenv("GENARIUM_CHECKPOINTS", raising=False)
    catalogue = find_checkpoints(discover(installed=False))
    original = catalogue[name].folder
    if (original / "README.md").exists():
        assert card_problems((original / "README.md").read_text(), original, catalogue[name].recipe.repo_id) == []
    checkpoint = dataclasses.replace(catalogue[name], folder=tmp_path / "copy")
    shutil.copytree(original, checkpoint.folder)
    render_card(checkpoint, checkpoint.recipe, load_pipeline(checkpoint)).save(checkpoint.folder / "README.md")
    (tmp_path / "export").mkdir()
    done = export(checkpoint, tmp_path / "export", catalogue.families)
    assert set(done.proved) == set(checkpoint.tasks) - {"check", "explore", "compare"}
    for path in original.rglob("*"):
        if path.suffix in (".png", ".safetensors") or path.name == "evaluation.json":
            there = tmp_path / "export" / path.relative_to(original)
            assert there.read_bytes() == path.read_bytes(), f"{path.name} has changed on the way"
    assert "_name_or_path" not in "".join(p.read_text() for p in (tmp_path / "export").rglob("*.json"))


def test_stock_parts_need_no_remote_code(tmp_path, families):
    from pipelines.pipeline_ddpm import DenoisingDiffusionPipeline

    torch.manual_seed(0)
    options = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 8}
    pipeline = DenoisingDiffusionPipeline.build(8, 1, patch_size=1, **options)
    pipeline.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path, families)
    assert checkpoint.index["_class_name"] == "DDPMPipeline" and prove(checkpoint) == ["generate"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("import numpy as np\n", "import numpy as np\nimport genarium.tasks\n", "does not work in a bare diffusers: .*genarium"),
        ("(x.float() / 2 + 0.5)", "(x.float() / 2 + 0.4)", "gives other numbers than here"),
    ],
)  # fmt: skip
def test_a_folder_that_differs_from_what_is_installed_is_not_proved(
    tiny_checkpoints, families, tmp_path, old, new, words
):
    shutil.copytree(tiny_checkpoints / "tiny-vae", tmp_path / "vae")
    source = tmp_path / "vae/pipeline_vae.py"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new, 1))
    with pytest.raises(CheckpointError, match=words):
        prove(open_checkpoint(tmp_path / "vae", families))
    source.unlink()
    with pytest.raises(CheckpointError, match=r"lacks pipeline_vae\.py"):
        prove(open_checkpoint(tmp_path / "vae", families))


# ---- what is checked before anything is sent ----


def test_a_dry_run_sends_nothing(hub, vae, run, unproved):
    text = run("publish", "tiny-vae", "--dry-run", "--repo", "someone/else")
    assert "tiny-vae -> someone/else" in text and "pipeline_vae.py" in text and "Nothing was sent" in text
    assert not hub.requests and not hub.repos


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name one checkpoint"),
        (["tiny-vae", "--all"], "Name one checkpoint"),
        (["--all", "--repo", "user/name"], "the user or organisation alone"),
        (["tiny-vae", "--repo", "no-slash"], "is no Hub id to write to"),
        (["tiny-vae", "--repo", "a b/c"], "is no Hub id to write to"),
        (["tiny-vae", "--repo", "user/other", "--pin"], "names user/tiny-vae"),
        (["nothing"], "no checkpoint 'nothing'"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(hub, vae, run, arguments, words):
    assert words in run("publish", *arguments, code=2)
    assert not hub.repos


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("license: apache-2.0\n", "", "its metadata lacks license"),
        ("library_name: diffusers", "library_name: other", "is other, not diffusers"),
        ("- genarium\n", "", "its tags lack genarium"),
        ("model-index:", "model_index_of_old:", "lacks the figures of evaluation.json"),
        ("(samples.png)", "(portraits.png)", "it shows portraits.png, which is not there"),
        ('from_pretrained("user/tiny-vae"', 'from_pretrained("someone/else"', 'does not load "user/tiny-vae"'),
        ("---\n", "---\n[", "its metadata cannot be read"),
    ],
)
def test_a_card_that_lacks_something_is_not_published(hub, vae, run, old, new, words):
    card = (vae / "README.md").read_text()
    assert old in card and card_problems(card, vae, "user/tiny-vae") == []
    (vae / "README.md").write_text(card.replace(old, new, 1))
    assert words in run("publish", "tiny-vae", code=2)
    (vae / "README.md").write_text(card)
    (vae / "evaluation.json").write_text("{")
    assert "evaluation.json beside it is damaged" in run("publish", "tiny-vae", code=2)
    assert not hub.repos and not hub.asked("POST", "/")


def test_without_a_card_or_an_id_it_is_not_published(tiny_checkpoints, families, tmp_path):
    checkpoint = open_checkpoint(tiny_checkpoints / "tiny-vae", families)
    with pytest.raises(CheckpointError, match="has no card, and no recipe"):
        export(checkpoint, tmp_path, families, "user/tiny-vae")
    with pytest.raises(HubError, match="say --repo user/name"):
        export(checkpoint, tmp_path, families)


def test_a_full_disk_stops_the_export(vae, tmp_path, families):
    checkpoint = find_checkpoints(families)["tiny-vae"]
    (tmp_path / "out").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match="Is the disk full"):
            export(checkpoint, tmp_path / "out", families)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ---- what can go wrong while it is sent ----


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/api/validate-yaml", 500, "trouble of its own"),
        ("POST", "/api/repos/create", 401, "does not accept your token"),
        ("POST", "/api/repos/create", 403, "no right to write to user/model"),
        ("POST", "/api/repos/create", 429, "asks to wait"),
        ("POST", "/api/repos/create", 500, "trouble of its own"),
        ("GET", "/api/models/user/model", 404, r"refused \(404\)"),
        ("POST", "/preupload/", 403, "no right to write to user/model"),
        ("POST", "/preupload/", 429, "asks to wait"),
        ("POST", "/objects/batch", 503, "trouble of its own"),
        ("PUT", "/lfs/", 500, "trouble of its own"),
        ("POST", "/verify", 404, r"refused \(404\)"),
        ("POST", "/commit/", 401, "does not accept your token"),
        ("POST", "/commit/", 403, "no right to write to user/model"),
        ("POST", "/commit/", 409, "changed by someone else"),
        ("POST", "/commit/", 412, "changed by someone else"),
        ("POST", "/commit/", 500, "trouble of its own"),
    ],
)
def test_an_error_leaves_nothing_visible_and_the_next_try_succeeds(hub, exported, method, path, status, words):
    hub.fail(method, path, status, times=99)
    with pytest.raises(HubError, match=words):
        upload(exported)
    visible = [repo.files for repo in hub.repos.values()]
    assert all(set(files) == {".gitattributes"} for files in visible), "no file is to be seen yet"
    hub.heal()
    revision = upload(exported)
    repo = hub.repo("user/model")
    assert repo.sha == revision and len(repo.commits) == 2
    assert {n: repo.files[n] for n in WEIGHTS} == WEIGHTS


@pytest.mark.parametrize("path", ["/lfs/", "/commit/"])
def test_after_a_cut_connection_the_next_try_goes_on(hub, exported, path):
    method = "PUT" if path == "/lfs/" else "POST"
    digest = "" if path == "/commit/" else sha256(WEIGHTS["b.safetensors"])
    hub.cut(method, path + digest, after=100, times=99)
    with pytest.raises(HubError, match=r"was cut\. Run the same again: what was uploaded is kept"):
        upload(exported)
    assert set(hub.repo("user/model").files) == {".gitattributes"}
    first = sha256(WEIGHTS["a.safetensors"])
    assert hub.asked("PUT", first) == 1
    hub.heal()
    upload(exported)
    assert hub.asked("PUT", first) == 1, "what is there is not sent again"
    assert {n: hub.repo("user/model").files[n] for n in WEIGHTS} == WEIGHTS


def test_a_damaged_upload_is_not_published(hub, exported, monkeypatch):
    """The Hub compares what arrives with the hash that was announced."""
    from huggingface_hub.lfs import UploadInfo

    monkeypatch.setattr(UploadInfo, "sha256", property(lambda self: bytes(32), lambda self, value: None))
    with pytest.raises(HubError, match="does not have the hash"):
        upload(exported)
    assert set(hub.repo("user/model").files) == {".gitattributes"}


def test_who_is_not_logged_in_reads_how(hub, exported, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="hf auth login"):
        upload(exported)
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    with pytest.raises(HubError, match=r"no right to write to user/model.*role is `write`"):
        upload(exported)
    assert not hub.repos


@pytest.mark.parametrize(
    ("token", "words"), [(None, "you are not logged in"), ("hf_wrong", "does not accept your token")]
)
def test_who_cannot_write_reads_so_before_the_work_of_the_proof(hub, vae, run, monkeypatch, token, words):
    monkeypatch.setattr("genarium.hub.publish.export", None)  # which must not be called
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: token)
    monkeypatch.setenv("HF_TOKEN", token or "")
    assert words in run("publish", "tiny-vae", code=2) and not hub.repos


def test_metadata_that_the_hub_refuses_stops_before_a_repository_is_made(hub, exported):
    (exported.folder / "README.md").write_text(CARD.replace("apache-2.0", "free for all"))
    with pytest.raises(HubError, match='refuses the card\'s metadata: "license"'):
        upload(exported)
    assert not hub.repos


def test_what_an_earlier_export_left_is_deleted_and_nothing_else(hub, exported):
    hub.add_repo(
        "user/model", {"model_index.json": b"[]", "pipeline_old.py": b"", "old/x.safetensors": b"x", "notes.txt": b""}
    )
    upload(exported)
    files = hub.repo("user/model").files
    assert "notes.txt" in files and not {"pipeline_old.py", "old/x.safetensors"} & set(files)
    card = b"---\nlicense: mit\n---\n# Somebody's own"
    hub.add_repo("user/own", {"model_index.json": b"{}", "unet/x.safetensors": b"x", "README.md": card})
    with pytest.raises(HubError, match="card is none of Genarium"):
        upload(Export("user/own", exported.folder, exported.files, []))
    assert "unet/x.safetensors" in hub.repo("user/own").files
    hub.add_repo("user/other", {"train.py": b"print()"})
    with pytest.raises(HubError, match="no diffusers pipeline"):
        upload(Export("user/other", exported.folder, exported.files, []))
    assert set(hub.repo("user/other").files) == {".gitattributes", "train.py"}


def test_private_and_all(hub, house, tiny_checkpoints, run, unproved):
    furnish(house, tiny_checkpoints / "tiny-vae", "vae", repo_id="someone/tiny-vae")
    shutil.copytree(tiny_checkpoints / "tiny-ddpm", house / "checkpoints/without-recipe")
    text = run("publish", "--all", "--repo", "genarium", "--private")
    repo = hub.repo("genarium/tiny-vae")
    assert repo.private and b'from_pretrained("genarium/tiny-vae"' in repo.files["README.md"]
    assert b"someone/" not in repo.files["README.md"]
    (collection,) = hub.collections.values()
    assert collection["title"] == "Genarium" and collection["private"] and collection["slug"] in text
    with pytest.raises(HubError, match="no right to write to the collection"):
        collect("Mine", ["other/model"])


# ---- the recipe and the card ----


def test_pin_changes_one_line_or_nothing(tmp_path):
    body = "family: vae\ndata: {name: a/b, sample_size: 8, channels: 1, revision: old}\narchitecture: {}\ntraining: {images: 1}\n"
    recipe = tmp_path / "r.yaml"
    recipe.write_bytes(f"# a comment\r\nname: r\nrepo_id: a/r # where\n{body}".encode())
    pin(recipe, "a/r", "abc")
    assert recipe.read_bytes().decode() == f"# a comment\r\nname: r\nrepo_id: a/r # where\nrevision: abc\n{body}"
    recipe.write_text(recipe.read_text().replace("revision: abc", "revision: abc # pinned"))
    pin(recipe, "a/r", "def")
    assert "revision: def # pinned\n" in recipe.read_text() and "revision: old" in recipe.read_text()
    before = recipe.read_bytes()
    with pytest.raises(RecipeError, match="names a/r"):
        pin(recipe, "a/other", "abc")
    assert recipe.read_bytes() == before
    recipe.write_text("{name: r, repo_id: a/r, family: vae, data: {name: a/b, sample_size: 8, channels: 1}, "
                      "architecture: {}, training: {images: 1}}\n")  # fmt: skip
    before = recipe.read_bytes()
    with pytest.raises(RecipeError, match="no line to write it into"):
        pin(recipe, "a/r", "abc")
    assert recipe.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


def test_the_card_is_shown_and_checked_but_not_written(hub, vae, run):
    before = {p: p.stat().st_mtime_ns for p in vae.rglob("*")}
    text = run("card", "tiny-vae")
    assert text.strip() == (vae / "README.md").read_text().strip()
    card = ModelCard(text)
    assert card.data.eval_results[0].metric_value == 21.0 and card.data.license == "apache-2.0"
    for words in ("## Intended use and limits", "## Citation", "Kingma and Welling", "learning_rate", "a test"):
        assert words in card.text
    assert "the Hub takes it" in run("card", "tiny-vae", "--check")
    hub.fail("POST", "validate-yaml", 503, times=99)
    assert "as far as can be checked" in run("card", "tiny-vae", "--check")
    assert {p: p.stat().st_mtime_ns for p in vae.rglob("*")} == before
    (vae / "samples.png").unlink()
    assert "is not this card" in run("card", "tiny-vae", "--check", code=2)


def test_the_cards_code_works_and_has_the_checkpoints_own_defaults(house, families, tmp_path):
    pipeline = build_tiny(families["flow-matching"])
    pipeline.register_to_config(defaults={"generate": {"sampler": "euler", "num_inference_steps": 2}})
    pipeline.save_pretrained(tmp_path / "plain")
    folder = furnish(house, tmp_path / "plain", "flow-matching", repo_id="plain/plain")
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert 'sampler="euler"' in code and "num_inference_steps=2" in code and "trust_remote_code=True" in code
    code = code.replace("plain/plain", str(tmp_path / "plain"))
    assert run_bare(f"{code}\nprint(len(images))", tmp_path).split()[-1] == "10"
