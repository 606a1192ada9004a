"""The app without a browser: what the page is made of, and the web API as a program sees it."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import numpy as np
import PIL.Image
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from ports import free_port
from tabs import build_tab, task_texts

import genarium
from genarium.catalogue import Catalogue, find_checkpoints
from genarium.errors import Broken
from genarium.families import Families, discover
from genarium.media.pictures import METADATA_KEY, read_request
from genarium.runtime import Pictures, Runtime, Stop
from genarium.runtime.program import to_python
from genarium.runtime.request import Request
from genarium.tasks import find_tasks
from genarium.tasks.anomaly.panel_image import Panel
from genarium.tasks.anomaly.panel_verdict import verdict_html
from genarium.ui import build_app
from genarium.ui.about import build_about
from genarium.ui.files import keep_results
from genarium.ui.inputs import EXAMPLES, example_pictures
from genarium.ui.picker import card_text
from genarium.ui.streaming import follow
from genarium.ui.texts import TEXTS, Texts

SNEAKER, TROUSER = str(EXAMPLES / "grey" / "sneaker-1.png"), str(EXAMPLES / "grey" / "trouser-1.png")
FEW_STEPS = {"num_inference_steps": 3}


@pytest.fixture(scope="module")
def runtime(tiny_checkpoints):
    return Runtime(find_checkpoints(discover(installed=False)), device="cpu")


@pytest.fixture(scope="module")
def app(runtime):
    return build_app(runtime)


@pytest.fixture(scope="module")
def client(app):
    blocks, look = app
    port = free_port()
    _, url, _ = blocks.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, **look
    )
    yield Client(url, verbose=False)
    blocks.close()


@pytest.fixture
def tab(runtime):
    with gr.Blocks():
        return build_tab("generate", runtime)


def pixels(paths) -> np.ndarray:
    return np.stack([np.asarray(PIL.Image.open(path)) for path in paths])


# ---- the page ----


def test_building_loads_no_weights(tiny_checkpoints):
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    build_app(runtime)
    assert runtime.loaded() == []


def test_tabs_list_what_is_offered(app, runtime):
    blocks, _ = app
    tabs = {block.id: block for block in blocks.blocks.values() if isinstance(block, gr.Tab)}
    assert list(tabs) == ["generate", "reconstruct", "interpolate", "swap_style", "anomaly", "hub", "about"]
    assert all(tab.visible for tab in tabs.values())
    pickers = [b for b in blocks.blocks.values() if isinstance(b, gr.Dropdown) and b.label.key == "checkpoint"]
    offered = [[name for name, _ in picker.choices] for picker in pickers]
    assert offered == [list(runtime.catalogue.offering(t)) for t, task in find_tasks().items() if not task.address]


def test_every_text_is_in_both_languages():
    own = {f"{t.name}: {k}": (v["en"], v["zh"]) for t in find_tasks().values() for k, v in t.texts().items()}
    assert len(own) > 20
    for key, (english, chinese) in {**TEXTS, **own}.items():
        assert english.strip() and chinese.strip(), key
        assert english.count("{") == chinese.count("{"), key


def test_without_checkpoints_the_page_still_builds(runtime):
    families = runtime.catalogue.families
    build_app(Runtime(Catalogue({}, (), families), device="cpu"))


def test_about_names_what_is_broken_and_why(runtime):
    families = runtime.catalogue.families
    broken = Families(families.found, families.origins, (Broken("plugins/odd", "No module named <nothing>"),))
    with gr.Blocks() as page:
        build_about(Catalogue(runtime.catalogue.checkpoints, (), broken), Texts())
    shown = "".join(b.value for b in page.blocks.values() if isinstance(b, gr.HTML))
    assert "plugins/odd" in shown and "No module named &lt;nothing&gt;" in shown
    for family in families:
        assert family.papers[0].url in shown


# ---- the web API ----


def test_exactly_these_endpoints_are_public(client):
    api = client.view_api(print_info=False, return_format="dict")
    of_tabs = {"/generate", "/reconstruct", "/interpolate", "/swap_style", "/anomaly_score"}
    assert set(api["named_endpoints"]) == of_tabs | {"/encode", "/decode", "/compare"}
    names = [p["parameter_name"] for p in api["named_endpoints"]["/generate"]["parameters"]]
    assert names == ["checkpoint", "num_images", "class_labels", "seed", "parameters"]
    # nested references and empty types are what MCP clients refuse
    types = str([p["type"] for e in api["named_endpoints"].values() for p in e["parameters"]])
    assert "'type': {}" not in types
    assert api["named_endpoints"]["/generate"]["description"].startswith("Generate images")


def test_an_endpoint_is_a_tool_of_the_same_name(app):
    """Gradio's MCP server names a tool after its function."""
    public = {fn.api_name: fn.fn.__name__ for fn in app[0].fns.values() if fn.api_visibility == "public"}
    assert {"generate", "swap_style", "encode", "compare"} <= set(public) == set(public.values())
    assert all(name == tool for name, tool in public.items())


