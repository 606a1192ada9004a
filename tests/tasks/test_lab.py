"""The Lab's engine: every family with a plane learns points, its views show what they say, and questions are checked."""

import itertools
import math
import threading

import numpy as np
import pytest
import torch

from genarium.errors import InputError, PluginError
from genarium.families import Family, discover
from genarium.tasks.lab.data import known_density
from genarium.tasks.lab.plane import Plane
from genarium.tasks.lab.question import MOST_SETTINGS, Question, plane_info, planes
from genarium.tasks.lab.training import Training, run
from genarium.tasks.lab.views import VIEWS, show
from genarium.tasks.lab.views.ways import crossings

# family -> settings of a small training, its steps, and by which factor W1 must fall
SMALL = {
    "autoencoder": ({"hidden": 32}, 150, 0.7),
    "autoregressive": ({"hidden": 32}, 600, 0.7),
    "ddpm": ({"hidden": 48, "num_inference_steps": 8}, 200, 0.6),
    "flow-matching": ({"hidden": 64, "num_inference_steps": 6}, 400, 0.7),
    "gan": ({}, 200, 0.8),
    "normalizing-flow": ({"couplings": 6, "hidden": 32}, 300, 0.6),
    "rbm": ({"num_hidden": 32, "gibbs_steps": 1, "num_inference_steps": 30}, 150, 0.9),
    "score-sde": ({"hidden": 64, "num_inference_steps": 12}, 800, 0.8),  # its first samples are spread as the data are
    "vae": ({"hidden": 32}, 200, 0.7),
}
FEW = 200  # samples of a frame here; the Lab's own thousand take an assignment problem of a second


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    for module in ("training", "views", "views.samples"):
        monkeypatch.setattr(f"genarium.tasks.lab.{module}.POINTS", FEW)


LOSSES_THAT_FALL = set(SMALL) - {"gan", "rbm"}  # an adversary's loss and a free-energy gap are no measure of progress


def tiny(family, steps=None, **more):
    """A training of a few steps."""
    settings, number, _ = SMALL[family]
    training = Training(Question(**{"data": "gaussians", "family": family, "settings": settings, "speed": 10, **more}))
    training.steps = steps or number
    training._ends = np.cumsum([share for _, share in training.plane.stages]) * training.steps
    return training


def test_every_built_in_family_of_the_list_has_a_plane():
    families = discover(installed=False)
    assert set(planes(families)) == set(SMALL)
    for family in families:
        if family.plane is not None:
            assert 0 < len(plane_info(family).controls) <= MOST_SETTINGS


@pytest.mark.parametrize("family", list(SMALL))
def test_a_family_learns_points_with_its_own_pipeline(family):
    training = tiny(family, speed=100)
    assert type(training.plane.pipeline) is training.info.family.pipeline_class()
    frames = list(training)
    assert frames[-1].finished and not frames[-2].finished and frames[-1].step == training.steps
    assert frames[-1].w1 < SMALL[family][2] * frames[0].w1
    assert frames[-1].samples.shape == (FEW, 2) and np.isfinite(frames[-1].samples).all()
    assert frames[-1].parts and all(math.isfinite(value) for value in frames[-1].parts.values())
    if family in LOSSES_THAT_FALL:
        assert frames[-1].loss < frames[1].loss
    assert list(training) == []


@pytest.mark.parametrize("family", ["flow-matching", "gan", "rbm"])
def test_the_same_question_gives_the_same_frames(family):
    def seen(seed):
        return [(f.step, f.w1, f.samples.tobytes()) for f in tiny(family, steps=20, seed=seed, speed=20)]

    first = seen(5)
    assert first == seen(5)
    assert first[-1][2] != seen(6)[-1][2]


def test_a_stop_is_obeyed_at_once():
    stop = threading.Event()
    training = run(Question(family="vae", speed=500), stop)
    next(training)
    threading.Timer(0.3, stop.set).start()
    assert list(training) == []
    assert 0 < training.step < 500


def test_a_training_ends_when_its_time_is_spent():
    training = run(Question(family="vae", speed=5), limit=0.05)
    frames = list(training)
    assert frames[-1].finished and frames[-1].step < training.steps and frames[-1].w1 is not None


def test_pauses_cost_no_time_and_speed_changes_on_the_way():
    training = tiny("vae", steps=40)
    next(training)
    assert next(training).step == 10
    training.speed = 1
    assert next(training).step == 11
    with pytest.raises(InputError, match="speed"):
        training.speed = 0


