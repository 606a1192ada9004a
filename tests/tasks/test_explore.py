"""The Explore page without a browser: the map of codes, arithmetic of each kind, the part of `evaluate`, and the command."""

import asyncio
import io
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import PIL.Image
import pytest
import torch
from conftest import build_tiny, pictures
from typer.testing import CliRunner

from genarium.catalogue import find_checkpoints
from genarium.cli import app as commands
from genarium.errors import FileError, InputError, NotMeasurableError
from genarium.families import discover
from genarium.paths import ROOT
from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.tasks.explore.codes import combine, similarity, switched, vary
from genarium.tasks.explore.directions import Directions, directions_of
from genarium.tasks.explore.explorer import Explorer
from genarium.tasks.explore.figures import map_of
from genarium.tasks.explore.making import make_map
from genarium.tasks.explore.mapping import MAX_BYTES, CodeMap
from genarium.tasks.explore.panel import linked
from genarium.ui.inputs import example_pictures
from genarium.ui.pages import Current, Page, build_contents, open_page
from genarium.ui.texts import Texts, class_name, in_both

NAMES = ["left", "right"]


def images(number, side=28, channels=1):
    return np.random.default_rng(0).integers(0, 256, (number, side, side, channels), np.uint8)


def elongated(number=400, d=6):
    """Codes whose first two principal axes are known: the standard axes 4 and 1, with deviations 9 and 5."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 5.0, 0.2, 0.1, 9.0, 0.1])[:d]
    return torch.randn(number, d, generator=generator) * spread + torch.arange(d)


def make(codes, kind="vector", **options):
    labels = np.arange(len(codes)) % 2
    return make_map(kind, codes, images(len(codes)), labels, NAMES, **options)


def test_the_map_of_a_vector_code_is_the_plane_of_its_first_principal_components(tmp_path):
    codes = elongated()
    made = make(codes)
    assert np.allclose(np.abs(made.axes[0]), np.eye(6)[4], atol=0.05) and np.allclose(
        made.axes @ made.axes.T, np.eye(6), atol=1e-5
    )
    assert made.deviations[0] == pytest.approx(9, rel=0.1) and made.deviations[1] == pytest.approx(5, rel=0.1)
    assert made.share == pytest.approx(1, abs=0.01)
    path = made.save(tmp_path / "explore.npz")
    assert path.stat().st_size <= MAX_BYTES
    found = CodeMap.load(path)
    assert np.allclose(found.points, made.points, atol=0.02) and found.names == ("left", "right")
    # the code at a picture's place is its own within the plane
    there = found.at(found.places()[:3])
    assert torch.allclose(there[:, [1, 4]], codes[:3][:, [1, 4]], atol=0.3)
    assert [found.nearest(place) for place in found.places()[:5]] == list(range(5))
    x0, y0, x1, y1 = 0.25, 0.25, 0.75, 0.5
    inside = found.inside((x0, y0, x1, y1))
    places = found.places()[inside]
    assert len(inside) > 5 and ((places >= (x0, y0)) & (places <= (x1, y1))).all()
    lattice = found.lattice(2)
    assert lattice.tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert found.at(lattice)[0, 1] > found.at(lattice)[2, 1] or found.at(lattice)[0, 4] != found.at(lattice)[1, 4]
    thumbnail = np.asarray(found.thumbnail(7).resize((28, 28)), float)
    assert np.corrcoef(thumbnail.ravel(), images(400)[7].ravel())[0, 1] > 0.2 and found.name_of(7) == "right"


def test_a_code_of_two_numbers_is_its_own_map():
    codes = elongated(d=2)
    made = make(codes)
    assert made.is_plane and np.allclose(made.points, codes.numpy(), atol=1e-6) and made.share == 1
    assert np.allclose(made.directions.coordinates(codes.mean(0)), 0, atol=1e-4)


def test_a_code_moves_along_an_axis_and_stays_as_it_was_otherwise():
    codes = elongated()
    made, code = make(codes), codes[5]
    at = made.directions.coordinates(code)
    assert torch.allclose(made.directions.moved(code, at), code, atol=1e-4)
    there = made.directions.moved(code, [at[0] + 1, *at[1:]])
    assert abs((there - code)[4]) == pytest.approx(made.deviations[0], rel=0.02)
    assert (there - code)[[0, 1, 2, 3, 5]].abs().max() < 0.5
    traversal = made.directions.traversal(code)
    assert traversal.shape == (6 * 7, 6)
    assert np.allclose([made.directions.coordinates(c)[1] for c in traversal[7:14]], np.linspace(-3, 3, 7), atol=1e-3)


def test_bits_without_a_switch_stay_as_they_are():
    code = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    assert switched(code, [2], 3).tolist() == [0, 1, 0, 1, 0]
    assert switched(code, [1, 5], 9).tolist() == [1, 0, 0, 0, 1]


def test_bits_between_0_and_1_stay_there():
    codes = (torch.rand(50, 12, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    made = make(codes, "binary")
    there = made.at(np.array([[0.0, 0.0], [1.0, 0.3]]))
    assert there.shape == (2, 12) and there.min() >= 0 and there.max() <= 1


@pytest.mark.parametrize("kind", ["grid", "words"])
def test_a_discrete_code_lies_near_those_with_much_in_common(kind, tmp_path):
    if kind == "grid":
        base = torch.tensor([[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
        codes = base.repeat_interleave(20, 0)
        codes[::5, 0, 0] = 9
    else:
        codes = ["red car", "red fast car"] * 10 + ["green tree", "tall green tree"] * 10
    made = make(codes, kind)
    path = made.save(tmp_path / "explore.npz")
    found = CodeMap.load(path)
    x = found.points[:, 0]
    assert (np.sign(x[:20]) == np.sign(x[0])).all() and (np.sign(x[20:]) == -np.sign(x[0])).all()
    assert list(found.codes) == codes if kind == "words" else np.array_equal(found.codes, codes.numpy())
    assert not found.is_continuous


def test_classes_and_paths_have_squares_of_their_own():
    made = make(torch.arange(4).repeat_interleave(10), "one_hot")
    columns = [made.points[10 * k : 10 * (k + 1)].mean(0) for k in range(4)]
    assert np.allclose(columns, [[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]], atol=0.05)
    paths = torch.tensor([[0, 0], [0, 3], [3, 3]]).repeat_interleave(4, 0)
    made = make(paths, "path")
    assert (np.floor(made.points[:8] * 2) == [0, 1]).all() and (np.floor(made.points[8:] * 2) == [1, 0]).all()
    assert made.nearest(made.places()[9]) == 9 and made.share == 1


@pytest.mark.parametrize(
    "path", sorted((ROOT / "checkpoints").glob("*/explore.npz")), ids=lambda path: path.parent.name
)
def test_stored_maps_show_their_pictures(path):
    found = CodeMap.load(path)
    places = found.places()
    inside = ((places >= 0) & (places <= 1)).all(1)
    assert inside.mean() > 0.97, "but for a few that lie very far out"
    assert path.stat().st_size <= MAX_BYTES and len(found) >= 400


def test_entries_that_stand_for_vectors_are_compared_by_these():
    codes = np.array([[0, 0], [1, 1], [2, 2]])
    vectors = np.array([[1.0, 0.0], [0.9, 0.0], [-1.0, 0.0]])
    alike = similarity("grid", codes, vectors)
    assert alike[0, 1] > 0 > alike[0, 2] and similarity("grid", codes)[0, 1] == 0


def test_a_damaged_map_is_refused(tmp_path):
    path = make(elongated()).save(tmp_path / "explore.npz")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match="evaluate --only explore"):
        CodeMap.load(path)
    np.savez(path, points=np.zeros((3, 2)))
    with pytest.raises(FileError, match="evaluate --only explore"):
        CodeMap.load(path)


def test_arithmetic_of_each_kind():
    a, b, c = (torch.tensor(v) for v in ([1.0, 2.0], [0.5, 0.0], [1.0, 1.0]))
    assert combine("vector", a, b, c).tolist() == [1.5, 3.0]
    assert combine("binary", *(torch.tensor(v) for v in ([1.0, 0.0], [1.0, 1.0], [1.0, 0.0]))).tolist() == [1.0, 0.0]
    assert combine("noise", a, b, c).norm() == pytest.approx(float(a.norm()))
    assert combine("grid", torch.tensor([[1, 2]]), torch.tensor([[1, 0]]), torch.tensor([[7, 8]])).tolist() == [[7, 2]]
    vectors = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    assert combine("grid", *(torch.tensor([[k]]) for k in (1, 0, 1)), vectors).tolist() == [[2]]
    assert combine("one_hot", torch.tensor(3), torch.tensor(3), torch.tensor(5)).item() == 5
    assert combine("words", "red fast car", "fast", "blue car") == "red car blue"
    assert combine("words", "red fast car", "fast", "blue car", most_words=2) == "red car"


def test_variations_of_each_kind():
    bits, columns = vary("binary", torch.tensor([1.0, 0.0, 1.0]), None)
    assert bits.tolist() == [[0, 0, 1], [1, 1, 1], [1, 0, 0]] and columns == 8
    assert vary("one_hot", torch.tensor(1), 3)[0].tolist() == [0, 1, 2]
    path, columns = vary("path", torch.tensor([1, 0]), 2)
    assert path.tolist() == [[0, 0], [1, 0], [1, 0], [1, 1]] and columns == 2
    assert len(vary("words", "a b", None)[0]) == 0


@pytest.fixture
def evaluation(families):
    """What `map_of` needs of an evaluation, on a tiny pipeline."""

    def make(family):
        pipeline = build_tiny(families[family])
        x = ((pictures(40) / 2 + 0.5) * 255).round().to(torch.uint8)

        def map_images(method, images, parameters, description):
            return [getattr(pipeline, method)(images.permute(0, 2, 3, 1).numpy())]

        data = SimpleNamespace(
            labels=torch.arange(40) % 10, id2label={str(i): f"class {i}" for i in range(10)}, conditions={}
        )
        return SimpleNamespace(
            pipeline=pipeline,
            test_images=lambda number: x[:number],
            map_images=map_images,
            test=data,
            order=torch.arange(40),
        )

    return make


@pytest.mark.parametrize(("family", "kind"), [("vae", "vector"), ("vqgan", "grid"), ("dit", "noise")])
def test_evaluate_makes_the_map_of_a_code(evaluation, family, kind):
    made = map_of(evaluation(family))
    assert made.kind == kind and len(made) == 40 and np.isfinite(made.points).all() and made.name_of(3) == "class 3"
    assert PIL.Image.open(io.BytesIO(made.atlas)).format == "WEBP" and 0 < made.share <= 1


@pytest.mark.parametrize("family", ["ddpm", "flow-matching", "score-sde"])
def test_noise_that_is_found_step_by_step_has_no_map(evaluation, family):
    with pytest.raises(NotMeasurableError, match="white noise"):
        map_of(evaluation(family))


def test_the_command_writes_map_traversal_and_codes(tiny_checkpoints, families, tmp_path, monkeypatch):
    monkeypatch.setenv("GENARIUM_CHECKPOINTS", str(tiny_checkpoints))
    np.save(tmp_path / "images.npy", images(6))
    out = tmp_path / "out"

    def explore(name):
        arguments = ["explore", name, "--images", str(tmp_path / "images.npy"), "--out", str(out), "--device", "cpu"]
        result = CliRunner().invoke(commands, [*arguments, "--dtype", "float32"])
        assert result.exit_code == 0, (result.output, result.exception)
        return np.load(out / "codes.npz")

    codes = explore("tiny-vae")
    assert codes["codes"].shape == (6, 8) and str(codes["kind"]) == "vector" and len(codes["names"]) == 6
    assert not (out / "map.png").exists(), "no map is stored"
    made = make(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)))
    made.save(tiny_checkpoints / "tiny-vae/explore.npz")
    try:
        codes = explore("tiny-vae")
        assert np.allclose(codes["points"], made.to_axes(codes["codes"])[:, :2], atol=0.02)
        sizes = {name: PIL.Image.open(out / f"{name}.png").size for name in ("map", "manifold", "traversal")}
        assert (
            sizes["manifold"] == (16 * 28, 16 * 28) and sizes["traversal"] == (7 * 28, 8 * 28) and sizes["map"][0] > 500
        )
    finally:
        (tiny_checkpoints / "tiny-vae/explore.npz").unlink()


# ---- directions ----


def test_directions_that_are_not_orthogonal_are_moved_along_one_at_a_time():
    """Of the plane z = 0 with the directions (2, 0, 0) and (1, 1, 0): (5, 3, z) = mean + 1 (2, 0, 0) + 3 (1, 1, 0)."""
    found = Directions("vector", np.zeros(3), np.array([[2.0, 0, 0], [1, 1, 0]]))
    code = torch.tensor([5.0, 3.0, 7.0])
    assert np.allclose(found.coordinates(code), [1, 3])
    assert torch.allclose(found.moved(code, [0, 3]), torch.tensor([3.0, 3.0, 7.0]))
    assert torch.allclose(found.moved(code, [1, -1]), torch.tensor([1.0, -1.0, 7.0]))
    sheet = found.traversal(code)
    assert sheet.shape == (14, 3) and np.allclose(
        [found.coordinates(c) for c in sheet[7:]], [[1, v] for v in range(-3, 4)]
    )


def test_the_page_goes_along_a_pipelines_own_directions():
    made = make(elongated(d=3))
    own = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]])
    found = directions_of(SimpleNamespace(code_directions=lambda: own), made)
    code = torch.from_numpy(made.mean).float() + torch.tensor([0.5, 9.0, -4.0])
    assert np.allclose(found.coordinates(code), [-2, 0.5], atol=1e-4)
    assert directions_of(SimpleNamespace(), made) is made.directions
    assert directions_of(SimpleNamespace(code_directions=lambda: own), None) is None
    with pytest.raises(InputError, match=r"code_directions: give finite numbers \[k, 3\], not \[2, 2\]"):
        directions_of(SimpleNamespace(code_directions=lambda: own[:, :2]), made)


def test_the_gan_offers_directions_of_its_code():
    pipeline = build_tiny(discover(installed=False)["gan"])
    codes = pipeline.encode(pictures(12))
    found = directions_of(pipeline, make_map("vector", codes, images(12), None, []))
    assert 1 < len(found) <= 8
    expected = pipeline.generator.directions(8)[0]
    assert np.allclose(found.units * found.lengths[:, None], expected.numpy(), atol=1e-5)
    assert pipeline.decode(found.traversal(codes[0]), output_type="np").images.shape == (7 * len(found), 28, 28, 1)


# ---- the page ----


def test_the_pictures_of_the_first_sum_are_there_and_differ():
    from genarium.tasks.explore.panel_place import ALL_STRIPS
    from genarium.tasks.explore.panel_sum import FIRST

    for strip in ALL_STRIPS:
        chosen = {first[strip] for first in FIRST.values()}
        assert len(chosen) == 3 and chosen <= {path.stem for path in example_pictures(strip)}


def test_words_are_said_in_chinese_too_and_a_sum_of_words_fits_the_model(tiny_checkpoints, monkeypatch):
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    name, family = "tiny-word-ae", runtime.checkpoint("tiny-word-ae").family
    with gr.Blocks() as blocks:
        build_contents(
            open_page(find_tasks()["explore"], runtime, Texts().of(find_tasks()["explore"]), Current(), name, "")
        )
    following = {f.fn.__self__ for f in blocks.fns.values() if getattr(f.fn, "__name__", "") == "_follow"}
    sections = {type(section).__name__: section for section in following}
    pipeline = runtime.pipeline(name)
    words = pipeline.vocabulary.words
    chinese = family.words["zh"]
    monkeypatch.setitem(chinese, words[0], "某词")
    assert "某词" in asyncio.run(sections["CodeSection"]._live(name, words[0]))
    longest = [" ".join(words[i : i + pipeline.code_shape[0]]) for i in (0, 1, 2)]
    monkeypatch.setattr(pipeline, "encode", lambda images, **_: longest)
    answer = asyncio.run(sections["SumSection"]._add(name, *[str(path) for path in example_pictures("emoji")[:3]]))
    assert answer.count("<img") == 4 and "某词" in answer


def test_models_side_by_side_have_codes_of_one_kind(tmp_path):
    kinds = {"a": "vector", "b": "binary", "c": "vector"}
    bits = (torch.rand(40, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    checkpoints = {}
    for name, kind in kinds.items():
        (tmp_path / name).mkdir()
        make(bits if kind == "binary" else elongated(40), kind).save(tmp_path / name / "explore.npz")
        checkpoints[name] = SimpleNamespace(name=name, folder=tmp_path / name, family=SimpleNamespace(name=name))
    catalogue = SimpleNamespace(offering=lambda task: checkpoints)
    runtime = Runtime.__new__(Runtime)
    vars(runtime).update(checkpoint=checkpoints.__getitem__, catalogue=catalogue)
    explorer = Explorer(runtime)
    assert [explorer.partner_of(name) for name in kinds] == ["c", "", "a"]


def test_the_page_is_built_and_the_same_question_is_asked_once(tiny_checkpoints):
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    task = find_tasks()["explore"]
    with gr.Blocks() as blocks:
        current = Current()
        build_contents(open_page(task, runtime, Texts().of(task), current, "tiny-vae", ""))
    following = {f.fn.__self__ for f in blocks.fns.values() if getattr(f.fn, "__name__", "") == "_follow"}
    sections = {type(section).__name__: section for section in following}
    code, follow = sections["CodeSection"], sections["SumSection"]
    sources = [str(path) for path in example_pictures("grey")[:3]]
    asked, answer = asyncio.run(follow._follow(None, "tiny-vae", *sources))
    assert answer.count("<img") == 4
    same = asyncio.run(follow._follow(asked, "tiny-vae", *sources))
    missing = asyncio.run(follow._follow(asked, "tiny-vae", *sources[:2], None))
    assert same == missing == [gr.skip(), gr.skip()]
    other = asyncio.run(follow._follow(asked, "tiny-autoencoder", *sources))
    assert other[0] == ["tiny-autoencoder", *sources] and other[1] != answer
    asked, held, *_ = asyncio.run(code._follow(None, "tiny-vae", sources[0]))
    assert asked == ["tiny-vae", sources[0]] and held.name == "tiny-vae"
    again = asyncio.run(code._follow(asked, "tiny-vae", sources[0]))
    assert all(update == gr.skip() for update in again) and len(again) > 6, "a late answer undoes no change"
    asked, held, *_ = asyncio.run(code._follow(asked, "tiny-autoencoder", sources[0]))
    assert asked[0] == held.name == "tiny-autoencoder"


def test_a_link_chooses_among_what_the_page_offers():
    page = Page(None, None, None, None, "first", "", {"checkpoint": "second", "beside": "third", "__theme": "dark"})
    assert linked(page, ["first", "second", "third"]) == ("second", "third", "")
    assert linked(page, ["first", "second"]) == ("second", "", "third")
    assert linked(replace(page, query={"beside": "second"}), ["first", "second"]) == ("first", "second", "")
    assert linked(replace(page, query={"checkpoint": "/etc"}), ["first"]) == ("first", "", "/etc")


def test_class_names_of_known_data_are_in_both_languages_and_others_as_they_are():
    assert class_name("T - shirt / top") == in_both(
        "T - shirt / top", "T 恤/上衣"
    )  # as one copy of the data set has it
    assert class_name("ankle Boot") == in_both("ankle Boot", "短靴")
    assert class_name("Food & Drink") == in_both("Food &amp; Drink", "食物与饮料")
    assert class_name("<b>7") == "&lt;b&gt;7"
    for path in (ROOT / "checkpoints").glob("*-fashion-mnist/explore.npz"):
        assert all("in-zh" in class_name(name) for name in CodeMap.load(path).names)