@pytest.mark.parametrize("checkpoint", ["tiny-ddpm", "tiny-vae"])
def test_generate(client, checkpoint):
    files, report = client.predict(checkpoint=checkpoint, num_images=3, seed=7, api_name="/generate")
    again, _ = client.predict(checkpoint=checkpoint, num_images=3, seed=7, api_name="/generate")
    assert pixels(files).shape == (3, 28, 28)
    assert np.array_equal(pixels(files), pixels(again))
    assert report["request"]["class_labels"] == [0, 1, 2]
    assert PIL.Image.open(files[0]).text[METADATA_KEY]


def test_reconstruct(client):
    files, report = client.predict(
        checkpoint="tiny-ddpm", image=handle_file(SNEAKER), parameters=FEW_STEPS, api_name="/reconstruct"
    )
    assert pixels(files).shape == (1, 28, 28)
    assert report["request"]["parameters"]["num_inference_steps"] == 3


def test_interpolate(client):
    files, _ = client.predict(
        checkpoint="tiny-vae",
        a=handle_file(SNEAKER),
        b=handle_file(TROUSER),
        parameters={"num_frames": 5},
        api_name="/interpolate",
    )
    assert pixels(files).shape == (5, 28, 28)


def test_anomaly_score(client):
    files, report = client.predict(checkpoint="tiny-ddpm", image=handle_file(SNEAKER), api_name="/anomaly_score")
    assert pixels(files).shape == (1, 28, 28, 3)
    assert report["score"] > 0 and 0 <= report["stranger_than"] <= 1
    assert report["unit"] == "mean squared error"
    _, of_class = client.predict(
        checkpoint="tiny-ddpm", image=handle_file(SNEAKER), class_labels="class 7", api_name="/anomaly_score"
    )
    assert of_class["request"]["class_labels"] == [7] and of_class["score"] != report["score"]
    assert of_class["stranger_than"] == 1, "by the quantiles of images whose class was given"


def test_compare_returns_a_sheet_and_refuses_what_does_not_fit(client):
    pair: dict = {"checkpoint": "tiny-vae", "others": ["tiny-ddpm"], "image": None, "second_image": None}
    pair |= {"api_name": "/compare"}
    (sheet, archive), report = client.predict(**pair, num_columns=2, seed=3)
    assert sheet.endswith(".png") and archive.endswith(".zip") and report["columns"] == ["seed 3", "seed 4"]
    assert [row["checkpoint"] for row in report["rows"]] == ["tiny-vae", "tiny-ddpm"]
    for wrong, message in (
        ({"others": ["/etc"]}, "no checkpoint"),
        ({"task": "swap_style"}, "Choose what to compare"),
        ({"values": {"a": 1}}, "no comparison"),
        ({"num_columns": 50}, "pictures in one call"),
        ({"task": "interpolate"}, "give 2"),
    ):
        with pytest.raises(AppError, match=message):
            client.predict(**{**pair, **wrong})


def test_encode_and_decode(client):
    files, report = client.predict(checkpoint="tiny-vae", image=handle_file(SNEAKER), api_name="/encode")
    assert report["kind"] == "vector" and report["shape"] == [8] and len(report["codes"][0]) == 8
    assert np.allclose(np.load(files[0])["codes"], report["codes"])
    decoded, _ = client.predict(checkpoint="tiny-vae", codes=report["codes"], api_name="/decode")
    restored, _ = client.predict(checkpoint="tiny-vae", image=handle_file(SNEAKER), api_name="/reconstruct")
    assert np.array_equal(pixels(decoded), pixels(restored))
    for codes, message in (
        ([[1.0, 2.0]], "codes: .*N, 8"),
        ([["a"]], "kind 'vector'"),
        ([], "1 to 64"),
        ("x", "1 to 64"),
    ):
        with pytest.raises(AppError, match=message):
            client.predict(checkpoint="tiny-vae", codes=codes, api_name="/decode")
    options = {"parameters": {"num_inference_steps": 10_000}}
    with pytest.raises(AppError, match="must lie between"):
        client.predict(checkpoint="tiny-ddpm", image=handle_file(SNEAKER), **options, api_name="/encode")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": "tiny-ddmp"}, "no checkpoint 'tiny-ddmp'"),
        ({"checkpoint": "some/repository"}, "no checkpoint 'some/repository' here"),
        ({"seed": "forty-two"}, "seed must be a whole number"),
        ({"seed": -1}, "must lie between 0"),
        ({"num_images": 0}, "number of images"),
        ({"num_images": 65}, "at most 64"),
        ({"num_images": "many"}, "takes a whole number"),
        ({"num_images": 2.7}, "takes a whole number"),
        ({"num_images": None}, "takes a whole number"),
        ({"num_images": True}, "takes a whole number"),
        ({"class_labels": "Hat"}, "No class 'Hat'"),
        ({"parameters": {"stesp": 3}}, "stesp: not a parameter"),
        ({"parameters": {"num_inference_steps": 10_000}}, "must lie between"),
        ({"parameters": [1, 2]}, "give a mapping"),
    ],
)
def test_what_is_wrong_is_said(client, changes, message):
    with pytest.raises(AppError, match=message):
        client.predict(**{"checkpoint": "tiny-ddpm", "num_images": 1, **changes}, api_name="/generate")


