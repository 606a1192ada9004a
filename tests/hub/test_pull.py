"""`pull`: from the Hub into checkpoints/, whole or not at all."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from genarium.catalogue import find_checkpoints
from genarium.cli import app


@pytest.fixture
def run(hub, house, tiny_checkpoints):
    """Runs `pull` with an empty checkpoints/ -> what it printed; on the Hub is someone/vae, with its sources."""
    hub.add_folder("someone/vae", tiny_checkpoints / "tiny-vae")

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, ["pull", *arguments])
        assert result.exit_code == code, (result.output, result.exception)
        assert not list((house / "checkpoints").glob(".*"))
        return result.output

    return invoke


def names(house) -> list[str]:
    return sorted(p.name for p in (house / "checkpoints").iterdir())


def test_it_is_there_and_works_without_code(run, hub, house, families):
    assert "Use it as vae" in run("someone/vae")
    catalogue = find_checkpoints(families)
    assert list(catalogue.checkpoints) == ["vae"] and not catalogue.broken
    assert not list((house / "checkpoints").rglob("*.py")) and not any(
        p.is_symlink() for p in (house / "checkpoints").rglob("*")
    )


def test_a_pinned_revision_under_another_name(run, hub, house):
    repo = hub.repo("someone/vae")
    repo.tags["v1"] = repo.sha
    repo.commit({**repo.files, "README.md": b"# Two"}, "two")
    run("someone/vae@v1", "--name", "first")
    run("someone/vae", "--name", "second")
    assert names(house) == ["first", "second"]
    assert (house / "checkpoints/second/README.md").read_text() == "# Two"
    assert not (house / "checkpoints/first/README.md").exists()


def test_what_is_there_is_replaced_only_by_force(run, hub, house):
    run("someone/vae")
    mine = house / "checkpoints/vae"
    (mine / "LICENSE").write_text("mine")
    (mine / "vae/notes.txt").write_text("mine too")
    (mine / "evaluation.json").write_text('{"metrics": []}')
    before = (mine / "model_index.json").stat().st_ino
    assert "--force" in run("someone/vae", code=2)
    hub.fail("GET", "/resolve/.*safetensors", status=500, times=99)
    repo = hub.repo("someone/vae")
    repo.commit({**repo.files, "README.md": b"# Two"}, "two")
    run("someone/vae", "--force")
    hub.heal()
    assert (mine / "model_index.json").stat().st_ino != before
    assert (mine / "LICENSE").read_text() == "mine" and (mine / "vae/notes.txt").read_text() == "mine too"
    assert not (mine / "evaluation.json").exists(), "the figures of other weights"


def test_what_is_no_checkpoint_is_not_replaced_even_by_force(run, hub, house):
    mine = house / "checkpoints/vae"
    mine.mkdir()
    (mine / "precious").write_text("mine")
    assert "--force" in run("someone/vae", code=2) and not hub.requests
    assert "holds no checkpoint" in run("someone/vae", "--force", code=2) and not hub.requests
    assert (mine / "precious").read_text() == "mine"


def test_what_does_not_load_never_arrives(run, hub, house):
    repo = hub.repo("someone/vae")
    repo.commit({**repo.files, "vae/diffusion_pytorch_model.safetensors": b"junk\0"}, "junk")
    assert "cannot be loaded" in run("someone/vae", code=2)
    assert names(house) == []


def test_an_interrupted_exchange_puts_the_old_one_back(run, house, monkeypatch):
    run("someone/vae")
    before = (house / "checkpoints/vae/model_index.json").stat().st_ino
    rename = Path.rename

    def broken(self, target):
        if self.parent.name.startswith(".vae.part-") and self.name == "vae":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    CliRunner().invoke(app, ["pull", "someone/vae", "--force"])
    assert (house / "checkpoints/vae/model_index.json").stat().st_ino == before and names(house) == ["vae"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vae"], "no Hub id"),
        (["someone/nothing"], "There is no someone/nothing"),
        (["someone/vae", "--name", "../vae"], "no name for a folder"),
        (["someone/vae", "--name", ".vae"], "no name for a folder"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(run, arguments, says):
    assert says in run(*arguments, code=2)
