"""How well a checkpoint swaps styles, on held-out contents: is it that style, is it still that content, how near is the truth.

Each content is drawn in a style in which a true drawing of it exists, from an example that shows something else. A classifier
that learnt from real drawings tells the style; features find the content among the true drawings in that style.

Papers:
    Zhang et al.: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018,
        https://arxiv.org/abs/1801.03924 (why distances of features)
    Liu et al.: Few-Shot Unsupervised Image-to-Image Translation, 2019, https://arxiv.org/abs/1905.01723 (sec. 4: style by a
        classifier's accuracy, content by distances of features)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from genarium.data.images import ImageData
from genarium.data.pairs import Pairs
from genarium.errors import GenariumError
from genarium.evaluation.features import load_network
from genarium.parallel import join
from genarium.records import told

if TYPE_CHECKING:
    from genarium.evaluation.images import ImageEvaluation

CANDIDATES = 100
EPOCHS = 12  # of the classifier


class StyleClassifier(nn.Module):
    """Tells the style of a drawing: a small convolutional network for pictures of 16 pixels and more.

    Features of ImageNet will not do: they are made to be the same however a thing is drawn.

    Args:
        channels: of the images.
        num_styles: of the answers.
    """

    def __init__(self, channels: int, num_styles: int):
        super().__init__()
        sizes, layers = (
            ((4 * channels, 32, 3, 1), (32, 32, 3, 1), (32, 64, 4, 2), (64, 128, 4, 2), (128, 128, 3, 1)),
            [],
        )
        for a, b, kernel, stride in sizes:
            layers += [nn.Conv2d(a, b, kernel, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(nn.PixelUnshuffle(2), *layers)
        self.head = nn.Linear(2 * 128, num_styles)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [B, C, H, W] in [-1, 1] -> logits [B, num_styles]."""
        h = self.layers(x)
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))

    @torch.no_grad()
    def accuracy(self, images: torch.Tensor, styles: torch.Tensor) -> float:
        """Share of images, uint8 [N, C, H, W], whose style, int64 [N], is told right."""
        self.eval()
        answers = torch.cat([self(batch.float() / 127.5 - 1).argmax(1) for batch in images.split(256)])
        return (answers == styles).double().mean().item()


