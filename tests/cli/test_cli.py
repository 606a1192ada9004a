"""The command line: files as promised, clear messages, and the same bytes from one process and from two."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from genarium import paths
from genarium.cli import app
from genarium.media.pictures import read_request


@pytest.fixture
def run(tiny_checkpoints, tmp_path, monkeypatch):
    """Runs a command in an empty folder -> what it printed; fails unless it exits with `code`."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result.output

    return invoke


@pytest.fixture
def images(tmp_path):
    """A folder of two grey pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((40, 30), 90 * i, np.uint8)).save(folder / f"{i}.png")
    return folder


def test_list_tells_people_and_programs(run):
    text = run("list")
    assert "tiny-ddpm" in text and "guidance_scale=1.5" in text and "ddpm-fashion-mnist" in text
    values = json.loads(run("list", "--json"))
    assert {"vae", "ddpm"} <= {family["name"] for family in values["families"]}
    tiny = next(c for c in values["checkpoints"] if c["name"] == "tiny-ddpm")
    assert set(tiny["tasks"]) == {"generate", "reconstruct", "interpolate", "anomaly", "check", "explore", "compare"}
    assert len(tiny["classes"]) == 10
    steps = next(c for c in tiny["tasks"]["generate"] if c["name"] == "num_inference_steps")
    assert steps["kind"] == "integer" and steps["minimum"] == 1 and steps["help"]
    assert values["broken"] == []


def test_list_shows_what_is_broken(run, house):
    (house / "plugins/bad").mkdir()
    (house / "plugins/bad/plugin.py").write_text("import nothing_of_this_name\n")
    (house / "checkpoints/odd").mkdir()
    (house / "checkpoints/odd/model_index.json").write_text('{"_class_name": "Unheard"}')
    assert "nothing_of_this_name" in run("list") and "Unheard" in run("list")
    assert len(json.loads(run("list", "--json"))["broken"]) == 2


def test_generate_writes_pixels_and_labels(run, tmp_path):
    out = tmp_path / "new/samples.npy"
    run("generate", "tiny-vae", "--n", 12, "--seed", 7, "--out", out, "--labels", "--batch-size", 5)
    pixels, labels = np.load(out), np.load(tmp_path / "new/samples.labels.npy")
    assert pixels.shape == (12, 28, 28, 1) and pixels.dtype == np.uint8 and pixels.std() > 0
    assert labels.tolist() == [i % 10 for i in range(12)]
    # sample i depends on seed + i and its class alone
    run("generate", "tiny-vae", "--n", 1, "--seed", 10, "--classes", "class 3", "--out", "one.npy")
    assert np.abs(np.load("one.npy")[0].astype(int) - pixels[3]).max() <= 1
    assert sorted(p.name for p in out.parent.iterdir()) == ["samples.labels.npy", "samples.npy"], "nothing half-written"


def test_a_png_tells_how_it_was_made(run):
    run(
        "generate",
        "tiny-ddpm",
        "-n",
        4,
        "--classes",
        "2,class 5",
        "--set",
        "num-inference-steps=2",
        "--out",
        "grid.png",
    )
    request = read_request("grid.png")
    assert request["checkpoint"] == "tiny-ddpm" and request["class_labels"] == [2, 5, 2, 5]
    assert request["parameters"]["num_inference_steps"] == 2 and request["parameters"]["guidance_scale"] == 1.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "tiny-ddp"], "Known: tiny-ddpm"),
        (["generate", "tiny-vae", "--seed", "dice"], "whole number such as 42"),
        (["generate", "tiny-vae", "--set", "temperature"], "name=value"),
        (["generate", "tiny-vae", "--set", "steps=3"], "there are prior, temperature"),
        (["generate", "tiny-vae", "--set", "temperature=99"], "between"),
        (["generate", "tiny-vae", "--classes", "Zebra"], "No class 'Zebra'"),
        (["generate", "tiny-vae", "--classes", "any", "--labels"], "--labels"),
        (["generate", "tiny-vae", "--out", "samples.tiff"], ".npy or .png"),
        (["generate", "tiny-vae", "--device", "cuda:77"], "--device cuda:77"),
        (["generate", "tiny-vae", "--dtype", "int8"], "float32, bfloat16, float16"),
        (["anomaly", "tiny-vae", "--images", "nowhere.png"], "no file nowhere.png"),
        (["anomaly", "tiny-vae", "--images", "text.png"], "no picture that can be read"),
        (["interpolate", "tiny-vae", "text.png", "text.png"], "no picture that can be read"),
        (["evaluate", "tiny-vae"], "no recipe"),
        (["train", "ddpm-fashion-mnst"], "ddpm-fashion-mnist"),
        (["train", "vae-fashion-mnist", "--data", "nowhere"], "no such folder"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(run, tmp_path, arguments, words):
    (tmp_path / "text.png").write_text("not a picture")
    assert words in run(*arguments, code=2)


def test_reconstruct_interpolate_anomaly(run, images, tmp_path):
    run("reconstruct", "tiny-vae", "--images", images, "--out", "r.npy")
    assert np.load("r.npy").shape == (2, 28, 28, 1)
    run("reconstruct", "tiny-vae", "--images", "r.npy", "--out", "r.png", "--invert", "no")
    assert Image.open("r.png").size == (58, 58)
    ends = images / "0.png", images / "1.png"
    run("interpolate", "tiny-vae", *ends, "--frames", 5, "--out", "strip.npy")
    assert np.load("strip.npy").shape == (5, 28, 28, 1)
    run("interpolate", "tiny-vae", *ends, "--frames", 5, "--set", "mode=lerp", "--out", "there-and-back.gif")
    assert Image.open("there-and-back.gif").is_animated
    run("anomaly", "tiny-vae", "--images", images, "--out", "s.json", "--maps", "maps", "--set", "score=reconstruction")
    report = json.loads((tmp_path / "s.json").read_text())
    assert [i["name"] for i in report["images"]] == ["0.png", "1.png"] and report["unit"] == "nats"
    assert all(0 <= i["percentile"] <= 100 and np.isfinite(i["score"]) for i in report["images"])
    run("anomaly", "tiny-vae", "--images", images, "--out", "c.json", "--classes", "class 3,4")
    run("anomaly", "tiny-vae", "--images", images, "--out", "d.json", "--classes", "4,3")
    of_class = [json.loads((tmp_path / name).read_text())["images"] for name in ("c.json", "d.json")]
    assert of_class[0] != of_class[1] and {i["percentile"] for i in of_class[0]} == {100}
    assert [i["class"] for i in of_class[0]] == ["class 3", "class 4"] and "class" not in report["images"][0]
    assert report["parameters"]["score"] == "reconstruction" and Image.open("maps/1.png.png").width == 224


def test_train_and_evaluate_from_a_recipe(run, house, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 28, 28, 1), np.uint8)
    names = np.array([str(i) for i in range(10)])
    np.savez(tmp_path / "d.npz", train_images=pixels, train_labels=np.arange(40) % 10, label_names=names,
             test_images=pixels, test_labels=np.arange(40) % 10)  # fmt: skip
    (house / "hub_configs/small.yaml").write_text(
        "{name: small, family: vae, repo_id: a/small, data: {name: a/b, sample_size: 28, channels: 1}, "
        "architecture: {latent_dim: 4, block_out_channels: [8], layers_per_block: 1, mixture_components: 1}, "
        "training: {images: 24, batch_size: 8, precision: fp32}, evaluation: {num_test_images: 8, num_samples: 8}}"
    )
    run("train", "small", "--data", tmp_path / "d.npz")
    assert (house / "checkpoints/small/model_index.json").exists()
    text = run("evaluate", "small", "--data", tmp_path / "d.npz", "--only", "reconstruction", "--only", "anomaly")
    assert "psnr" in text and "auroc_noise" in text and "names no evaluation.anomaly_data" in text
    assert (house / "checkpoints/small/README.md").exists()
    (listed,) = json.loads(run("list", "--json"))["checkpoints"]
    assert listed["name"] == "small" and {"psnr", "ssim"} < {m["name"] for m in listed["metrics"]}


def environment(tiny_checkpoints):
    return os.environ | {"GENARIUM_CHECKPOINTS": str(tiny_checkpoints), "OMP_NUM_THREADS": "1"}


def test_help_needs_no_torch(tiny_checkpoints):
    program = "import sys, genarium.cli; assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, check=True)
    command = [sys.executable, "-m", "genarium", "--help"]
    run = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert "new-family" in run.stdout


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one(tiny_checkpoints, tmp_path):
    one, two = tmp_path / "one.npy", tmp_path / "two.npy"
    # torchrun itself would claim --n, whatever follows it: under torchrun write -n
    rest = ["genarium", "generate", "tiny-ddpm", "-n", "10", "--batch-size", "4", "--set", "num_inference_steps=2"]
    options = {
        "cwd": paths.ROOT,
        "env": environment(tiny_checkpoints),
        "capture_output": True,
        "text": True,
        "timeout": 200,
    }
    single = subprocess.run([sys.executable, "-m", *rest, "--out", str(one)], **options)
    assert single.returncode == 0 and "10 images" in single.stdout, single.stderr[-2000:]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    double = subprocess.run([*torchrun, "-m", *rest, "--out", str(two)], **options)
    assert double.returncode == 0, double.stderr[-2000:]
    assert double.stdout.count("10 images") == 1, "one of the two speaks and writes"
    assert one.read_bytes() == two.read_bytes()
