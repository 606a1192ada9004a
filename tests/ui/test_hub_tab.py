"""The Hub tab without a browser: what it shows, brings and refuses, for one visitor and for two."""

import asyncio
import gc
import threading
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from huggingface_hub import constants
from stock_models import vq_model
from tabs import build_tab

from genarium.catalogue import Catalogue, find_checkpoints
from genarium.errors import HubError, InputError, Stopped
from genarium.runtime import Runtime
from genarium.ui import build_app
from genarium.ui.hub import HubTab
from genarium.ui.texts import Texts

WEIGHTS = r"/resolve/.*safetensors"


@pytest.fixture
def runtime(tiny_checkpoints):
    return Runtime(find_checkpoints(families_of()), device="cpu", dtype=torch.float32)


def families_of():
    from genarium.families import discover

    return discover(installed=False)


@pytest.fixture
def page(hub, runtime, tiny_checkpoints, tmp_path, monkeypatch, no_trial):
    """A page with the tab, and on the Hub: someone/vae, someone/ddpm (no class of its own), someone/secret (private)."""
    monkeypatch.setenv("GENARIUM_HUB_CACHE", str(tmp_path / "visitors"))
    hub.add_folder("someone/vae", tiny_checkpoints / "tiny-vae")
    hub.add_folder("someone/ddpm", tiny_checkpoints / "tiny-ddpm")
    hub.add_folder("user/secret", tiny_checkpoints / "tiny-vae", private=True)
    return make_page(runtime)


def make_page(runtime):
    with gr.Blocks():
        texts = Texts()
        tabs = {name: build_tab(name, runtime) for name in ("generate", "reconstruct", "swap_style")}
        return SimpleNamespace(tabs=tabs, hub=HubTab(runtime, list(tabs.values()), texts))


def collect(steps, during=lambda number: None) -> list[dict]:
    async def run():
        found = []
        async for step in steps:
            found.append(step)
            during(len(found))
        return found

    return asyncio.run(run())


def press_look(page, address):
    return collect(page.hub._look(address))[-1]


def press_load(page, address, seen=("", ""), brought=(), visitor="a", during=lambda number: None):
    visit = SimpleNamespace(session_hash=visitor)
    return collect(page.hub._load(address, seen, list(brought), visit), during)