def train_classifier(data: ImageData, epochs: int = EPOCHS, batch_size: int = 128, seed: int = 0) -> StyleClassifier:
    """Learn the styles of real drawings, in float32 on the CPU; the same each time for one number of threads.

    Args:
        data: with pairs, which say the style of each.
        epochs: passes over them.
        batch_size: of a step.
        seed: of the weights, the order and the mirroring.
    """
    styles = data.pairs.styles
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StyleClassifier(data.images.shape[1], int(styles.max()) + 1).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * -(-len(data) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    model.train()
    with tqdm(total=steps, desc="a classifier of styles", leave=False) as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(data), generator=generator).split(batch_size):
                loss = F.cross_entropy(model(data.pixels(rows, generator)), styles[rows], label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Swaps:
    """What is to be swapped: rows of the test split, int64 [N] each.

    `contents` are drawn in the style of `examples`; `targets` are the true drawings.
    """

    contents: torch.Tensor
    examples: torch.Tensor
    targets: torch.Tensor


def choose_swaps(pairs: Pairs, rows: torch.Tensor, seed: int) -> Swaps:
    """A target and an example for each of the rows that have a partner.

    Raises:
        GenariumError: none has.
    """
    rows = rows[pairs.paired()[rows]]
    if not len(rows):
        raise GenariumError("None of the test images has a partner: there is no swap to measure.")
    targets, examples = pairs.draw(rows, torch.Generator().manual_seed(seed))
    return Swaps(rows, examples, targets)


def found_among(
    queries: torch.Tensor,
    targets: torch.Tensor,
    styles: torch.Tensor,
    others: torch.Tensor,
    other_styles: torch.Tensor,
    seed: int,
    candidates: int = CANDIDATES,
) -> torch.Tensor:
    """The rank of each query's true drawing among candidates in the same style: int64 [N], 0 is first.

    The candidates are the true drawing and others of the same style at random. They are ranked by the cosine of features from
    which the mean of that style's others is taken away: what all drawings in a style share tells nothing of what they show.

    Args:
        queries, targets: features of the swaps and of their true drawings, float [N, D].
        styles: of the targets, int64 [N].
        others, other_styles: features of other real drawings, float [M, D], and their styles.
        seed: of the choice.
        candidates: how many, with the true one.

    Raises:
        GenariumError: fewer others in a style than needed.
    """
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.empty(len(queries), dtype=torch.int64)
    for style in styles.unique():
        rows = torch.nonzero(styles == style)[:, 0]
        pool = others[other_styles == style]
        if len(pool) < candidates - 1:
            raise GenariumError(
                f"Finding one among {candidates} needs {candidates - 1} other drawings in each style; there are {len(pool)}."
            )
        mean = pool.mean(0)
        query, target, rest = (F.normalize(x - mean, dim=1) for x in (queries[rows], targets[rows], pool))
        true = (query * target).sum(1)  # [n]
        for i, row in enumerate(rows):
            chosen = rest[torch.randperm(len(pool), generator=generator)[: candidates - 1]]
            ranks[row] = (chosen @ query[i] >= true[i]).sum()
    return ranks


def feature_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """1 - cosine of features [N, D], the mean over N."""
    return (1 - F.cosine_similarity(a.double(), b.double(), dim=1)).mean().item()


def pixel_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean absolute difference of uint8 images [N, C, H, W], 0 ... 1."""
    return (a.double() - b.double()).abs().mean().item() / 255


def measure_swaps(evaluation: ImageEvaluation) -> list[dict[str, Any]]:
    """Test images drawn in the style of another, beside the true drawings: style, content and distance."""
    pairs, condition = evaluation.test.pairs, evaluation.recipe.data.pairs.differ
    swaps = choose_swaps(pairs, evaluation.order[: evaluation.num_test_images], evaluation.seed)
    styles = pairs.styles[swaps.targets]  # int64 [N]
    parameters = evaluation.defaults("swap_style")
    drawn = {"an example": evaluation.swapped(swaps.contents, swaps.examples, parameters, "swaps by example")}
    naming = [n for n, c in evaluation.checkpoint.controls("swap_style").items() if c.choices_from == condition]
    if naming:
        drawn["name"] = _swapped_by_name(evaluation, swaps, styles, parameters, naming[0])

    network = load_network(evaluation.network).to(evaluation.runtime.device)
    title = getattr(network, "title", type(network).__name__)
    targets, sources = evaluation.test.images[swaps.targets], evaluation.test.images[swaps.contents]
    of_targets = evaluation.features(network, targets, "features of true drawings")
    of_others = evaluation.features(network, evaluation.train.images, "features of training images")
    of_drawn = {
        how: evaluation.features(network, images, f"features of swaps by {how}") for how, images in drawn.items()
    }
    of_sources = evaluation.features(network, sources, "features of sources")
    if not join().is_main_process:
        return []

    number = len(styles)
    about = f"""{number} images of {evaluation.test_name}, each in a style in which a true drawing of it exists, {{}}, its example
        showing something else; drawn at random with seed {evaluation.seed}; no content of them was trained on"""
    classifier = train_classifier(evaluation.train, seed=evaluation.seed)
    judge = f"a small convolutional network that learnt {evaluation.train_name} for {EPOCHS} epochs"
    found = [
        evaluation.metric(
            "swap_style",
            "style_accuracy_of_real",
            classifier.accuracy(evaluation.test.images, pairs.styles),
            len(evaluation.test),
            f"real images of {evaluation.test_name} whose style is told right by {judge}",
        )
    ]
    rows = {how: (drawn[how], of_drawn[how]) for how in drawn} | {"source": (sources, of_sources)}
    for how, (images, features) in rows.items():
        real = how == "source"
        protocol = about.format("the source left as it is" if real else f"style by {how}, {told(parameters)}")
        ranks = found_among(features, of_targets, styles, of_others, evaluation.train.pairs.styles, evaluation.seed)
        search = f"""{protocol}; the true drawing among {CANDIDATES} real ones in that style, the others of
            {evaluation.train_name}, by the cosine of centred features: {title}; chance is {1 / CANDIDATES:g}"""
        figures = [
            ("style_accuracy", classifier.accuracy(images, styles), f"{protocol}; told by {judge}"),
            ("content_top1", (ranks < 1).double().mean().item(), search),
            (
                "content_top5",
                (ranks < 5).double().mean().item(),
                search.replace("chance is 0.01", "chance is 0.05"),
            ),
            ("pixel_distance", pixel_distance(images, targets), f"{protocol}; mean absolute difference, 0 ... 1"),
            ("feature_distance", feature_distance(features, of_targets), f"{protocol}; 1 - cosine of {title}"),
        ]
        found += [
            evaluation.metric("swap_style", f"{name}_of_source" if real else name, value, number, protocol, how=how)
            for name, value, protocol in figures
        ]
    return found


def _swapped_by_name(
    evaluation: ImageEvaluation, swaps: Swaps, styles: torch.Tensor, parameters: Mapping[str, Any], control: str
) -> torch.Tensor:
    """The same swaps, told each style by its name: uint8 [N, C, H, W]."""
    images = torch.empty_like(evaluation.test.images[swaps.contents])
    for number, name in enumerate(evaluation.checkpoint.condition_names[evaluation.recipe.data.pairs.differ]):
        wanted = styles == number
        if wanted.any():
            named = {**parameters, control: name}
            images[wanted] = evaluation.swapped(swaps.contents[wanted], None, named, f"swaps to {name}")
    return images
