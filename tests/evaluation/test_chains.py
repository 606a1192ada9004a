"""An evaluation of a model that draws by a Markov chain: its mixing, its likelihood of binary pixels, its hidden units."""

import torch
from conftest import ID2LABEL, pictures
from PIL import Image

from genarium.data.images import ImageData
from genarium.evaluation.evaluate import evaluate
from genarium.recipe import DataSpec, EvaluationSpec, Recipe, TrainingSpec
from genarium.runtime import Runtime
from pipelines.binarization import binarize
from pipelines.pipeline_rbm import RBMPipeline


def test_figures_and_card_of_a_boltzmann_machine(tmp_path):
    torch.manual_seed(0)
    options = {"num_hidden": 12, "initial_std": 0.2, "partition_chains": 8, "partition_temperatures": 20}
    pipeline = RBMPipeline.build(28, 1, ID2LABEL, **options)
    x = pictures(20)
    pipeline.fit([{"images": x, "class_labels": torch.arange(20) % 10}])
    folder = tmp_path / "mine"
    pipeline.save_pretrained(folder)
    recipe = Recipe(
        name="mine",
        family="rbm",
        repo_id="someone/mine",
        data=DataSpec(name="someone/pictures", sample_size=28, channels=1),
        architecture={},
        training=TrainingSpec(images=10),
        evaluation=EvaluationSpec(num_test_images=10, seed=3),
    )
    images = ((x / 2 + 0.5) * 255).round().to(torch.uint8)
    test = ImageData(images, torch.arange(20) % 10, None)
    result = evaluate(str(folder), Runtime(), recipe, parts=["mixing", "likelihood"], test=test)
    metrics = {metric["name"]: metric for metric in result["metrics"]}
    assert set(metrics) == {"autocorrelation_time", "autocorrelation_100", "log_likelihood_binary"}
    assert metrics["autocorrelation_time"]["value"] >= 1 and metrics["autocorrelation_100"]["value"] <= 1
    assert "32 chains" in metrics["autocorrelation_time"]["protocol"]

    found = metrics["log_likelihood_binary"]
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))[:10]
    seeds = [torch.Generator().manual_seed(3 + i) for i in range(10)]
    v = binarize(images[order].float() / 127.5 - 1, seeds)
    exact = (-pipeline.rbm.free_energy(v)).mean().item() - pipeline.config.log_partition["log_z"]
    assert found["kind"] == "estimate", "log Z is one"
    assert abs(found["value"] - exact) < 1e-3 * abs(exact) and "from the generator with seed 3 + i" in found["protocol"]
    assert f"log Z = {pipeline.config.log_partition['log_z']:.2f}" in found["protocol"]
    assert Image.open(folder / "receptive_fields.png").width > 100
    assert "(receptive_fields.png)" in (folder / "README.md").read_text()
