"""The host with models of sound beside models of pictures: runs, the page, the web API, the command line."""

import asyncio
import itertools
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import numpy as np
import PIL.Image
import pytest
import soundfile
import tiny_styles
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from ports import free_port
from tabs import build_tab, task_texts
from tiny_styles import speech
from typer.testing import CliRunner

import genarium
from genarium.catalogue import Catalogue, find_checkpoints
from genarium.checkpoints import open_checkpoint
from genarium.cli import app as commands
from genarium.errors import CheckpointError, InputError, Stopped
from genarium.families import discover
from genarium.hub import bare, proof
from genarium.media import sounds
from genarium.media.pictures import read_request
from genarium.runtime import Progress, Result, Runtime, Sounds
from genarium.runtime.program import to_python
from genarium.runtime.request import Request
from genarium.tasks import controls_of, find_tasks, modality_of, tasks_of
from genarium.tasks.swap_style.panel_map import map_html
from genarium.tasks.swap_style.results import StyleMap, SwappedPictures, SwappedSounds
from genarium.ui import build_app
from genarium.ui.inputs import EXAMPLES

LOW, HIGH = str(EXAMPLES / "voices" / "rms-1.flac"), str(EXAMPLES / "voices" / "slt-1.flac")
SNEAKER, TROUSER = str(EXAMPLES / "grey" / "sneaker-1.png"), str(EXAMPLES / "grey" / "trouser-1.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A house with the two tiny families and a checkpoint of each, "voices" and "styles"."""
    folder = tmp_path_factory.mktemp("swap")
    for name in ("plugins", "checkpoints"):
        (folder / name).mkdir()
    tiny_styles.plugins(folder / "plugins")
    tiny_styles.checkpoints(folder / "checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plugins", "checkpoints"):
            patch.setenv(f"GENARIUM_{name.upper()}", str(folder / name))
        yield folder


@pytest.fixture(scope="module")
def runtime(home):
    return Runtime(find_checkpoints(discover(installed=False)), "cpu", torch.float32)


@pytest.fixture(scope="module")
def clips(home):
    """Two recordings of other rates and lengths: paths."""
    soundfile.write(home / "low.wav", speech(2.6, 44100, 110), 44100)
    soundfile.write(home / "high.flac", speech(1.5, 22050, 210), 22050)
    return str(home / "low.wav"), str(home / "high.flac")


def swap(runtime, content, style=None, **parameters):
    return runtime.run(Request("voices", "swap_style", parameters=parameters), {"content": content, "style": style})


# ---- what a checkpoint works on ----


def test_a_sampling_rate_means_sound(runtime):
    voice, picture = tiny_styles.TinyVoicePipeline, tiny_styles.TinyStylePipeline
    assert (modality_of(voice), modality_of(picture)) == ("audio", "image")
    assert {n: c.modality for n, c in runtime.catalogue.checkpoints.items()} == {"voices": "audio", "styles": "image"}
    assert runtime.loaded() == []
    tasks = {task.name: task.inputs for task in tasks_of(voice)}
    assert tasks == {
        "reconstruct": ("audio",),
        "interpolate": ("a", "b"),
        "swap_style": ("content", "style"),
        "anomaly": ("audio",),
    }, "no method, no task: that every class can be called makes no generator of it"
    assert [task.name for task in tasks_of(picture)] == ["swap_style"]
    assert not controls_of(voice, find_tasks()["reconstruct"]), "the sound is no control"
    assert runtime.catalogue["voices"].controls("swap_style")["speaker"].choices == ("any", "tiny/low", "tiny/high")


@pytest.mark.parametrize("rate", ["16000", 16000.5, 0, True])
def test_a_strange_sampling_rate_is_refused(home, runtime, tmp_path, rate):
    index = json.loads((home / "checkpoints/voices/model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "sampling_rate": rate}))
    with pytest.raises(CheckpointError, match="sampling_rate must be a whole number"):
        open_checkpoint(tmp_path, runtime.catalogue.families)


# ---- runs ----


def test_a_swap_keeps_the_length_and_says_where_the_voices_lie(runtime, clips):
    result = swap(runtime, *clips)
    (made,), (content, style) = result.audios, result.inputs
    assert result.sampling_rate == 16000 and made.dtype == np.float32 and made.shape == content.shape
    assert len(content) == pytest.approx(2.6 * 16000, abs=2) and len(style) == pytest.approx(1.5 * 16000, abs=2)
    assert sounds.active_level(content, 16000) == pytest.approx(sounds.LEVEL, rel=0.01)
    assert np.abs(made - content).max() > 0.01
    assert isinstance(result, SwappedSounds) and len(result.codes[0]) == len(made) // tiny_styles.HOP + 1
    assert result.frame_rate == 125
    map_ = result.style_map
    assert map_.names == ("tiny/low", "tiny/high") and map_.parts == ("content", "style", "result")
    assert map_.points.shape == (5, 2)


def test_a_trained_voice_stands_in_for_the_clip(runtime, clips):
    named = swap(runtime, clips[0], speaker="tiny/low")
    assert len(named.inputs) == 1 and named.style_map.parts == ("content", "result")
    with_clip = swap(runtime, *clips, speaker="tiny/low")
    assert np.array_equal(named.audios[0], with_clip.audios[0])
    with pytest.raises(InputError, match="no recording for 'style'"):
        swap(runtime, clips[0])
    with pytest.raises(InputError, match="speaker: choose one of"):
        swap(runtime, clips[0], speaker="nobody")


def test_pictures_are_swapped_too(runtime):
    result = runtime.run(Request("styles", "swap_style"), {"content": SNEAKER, "style": TROUSER})
    assert result.pictures[0].size == (28, 28) and isinstance(result, SwappedPictures)
    assert result.style_map.names == ("dark",) and len(result.style_map.points) == 4


def test_other_tasks_on_sound(runtime, clips):
    low, high = clips
    made = runtime.run(Request("voices", "reconstruct"), {"audio": [low, high]})
    assert [len(a) for a in made.audios] == [len(a) for a in made.inputs] and len(made.codes) == 2
    walk = runtime.run(Request("voices", "interpolate", parameters={"num_frames": 3}), {"a": low, "b": high})
    assert len(walk.audios) == 3 and len({len(a) for a in walk.audios}) == 1 and type(walk) is Sounds
    scored = runtime.run(Request("voices", "anomaly"), {"audio": [low, high]})
    assert scored.scores.shape == (2,) and len(scored.maps[0]) > len(scored.maps[1]) > 10


def test_progress_shows_the_sound_so_far_and_stop_ends_it(runtime, clips):
    events = list(runtime.stream(Request("voices", "swap_style"), dict(zip(("content", "style"), clips))))
    steps = [e for e in events if isinstance(e, Progress) and e.step]
    assert [e.step for e in steps] == [1, 2, 3] and steps[0].total == 3 and isinstance(events[-1], Result)
    assert steps[0].pictures[0].height == 80
    stop = threading.Event()
    stream = runtime.stream(Request("voices", "swap_style"), {"content": LOW, "style": HIGH}, stop)
    next(stream)
    stop.set()
    with pytest.raises(Stopped):
        list(stream)
    assert len(swap(runtime, *clips).audios) == 1, "the next visitor is served"


def test_what_only_the_model_finds_wrong_is_reported_in_its_words(runtime, monkeypatch):
    monkeypatch.setattr(tiny_styles, "SIZE", 64_000)
    with pytest.raises(InputError, match="too short for this model"):
        swap(runtime, LOW, HIGH)


def test_a_result_without_a_place_on_the_map_is_a_result(runtime, clips, monkeypatch):
    def silent(self, styles):
        raise ValueError("a silent voice")

    monkeypatch.setattr(tiny_styles.TinyVoicePipeline, "style_map", silent)
    result = swap(runtime, *clips)
    assert result.style_map is None and len(result.audios) == 1


def test_two_visitors_at_once_get_what_they_would_get_alone(runtime, clips):
    pairs = [clips, clips[::-1], (LOW, HIGH)] * 2
    alone = [swap(runtime, *pair).audios[0] for pair in pairs[:3]]
    with ThreadPoolExecutor(3) as visitors:
        together = list(visitors.map(lambda pair: swap(runtime, *pair).audios[0], pairs))
    assert all(np.array_equal(a, b) for a, b in zip(alone * 2, together, strict=True))


@pytest.mark.parametrize("task", ["swap_style", "named", "reconstruct", "interpolate", "anomaly"])
def test_the_python_snippet_makes_the_same(runtime, clips, task, tmp_path, monkeypatch):
    parameters = {"speaker": "tiny/high"} if task == "named" else {}
    task = "swap_style" if task == "named" else task
    names = runtime.catalogue["voices"].tasks[task].inputs
    result = runtime.run(Request("voices", task, 5, parameters=parameters), dict(zip(names, clips)))
    for name, clip in zip(names, clips):
        samples, rate = soundfile.read(clip)
        soundfile.write(tmp_path / f"{name}.wav", samples, rate, subtype="DOUBLE")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(genarium.runtime.pipelines, "pick_device", lambda: runtime.device)
    monkeypatch.setattr(genarium.runtime.pipelines, "pick_dtype", lambda device: runtime.dtype)
    space = {}
    exec(to_python(result.request, runtime.catalogue["voices"]), space)
    if task == "anomaly":
        assert np.allclose(space["output"].scores.numpy(), result.scores, rtol=1e-4)
        return
    for i, (a, b) in enumerate(zip(space["output"].audios, result.audios, strict=True)):
        assert np.abs(a - b).max() < 1e-4  # FLAC and WAV differ in the last bit
        assert soundfile.info(tmp_path / f"result-{i:02d}.wav").samplerate == 16000


# ---- the page ----


@pytest.fixture(scope="module")
def app(runtime):
    return build_app(runtime)


def tab_of(runtime, task="swap_style"):
    with gr.Blocks():
        return build_tab(task, runtime)


def ask(tab, checkpoint, files, **parameters):
    """What Run does with these files -> all updates of the answer, in order."""
    question, modality = tab.question, tab.runtime.checkpoint(checkpoint).modality
    data = {c: c.value for c in (question.seed, *question.classes.all, *question.controls.all)}
    data |= {question.invert: "auto"} if question.invert else {}
    data |= {c: c.value for panel in tab.outcome.panels.values() for c in panel.settings}
    data |= {place: None for inputs in question.inputs.values() for place in inputs.components.values()}
    data |= dict(zip(question.inputs[modality].components.values(), files))
    family = tab.runtime.checkpoint(checkpoint).family.name
    data |= {question.controls.components[family][name]: value for name, value in parameters.items()}
    data[question.picker.dropdown] = checkpoint

    async def visit():
        return [update async for update in tab._run(data, SimpleNamespace(session_hash="a page"))]

    return asyncio.run(visit())


def test_the_tab_is_there_with_inputs_of_both_kinds(app, runtime):
    blocks, _ = app
    tabs = {block.id: block for block in blocks.blocks.values() if isinstance(block, gr.Tab)}
    assert tabs["swap_style"].visible
    tab = tab_of(runtime)
    question = tab.question
    assert list(question.inputs) == ["image", "audio"] and list(tab.checkpoints) == ["styles", "voices"]
    assert question.inputs["image"].group.visible and not question.inputs["audio"].group.visible
    updates = tab._choose("voices", "image")
    inputs = question.inputs
    assert updates[inputs["audio"].group]["visible"] and not updates[inputs["image"].group]["visible"]
    assert not updates[question.invert]["visible"] and updates[question.modality] == "audio"
    assert tab.outcome.preview not in tab._choose("voices", "audio"), (
        "a result stays when another checkpoint of its kind is chosen"
    )
    assert list(tab_of(runtime, "anomaly").question.inputs) == ["audio"]


def test_a_page_without_checkpoints_still_builds(runtime):
    build_app(Runtime(Catalogue({}, (), runtime.catalogue.families), "cpu"))


def test_a_preview_of_sound_is_the_spectrogram_so_far(runtime, clips):
    tab = tab_of(runtime)
    events = runtime.stream(Request("voices", "swap_style"), dict(zip(("content", "style"), clips)))
    first = next(event for event in events if isinstance(event, Progress) and event.pictures)
    # handed over by hand: on its way to the page, a result in time takes a preview's place
    shown = tab.outcome.progress(first, "audio")[tab.outcome.preview]
    assert shown["visible"] and 'class="seen"' in shown["value"] and "data:image/png" in shown["value"]


def test_a_swap_of_voices_fills_players_spectrograms_codes_and_the_map(runtime, clips):
    tab = tab_of(runtime)
    updates = ask(tab, "voices", clips)
    panel, last = tab.outcome.panels["audio"], updates[-1]
    assert last[panel.group]["visible"] and "Done in" in last[tab.outcome.status]
    made = last[panel.made.sound]["value"]
    request = Request.from_dict(sounds.read_request(made))
    assert request.checkpoint == "voices" and request.parameters["speaker"] == "any"
    seen = last[panel.made.seen]
    assert seen.count("data:image/png") == 2 and "codes" in seen and "in-zh" in seen
    for player in (panel.source, panel.target):
        assert soundfile.info(last[player.sound]["value"]).samplerate == 16000
        with pytest.raises(InputError):  # a visitor's own voice is not called synthetic
            sounds.read_request(last[player.sound]["value"])
    assert "tiny/low" in last[panel.map] and last[panel.map].count("<path") == 6
    assert "genarium.audio" in last[tab.outcome.snippet]["value"]
    named = ask(tab, "voices", clips[:1], speaker="tiny/high")[-1]
    assert not named[panel.target.group]["visible"] and named[panel.map].count("<path") == 4


def test_a_swap_of_pictures_fills_the_gallery_and_the_map(runtime):
    tab = tab_of(runtime)
    panel, last = tab.outcome.panels["image"], ask(tab, "styles", (SNEAKER, TROUSER))[-1]
    (made,) = last[panel.gallery]["value"]
    assert read_request(made)["task"] == "swap_style" and last[panel.map].count("<path") == 6


def test_the_other_tabs_take_sound(runtime, clips):
    tab = tab_of(runtime, "reconstruct")
    last = ask(tab, "voices", clips[:1])[-1]
    assert sounds.read_request(last[tab.outcome.panels["audio"].made.sound]["value"])["task"] == "reconstruct"
    tab = tab_of(runtime, "interpolate")
    panel, last = tab.outcome.panels["audio"], ask(tab, "voices", clips)[-1]
    assert len(last[panel.takes]) == 5 == last[panel.which]["maximum"]
    assert (
        len({path for path, _ in last[panel.takes]}) == 5 and last[panel.made.sound]["value"] == last[panel.takes][0][0]
    )
    tab = tab_of(runtime, "anomaly")
    panel, last = tab.outcome.panels["audio"], ask(tab, "voices", clips[:1])[-1]
    assert "ordinary test samples" in last[panel.verdict] and "<polyline" in last[panel.heard.seen]


def test_what_is_wrong_is_said_on_the_page(runtime, clips, tmp_path):
    tab = tab_of(runtime)
    (tmp_path / "film.wav").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    for files, says in (
        ((), "There is no recording yet"),
        (clips[:1], "There is no recording yet"),
        ((clips[0], str(tmp_path / "film.wav")), "save its sound as WAV"),
        ((str(tmp_path / "silent.wav"), clips[1]), "Check that the microphone"),
    ):
        with pytest.raises(gr.Error, match=says):
            ask(tab, "voices", files)
    with pytest.raises(gr.Error, match="There is no picture yet"):
        ask(tab, "styles", ())


def test_a_map_keeps_its_points_inside_and_escapes_names():
    texts = task_texts("swap_style")
    points = np.array([[0, 0], [1e3, 5], [500, -5], [3, 3]])
    shown = map_html(StyleMap(("<b>", "x"), ("content", "result"), points), texts)
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    assert map_html(StyleMap(("a",), (), np.zeros((1, 2))), texts).count("<circle") == 1, "all in one place"
    many = StyleMap(tuple(f"voice {i}" for i in range(40)), (), np.random.default_rng(0).normal(size=(40, 2)))
    assert map_html(many, texts).count("<title>") == 40 and "<text" not in map_html(many, texts)
    assert map_html(None, texts) == map_html(StyleMap(("a",), (), np.full((1, 2), np.nan)), texts) == ""


def test_names_on_a_map_cover_nothing():
    texts = task_texts("swap_style")
    # two names nearly share a place, and a mark lies on one of them
    points = np.array([[0, 0], [3, 0], [0, 10], [100, 50], [3, 1]])
    shown = map_html(StyleMap(("noto", "blobmoji", "twemoji", "fluent"), ("result",), points), texts)
    written = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">(\w+)<', shown)
    assert {"twemoji", "fluent"} <= {name for *_, name in written} and shown.count("<title>") == 4
    spans = []
    for x, y, anchor, name in written:
        width = 6 * len(name)
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        spans.append((left, left + width, float(y)))
    pairs = itertools.combinations(spans, 2)
    assert all(a[0] >= b[1] or b[0] >= a[1] or abs(a[2] - b[2]) >= 12 for a, b in pairs)
    crowd = StyleMap(tuple("abcdefghij"), (), np.array([[i % 3 / 50, i // 3 / 50] for i in range(9)] + [[9, 9]]))
    assert 1 < map_html(crowd, texts).count("<text") < 10, "where there is no room, the name comes on hover"


# ---- the web API ----


@pytest.fixture(scope="module")
def client(app):
    blocks, look = app
    port = free_port()
    _, url, _ = blocks.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, **look
    )
    yield Client(url, verbose=False)
    blocks.close()


def test_the_endpoints_take_and_give_sound(client, clips):
    low, high = map(handle_file, clips)
    files, report = client.predict(checkpoint="voices", content=low, style=high, api_name="/swap_style")
    assert report["sampling_rate"] == 16000 and soundfile.info(files[0]).duration == pytest.approx(2.6, abs=0.01)
    assert sounds.read_request(files[0]) == report["request"]
    parameters = {"speaker": "tiny/high"}
    files, report = client.predict(
        checkpoint="voices", content=low, style=None, parameters=parameters, api_name="/swap_style"
    )
    assert len(files) == 1 and report["request"]["parameters"]["speaker"] == "tiny/high"
    files, _ = client.predict(checkpoint="voices", a=low, b=high, parameters={"num_frames": 3}, api_name="/interpolate")
    assert len(files) == 3
    files, report = client.predict(checkpoint="voices", image=low, api_name="/anomaly_score")
    assert not files and report["score"] > 0 and len(report["frames"]) > 10 and 0 <= report["stranger_than"] <= 1
    picture = handle_file(SNEAKER)
    with pytest.raises(AppError, match="no sound that can be read"):
        client.predict(checkpoint="voices", content=picture, style=picture, api_name="/swap_style")
    files, report = client.predict(checkpoint="styles", content=picture, style=picture, api_name="/swap_style")
    assert PIL.Image.open(files[0]).size == (28, 28) and "sampling_rate" not in report


# ---- the command line ----


@pytest.fixture
def run(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(commands, [str(a) for a in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result.output

    return invoke


def test_commands_on_sound(run, clips, tmp_path):
    low, high = clips
    said = run("swap", "voices", "--content", low, "--style", high, "--out", "new/c.flac", "--seed", 7)
    assert "2.6 s of sound at 16000 Hz" in said
    assert sounds.read_request("new/c.flac")["seed"] == 7 and soundfile.info("new/c.flac").format == "FLAC"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["c.flac"], "nothing half-written"
    run("swap", "voices", "--content", low, "--set", "speaker=tiny/low")
    assert sounds.read_request("swapped.wav")["parameters"]["speaker"] == "tiny/low"
    run("interpolate", "voices", low, high, "--frames", 3, "--out", "walk.ogg")
    assert sorted(path.name for path in tmp_path.glob("*.ogg")) == ["walk-00.ogg", "walk-01.ogg", "walk-02.ogg"]
    (tmp_path / "folder").mkdir()
    for i, clip in enumerate(clips):
        samples, rate = soundfile.read(clip)
        soundfile.write(tmp_path / f"folder/{i}.wav", samples, rate)
    run("reconstruct", "voices", "--audio", "folder", "--out", "back.wav")
    assert soundfile.info("back-01.wav").duration == pytest.approx(1.5, abs=0.01)
    run("anomaly", "voices", "--audio", "folder", "--out", "s.json")
    report = json.loads((tmp_path / "s.json").read_text())
    assert [one["name"] for one in report["recordings"]] == ["0.wav", "1.wav"] and report["recordings"][0]["frames"]
    run("swap", "styles", "--content", SNEAKER, "--style", TROUSER)
    assert read_request("swapped.png")["checkpoint"] == "styles"
    assert '"modality": "audio"' in run("list", "--json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["swap", "voices", "--content", LOW, "--style", HIGH, "--out", "c.png"], ".wav or .flac or .ogg or .mp3"),
        (["swap", "styles", "--content", SNEAKER, "--style", TROUSER, "--out", "c.wav"], "ends in .png"),
        (["swap", "voices", "--content", LOW], "no recording for 'style'"),
        (["swap", "voices", "--content", "nowhere.wav", "--style", HIGH], "no file nowhere.wav"),
        (["swap", "voices", "--content", SNEAKER, "--style", HIGH], "no sound that can be read"),
        (["swap", "styles", "--content", LOW, "--style", TROUSER], "no picture that can be read"),
        (["generate", "voices"], "cannot generate"),
        (["reconstruct", "voices", "--audio", "."], "no sound files here"),
        (["anomaly", "voices", "--audio", LOW, "--maps", "maps"], "draws on pictures"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(run, arguments, words):
    assert words in run(*arguments, code=2)


# ---- from the Hub, and to it ----


def test_voices_that_a_visitor_brings_show_their_inputs(runtime):
    tab, voices = tab_of(runtime), runtime.catalogue["voices"]
    updates = tab.offer([voices], voices)
    assert set(updates) <= set(tab.offered)
    inputs = tab.question.inputs
    assert updates[inputs["audio"].group]["visible"] and not updates[inputs["image"].group]["visible"]


def test_the_bare_proof_does_each_task_on_sound(runtime):
    pipeline, checkpoint = runtime.pipeline("voices"), runtime.catalogue["voices"]
    request = {"seeds": proof.SEEDS, "tasks": [proof.task_call(checkpoint, name) for name in checkpoint.tasks]}
    material = proof.MATERIAL["audio"](pipeline)
    results = bare.compute(pipeline, request, material)
    shapes = {name: values.shape for name, values in results.items()}
    assert shapes == {"reconstruct": (2, 32000), "interpolate": (3, 32000), "swap_style": (1, 32000), "anomaly": (2,)}
    again = bare.compute(pipeline, request, material)
    assert all(np.array_equal(results[name], again[name]) for name in results)