def test_a_model_in_training_can_be_looked_at_without_disturbing_it():
    plain, looked = tiny("flow-matching", steps=30), tiny("flow-matching", steps=30)
    for _ in range(2):
        next(plain), next(looked)
    trained = looked.trained
    list(itertools.islice(show(trained, Question(view="samples")), 3))
    looked.look("score", {"noise": 1.0})
    first, second = next(plain), next(looked)
    np.testing.assert_array_equal(first.samples, second.samples)
    assert [layer.name for layer in second.layers] == ["true_score", "learnt_score"] and not first.layers


@pytest.mark.parametrize("family", list(SMALL))
def test_every_view_of_a_family_shows_frames(family):
    training = tiny(family, steps=10)
    list(training)
    trained = training.trained
    for view in training.info.views:
        frames = list(show(trained, Question(view=view.name)))
        assert frames[-1].moment == 1
        assert [f.moment for f in frames] == sorted(f.moment for f in frames)
        for frame in frames[:: max(1, len(frames) // 3)]:
            frame.to_json()
            assert all(math.isfinite(value) for value in frame.figures.values())


def test_densities_integrate_to_one():
    # the RBM's density is constant in small cells, which need a finer grid
    for family, near, number in (("rbm", 0.03, 161), ("vae", 0.1, 81), ("flow-matching", 0.25, 81)):
        line = torch.linspace(-4, 4, number)
        points = torch.cartesian_prod(line, line)
        cell = float(line[1] - line[0]) ** 2
        training = tiny(family, steps=100, speed=100)
        list(training)
        mass = float(training.trained.scene.plane.log_density(points).exp().sum()) * cell
        assert mass == pytest.approx(1, abs=near), family


class Exact(Plane):
    """A plane that knows the true score of the eight Gaussians, and learns nothing."""

    @classmethod
    def build(cls):
        return cls(None)

    def score(self, x, noise):
        """The true score."""
        return torch.from_numpy(known_density("gaussians").score(x.numpy(), noise)).float()


def scene_of(plane):
    from genarium.tasks.lab.views import Scene

    data = known_density("gaussians").draw(1000, np.random.default_rng(0)).astype(np.float32)
    return Scene(plane, known_density("gaussians"), data, 0)


def test_the_true_score_has_no_error_and_langevin_by_it_finds_the_data():
    from genarium.tasks.lab.distance import wasserstein1
    from genarium.tasks.lab.views.scores import Langevin, score_error

    scene = scene_of(Exact.build())
    assert score_error(scene, 0.5) < 1e-9
    walkers = list(Langevin().moments(scene, scene.data))[-1].samples
    settled = wasserstein1(walkers, scene.data[: len(walkers)])
    one = list(Langevin().moments(scene, scene.data, levels="one", noise=0.1))[-1].samples
    assert settled < 0.75 * wasserstein1(one, scene.data[: len(one)])
    still = list(Langevin().moments(scene, scene.data, random_steps=False))[-1].samples
    modes = known_density("gaussians").means
    spread = np.linalg.norm(still[:, None] - modes, axis=2).min(1)
    assert np.median(spread) < 0.05  # without noise the walkers run into the modes


@pytest.mark.parametrize("family", ["ddpm", "flow-matching", "score-sde"])
def test_learnt_scores_come_near_the_true_one(family):
    training = tiny(family, steps=1200, speed=100)
    list(training)
    scene = training.trained.scene
    from genarium.tasks.lab.views.scores import score_error

    assert score_error(scene, 1.0) < 0.35
    assert score_error(scene, 3.0) < 0.2


def test_lines_that_cross_are_counted():
    cross = np.array([[[-1, 0], [1, 0]], [[0, -1], [0, 1]]], dtype=float)
    apart = np.array([[[-1, 0], [1, 0]], [[-1, 1], [1, 1]]], dtype=float)
    assert crossings(cross) == 1 and crossings(apart) == 0


def test_optimal_transport_shortens_the_lines():
    figures = {}
    for coupling in ("independent", "optimal_transport"):
        training = Training(Question("gaussians", "flow-matching", {"coupling": coupling}))
        frame = next(iter(show_pairs(training)))
        figures[coupling] = frame.figures
    assert figures["optimal_transport"]["mean_length"] < 0.8 * figures["independent"]["mean_length"]
    assert figures["optimal_transport"]["crossings"] < figures["independent"]["crossings"]


def show_pairs(training):
    next(training)
    return show(training.trained, Question(family="flow-matching", view="flow", options={"show": "pairs"}))


def test_reflow_learns_from_pairs_of_its_first_flow():
    training = tiny("flow-matching", steps=20, settings={**SMALL["flow-matching"][0], "coupling": "reflow"})
    list(training)
    noise, data = training.plane.pairs(torch.from_numpy(training.data[:8]), torch.Generator().manual_seed(0))
    options = {"sampler": "heun", "num_inference_steps": 20, "output_type": "pt"}
    assert noise.shape == data.shape == (8, 2) and training.plane.seeds is not None
    assert training._stage == 1
    again = training.plane.pipeline.decode(training.plane.to_pictures(noise), **options).images
    assert again.shape == (8, 2, 1, 1)


def test_a_points_picture_of_the_rbm_is_a_thermometer():
    plane = planes()["rbm"].plane.build()
    points = torch.tensor([[-3.9, 3.9], [0.0, 1.0]])
    pictures = plane.to_pictures(points)
    assert pictures.shape == (2, 2, 6, 6) and set(pictures.unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(plane.to_points(pictures), points, atol=0.11, rtol=0)


# ---- questions ----


@pytest.mark.parametrize(
    "given, message",
    [
        ({"data": "sun"}, "moons"),
        ({"data": ["moons"]}, "data"),
        ({"family": "dit"}, "flow-matching"),
        ({"family": None}, "family"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"speed": 0}, "speed"),
        ({"speed": 10**9}, "speed"),
        ({"view": "critic"}, "view"),
        ({"settings": {"width": 3}}, "settings"),
        ({"settings": {"hidden": 10**6}}, "hidden"),
        ({"settings": {"coupling": "best"}}, "coupling"),
        ({"settings": [1]}, "settings"),
        ({"options": {"noise": 1}}, "options"),
        ({"view": "score", "options": {"noise": 100}}, "noise"),
        ({"colour": "red"}, "colour"),
        ([], "object"),
        (None, "object"),
    ],
)
def test_questions_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Question.of(given)


def test_a_question_comes_back_from_its_json():
    question = Question.of({"family": "gan", "data": "rings", "view": "critic", "settings": {"objective": "wgan_gp"}})
    assert question.settings["latent_dim"] == 4 and question.speed == 25
    assert Question.of(question.to_json()) == question


def test_settings_that_contradict_each_other_are_refused():
    settings = {"smallest_noise": 1.0, "largest_noise": 0.5}
    with pytest.raises(InputError, match="largest_noise"):
        Training(Question(family="score-sde", settings=settings))


def test_drawn_points_are_learnt():
    with pytest.raises(InputError, match="Draw some points"):
        Training(Question("drawn", "vae"))
    points = np.random.default_rng(0).uniform(-2, 2, (100, 2))
    frame = next(Training(Question("drawn", "vae"), data=points))
    assert frame.samples.shape == (FEW, 2)


# ---- the door ----


def of_family(plane):
    return Family("mine", "Mine", "pipelines.pipeline_vae:VAEPipeline", {"en": "Mine."}, plane=plane)


def test_a_family_of_others_enters_by_the_same_door():
    class Mine(Plane):
        @classmethod
        def build(cls, width: int = 3):
            """Make one.

            Args:
                width: Of it.
            """
            return cls(None)

        def height(self, x):
            return x[:, 0]

    info = plane_info(of_family(lambda: Mine))
    assert info.controls["width"].help == "Of it."
    assert [view.name for view in info.views] == ["samples", "critic"]


def test_planes_that_cannot_be_used_are_said_to_be_so():
    class Much(Plane):
        @classmethod
        def build(cls, a: int = 1, b: int = 1, c: int = 1, d: int = 1, e: int = 1, f: int = 1, g: int = 1):
            """Make one."""

    for plane, message in ((lambda: Much, "more than 6"), (lambda: dict, "derive"), ("nowhere:Class", "imported")):
        with pytest.raises(PluginError, match=message):
            plane_info(of_family(plane))


def test_views_have_names_of_their_own():
    assert len({view.name for view in VIEWS}) == len(VIEWS)