def test_look_shows_what_is_there_and_fetches_no_weights(page, hub):
    shown = press_look(page, "someone/vae")
    commit = hub.repo("someone/vae").sha
    for fact in ("VAEPipeline", ">VAE<", commit[:7], "diffusion_pytorch_model.safetensors", "apache-2.0|not stated"):
        assert any(f in shown[page.hub.facts] for f in fact.split("|")), fact
    assert "Press Load" in shown[page.hub.status] and "点击" in shown[page.hub.status]
    assert shown[page.hub.seen] == ("someone/vae", f"someone/vae@{commit}") and not hub.asked("GET", WEIGHTS)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "Write the name"),
        ("   ", "Write the name"),
        ("what is this", "no Hub id"),
        ("<b>/x", "&lt;b&gt;"),
        ("someone/nothing", "not on the Hub, or is private"),
        ("user/secret", "not on the Hub, or is private"),  # the operator's own token could read it
        ("someone/vae@v9", "no such revision"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(page, address, says):
    for shown in (press_look(page, address), press_load(page, address)[-1]):
        assert says in shown[page.hub.status] and "bad" in shown[page.hub.status]
    assert page.hub.runtime.guests() == []


def test_an_unknown_class_is_shown_with_its_reason_and_not_loaded(page, hub):
    hub.add_repo(
        "someone/gan",
        {"model_index.json": b'{"_class_name": "NobodysPipeline"}', "README.md": b"---\nlicense: mit\n---\n"},
    )
    shown = press_look(page, "someone/gan")
    assert "NobodysPipeline" in shown[page.hub.facts] and "mit" in shown[page.hub.facts]
    assert "no installed plugin knows" in shown[page.hub.status]
    assert "no installed plugin knows" in press_load(page, "someone/gan")[-1][page.hub.status]


def test_load_offers_it_on_this_visitors_tabs_and_it_runs(page, hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    steps = press_load(page, "someone/vae")
    last, name = steps[-1], f"someone/vae@{hub.repo('someone/vae').sha}"
    assert "is ready" in last[page.hub.status] and last[page.hub.brought] == [name]
    assert last[page.hub.load]["interactive"] and not last[page.hub.stop]["interactive"]
    for tab in (page.tabs["generate"], page.tabs["reconstruct"]):
        question, groups = tab.question, tab.question.controls.groups
        update = last[question.picker.dropdown]
        assert update["value"] == name and (f"someone/vae@{name[-40:][:7]}", name) in update["choices"]
        assert [choice[1] for choice in update["choices"]] == [*tab.checkpoints, name]
        assert last[groups["vae"]]["visible"] and not last[groups["ddpm"]]["visible"]
        assert set(tab.offer([], page.hub.runtime.guest(name))) <= set(tab.offered)
    generate = page.tabs["generate"]
    question, outcome = generate.question, generate.outcome
    shown = (*question.classes.all, *question.controls.all, question.seed, question.number)
    data = {c: getattr(c, "value", None) for c in shown}
    visit = SimpleNamespace(session_hash="a")
    done = collect(generate._run({**data, question.picker.dropdown: name}, visit))[-1]
    assert "Done in" in done[outcome.status] and len(done[outcome.panels["image"].gallery]["value"]) == 16
    assert f'genarium.load("{name}")' in done[outcome.snippet]["value"] and done[outcome.snippet]["visible"]


def test_what_was_looked_at_is_what_is_loaded(page, hub):
    seen = press_look(page, "someone/vae")[page.hub.seen]
    repo = hub.repo("someone/vae")
    repo.commit({**repo.files, "README.md": b"# New"}, "moved on")
    assert press_load(page, "someone/vae", seen)[-1][page.hub.brought] == [seen[1]]
    assert press_load(page, "someone/vae")[-1][page.hub.brought] == [f"someone/vae@{repo.sha}"]


def test_visitors_share_the_weights_but_not_the_list(page, hub):
    (name,) = press_load(page, "someone/vae", visitor="a")[-1][page.hub.brought]
    before = hub.asked("GET", WEIGHTS)
    other = press_load(page, "someone/ddpm", visitor="b")[-1]
    choices = other[page.tabs["generate"].question.picker.dropdown]["choices"]
    assert not any("someone/vae" in value for _, value in choices) and len(other[page.hub.brought]) == 1
    both = press_load(page, "someone/vae", brought=other[page.hub.brought], visitor="b")[-1]
    assert len(both[page.hub.brought]) == 2 and hub.asked("GET", WEIGHTS) == before + 1
    assert {g.name for g in page.hub.runtime.guests()} == set(both[page.hub.brought]) and name in both[page.hub.brought]


def test_who_had_to_go_is_missed_with_words(page):
    page.hub.runtime.max_guests = 1
    first = press_load(page, "someone/vae")[-1][page.hub.brought]
    second = press_load(page, "someone/ddpm", brought=first)[-1]
    assert len(second[page.hub.brought]) == 1 and "ddpm" in second[page.hub.brought][0]
    with pytest.raises(InputError, match="Load it on the Hub tab"):
        page.tabs["generate"]._checkpoint(first[0])


def test_stop(page, hub, monkeypatch):
    """The download waits for us in the middle, we press Stop, and nothing is left of it."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    gate = threading.Event()
    bring = page.hub._bring

    def slow(address, progress, stop):
        class Slow(list):
            def append(self, value):
                progress.append(value)
                if isinstance(value, tuple) and value[0] > value[1] // 2:
                    gate.wait(30)

        return bring(address, Slow(), stop)

    monkeypatch.setattr(page.hub, "_bring", slow)

    def during(number):
        if number == 3:
            page.hub._stop(SimpleNamespace(session_hash="a"))
            gate.set()

    steps = press_load(page, "someone/vae", during=during)
    assert "Stopped" in steps[-1][page.hub.status] and steps[-1][page.hub.load]["interactive"]
    assert not page.hub._stops and page.hub.runtime.guests() == []
    monkeypatch.setattr(page.hub, "_bring", bring)
    assert "is ready" in press_load(page, "someone/vae")[-1][page.hub.status]


@pytest.mark.parametrize("error", [HubError("cut"), Stopped("Stopped."), ZeroDivisionError("ours")])
def test_a_load_that_is_left_stops_and_leaves_nothing_in_the_log(page, monkeypatch, error):
    """The visitor closes the page while a load goes on: it is stopped, and what it raises has no reader."""
    logged, ended = [], threading.Event()

    def bring(address, progress, stop):
        assert stop.wait(30)
        ended.set()
        raise error

    monkeypatch.setattr(page.hub, "_bring", bring)

    async def leave():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: logged.append(context))
        steps = page.hub._load("someone/vae", ("", ""), [], SimpleNamespace(session_hash="a"))
        for _ in range(3):
            await anext(steps)
        await steps.aclose()
        await asyncio.to_thread(ended.wait, 30)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    asyncio.run(leave())
    gc.collect()
    assert ended.is_set() and not logged and not page.hub._stops


def test_damage_on_the_way_is_said_and_the_next_try_works(page, hub):
    hub.corrupt(WEIGHTS)
    assert "arrived damaged" in press_load(page, "someone/vae")[-1][page.hub.status]
    assert "is ready" in press_load(page, "someone/vae")[-1][page.hub.status]


def test_weights_that_do_not_load_are_no_guests(page, hub):
    repo = hub.repo("someone/vae")
    repo.commit({**repo.files, "vae/diffusion_pytorch_model.safetensors": b"junk\0"}, "junk")
    assert "cannot be loaded from safetensors" in press_load(page, "someone/vae")[-1][page.hub.status]
    assert page.hub.runtime.guests() == []


def test_the_operators_token_for_visitors_must_be_given_on_purpose(page, runtime, monkeypatch):
    assert page.hub.token is False
    monkeypatch.setenv("GENARIUM_HUB_TOKEN", "hf_user")
    assert "is ready" in press_load(make_page(runtime), "user/secret")[-1].popitem()[1] or runtime.guests()
    assert [g.name.split("@")[0] for g in runtime.guests()] == ["user/secret"]


def test_where_nothing_is_bundled_a_visitor_can_bring_the_first(page, runtime):
    bare = Runtime(Catalogue({}, (), runtime.catalogue.families), device="cpu", dtype=torch.float32)
    build_app(bare)
    empty = make_page(bare)
    tab = empty.tabs["generate"]
    assert not tab.workbench.visible and tab.note.visible
    last = press_load(empty, "someone/vae")[-1]
    assert last[tab.workbench]["visible"] and not last[tab.note]["visible"]
    with pytest.raises(InputError, match="no checkpoint None"):
        tab._checkpoint(None)


def test_a_checkpoints_own_defaults_are_set(page, hub):
    import json

    repo = hub.repo("someone/ddpm")
    index = json.loads(repo.files["model_index.json"])
    index["defaults"] = {"generate": {"num_inference_steps": 2}}
    repo.commit({**repo.files, "model_index.json": json.dumps(index).encode()}, "a student")
    last, tab = press_load(page, "someone/ddpm")[-1], page.tabs["generate"]
    steps = tab.question.controls.components["ddpm"]["num_inference_steps"]
    assert last[steps]["value"] == 2
    assert tab._choose("tiny-ddpm", "image")[steps]["value"] == 12, "and go back with the checkpoint that has others"
    assert steps not in press_load(page, "someone/vae")[-1]


def test_a_lone_auto_encoder_is_offered_where_it_can_work_without_what_it_lacks(page, hub, tmp_path):
    vq_model().save_pretrained(tmp_path / "vq")
    hub.add_folder("someone/vq", tmp_path / "vq")
    assert "VQModel" in press_look(page, "someone/vq")[page.hub.facts]
    last, name = press_load(page, "someone/vq")[-1], f"someone/vq@{hub.repo('someone/vq').sha}"
    generate, reconstruct = page.tabs["generate"], page.tabs["reconstruct"]
    assert generate.question.picker.dropdown not in last and last[reconstruct.question.picker.dropdown]["value"] == name
    redraw = reconstruct.question.controls.components["vqgan"]["redraw"]
    assert not last[redraw]["visible"] and reconstruct._choose("tiny-vqgan", "image")[redraw]["visible"]
    assert "redraw" not in reconstruct.question.controls.values(page.hub.runtime.guest(name), {})