def test_bad_pictures_are_refused_and_the_app_stays_up(client, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    huge = tmp_path / "huge.png"
    PIL.Image.new("1", (10_000, 10_000)).save(huge)
    with pytest.raises(AppError, match="no picture that can be read"):
        client.predict(checkpoint="tiny-vae", image=handle_file(damaged), api_name="/anomaly_score")
    with pytest.raises(AppError, match="100 megapixels"):
        client.predict(checkpoint="tiny-vae", image=handle_file(huge), api_name="/anomaly_score")
    with pytest.raises(AppError, match="no picture for 'a'"):
        client.predict(checkpoint="tiny-vae", a=None, b=handle_file(SNEAKER), api_name="/interpolate")
    with pytest.raises(AppError, match="cannot swap_style"):
        pictures = {"content": handle_file(SNEAKER), "style": handle_file(TROUSER)}
        client.predict(checkpoint="tiny-vae", **pictures, api_name="/swap_style")
    files, _ = client.predict(checkpoint="tiny-vae", num_images=1, api_name="/generate")
    assert len(files) == 1


def test_visitors_at_once_each_get_their_own(client):
    def ask(seed):
        files, report = client.predict(
            checkpoint="tiny-ddpm", num_images=2, seed=seed, parameters=FEW_STEPS, api_name="/generate"
        )
        return report["request"]["seed"], pixels(files)

    alone = dict(map(ask, (1, 50)))
    with ThreadPoolExecutor(4) as visitors:
        for seed, images in visitors.map(ask, (1, 50, 1, 50)):
            assert np.array_equal(images, alone[seed])


# ---- results that can be made again ----


@pytest.mark.parametrize("task", ["generate", "reconstruct", "interpolate", "anomaly"])
def test_snippet_makes_the_same(runtime, task, tmp_path, monkeypatch):
    checkpoint = runtime.catalogue["tiny-ddpm"]
    parameters = FEW_STEPS if task != "anomaly" else {}
    request = Request("tiny-ddpm", task, seed=5, batch_size=2, parameters=parameters)
    if task == "generate":
        request = Request("tiny-ddpm", task, 5, 2, (3, 4), parameters)
    inputs = {"generate": {}, "interpolate": {"a": SNEAKER, "b": TROUSER}}.get(task, {"images": [SNEAKER]})
    result = runtime.run(request, inputs)
    for name, picture in {"images": SNEAKER, "a": SNEAKER, "b": TROUSER}.items():
        PIL.Image.open(picture).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(genarium.runtime.pipelines, "pick_device", lambda: runtime.device)
    space = {}
    exec(to_python(result.request, checkpoint), space)
    if task == "anomaly":
        assert np.array_equal(space["output"].scores.numpy(), result.scores)
    else:
        assert all(np.array_equal(a, b) for a, b in zip(space["output"].images, result.pictures, strict=True))


def test_dropped_result_restores_the_controls(runtime, tab):
    parameters = {"sampler": "ddim", "num_inference_steps": 4, "eta": 0.5}
    request = Request("tiny-ddpm", "generate", 2**62 + 1, 4, (2, 7, 2, 7), parameters)
    result = runtime.run(request)
    path = keep_results(result)[1]
    assert Request.from_dict(read_request(path)) == result.request
    updates = tab._restore(path)
    question = tab.question
    controls, groups = question.controls.components["ddpm"], question.controls.groups
    assert updates[question.picker.dropdown] == "tiny-ddpm"
    assert updates[question.seed] == str(2**62 + 1)
    assert updates[question.number] == 4
    assert updates[question.classes.mode]["value"] == "chosen" and updates[question.classes.names]["value"] == [2, 7]
    assert updates[controls["sampler"]]["value"] == "ddim" and updates[controls["eta"]]["value"] == 0.5
    assert updates[controls["guidance_scale"]]["value"] == 1.5  # not in the request: its default
    assert updates[groups["ddpm"]]["visible"] and not updates[groups["vae"]]["visible"]


def test_other_files_restore_nothing(runtime, tab, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    foreign = keep_results(
        Pictures(request=Request("somewhere-<else>", "generate"), pictures=[PIL.Image.new("L", (28, 28))])
    )[0]
    for path, reason in (
        (SNEAKER, "carries no parameters"),
        (tmp_path / "text.png", "carries no parameters that can be read"),
        (foreign, "There is no checkpoint &#x27;somewhere-&lt;else&gt;&#x27;"),
    ):
        updates = tab._restore(path)
        assert list(updates) == [tab.question.restored]
        assert reason in updates[tab.question.restored]


def test_leaving_stops_the_computation(runtime):
    request = Request("tiny-ddpm", "generate", batch_size=8, parameters={"num_inference_steps": 250})

    async def visit():
        async with contextlib.aclosing(follow(runtime, request)) as events:
            async for event in events:
                if event is not None:
                    return event

    first = asyncio.run(visit())
    assert first.step < 50
    deadline = time.monotonic() + 5
    while any("tiny-ddpm" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the computation goes on"
        time.sleep(0.02)


def test_stop_ends_a_run_with_its_own_last_word(runtime, tab):
    """Also while it waits for its turn: no news that were under way may come after "Stopped"."""
    question = tab.question
    shown = (question.picker.dropdown, question.seed, question.number, *question.classes.all, *question.controls.all)
    data = {component: component.value for component in shown}
    visit = SimpleNamespace(session_hash="a page")

    async def run_and_stop():
        words = []
        async for update in tab._run(data, visit):
            words.append(update[tab.outcome.status] if isinstance(update.get(tab.outcome.status), str) else "")
            if "1 run before yours" in words[-1]:
                tab.runs.halt(SimpleNamespace(session_hash="another page"))
                assert not tab.runs._stops["a page"].is_set()
                tab.runs.halt(visit)
        return words

    with runtime.turn(Stop()):  # another visitor's run goes on
        words = asyncio.run(run_and_stop())
    assert "Stopped" in words[-1] and not any("Stopped" in word for word in words[:-1])
    assert tab.runs._stops == {}


def test_card_shows_pictures_beside_it_and_no_others(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    for path in (tmp_path / "secret.png", tmp_path / "checkpoint" / "samples.png"):
        PIL.Image.new("L", (4, 4)).save(path)
    card = tmp_path / "checkpoint" / "README.md"
    card.write_text("---\nlicense: mit\n---\n# Card\n![samples](samples.png) ![x](../secret.png) ![y](gone.png)\n")
    shown = card_text(SimpleNamespace(card=card))
    assert shown.startswith("# Card") and "license" not in shown
    assert shown.count("![") == 1 and "![samples](data:image/png;base64," in shown


# ---- how strange ----


def test_heat_map_remembers_its_request_and_threshold_is_the_visitor_s(runtime):
    request = Request("tiny-ddpm", "anomaly", seed=3)
    result = runtime.run(request, {"images": [SNEAKER]})
    with gr.Blocks():
        texts = task_texts("anomaly")
        panel = Panel(texts)
    checkpoint = runtime.catalogue["tiny-ddpm"]
    updates = panel.fill(result, checkpoint, {panel.threshold: 50.0})
    assert Request.from_dict(read_request(updates[panel.map]["value"])) == result.request
    assert updates[panel.verdict] == verdict_html(updates[panel.measured], 50.0, texts)
    assert "value" not in updates[panel.threshold]


def test_verdict():
    texts = task_texts("anomaly")
    quantiles = np.linspace(0, 2, 201).tolist()
    measured = {"score": 1.97, "unit": "nats", "quantiles": quantiles}
    assert "98.5 %" in verdict_html(measured, 99.0, texts) and "chip ordinary" in verdict_html(measured, 99.0, texts)
    assert "chip strange" in verdict_html(measured, 98.0, texts)
    assert "every" in verdict_html({**measured, "score": 3.0}, 99.0, texts)
    assert "chip" not in verdict_html({**measured, "quantiles": None}, 99.0, texts)
    kept = verdict_html({**measured, "kept": 1.0}, 99.0, texts)
    assert "chip strange" in kept and "left:50.0%" in kept, "what is kept with the checkpoint decides"


def test_examples_are_there():
    grey, emoji = example_pictures("grey"), example_pictures("emoji")
    assert len(grey) >= 20 and all(PIL.Image.open(path).size == (28, 28) for path in grey)
    assert len(emoji) >= 12 and all(PIL.Image.open(path).size == (64, 64) for path in emoji)
