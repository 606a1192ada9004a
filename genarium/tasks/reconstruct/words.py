"""Figures of words as a code: are they the right ones, do they look like names, and does the picture follow from them.

A model of words is trained on pictures and names in two piles, of which a share is paired. So there are two sets to judge
the words by: pictures of the test split, which show things that the training never saw, and training pictures that did
not come with their names.

Paper:
    Wang and Lee: Learning to Encode Text as Human-Readable Summaries using Generative Adversarial Networks, 2018,
        https://arxiv.org/abs/1810.02851 (the critic of sequences)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from genarium.data.images import ImageData
from genarium.evaluation.figure import Column, Figure, Metric, Part
from genarium.evaluation.images import ImageEvaluation
from genarium.recipe import Recipe
from pipelines.modeling_word_ae import WordCritic
from pipelines.words import Vocabulary, split_words

CANDIDATES = 100
MOST = 1000  # pictures of each set
JUDGE_STEPS, JUDGE_BATCH = 400, 128
HELD_OUT = 5  # every fifth name is kept from the judge

PICTURES = "{n} pictures of {set}"
RIGHT = Figure(
    "words_right", "Words that are right", f"{PICTURES}; mean share of a name's words among those read", variant="{set}"
)
LIKE_NAMES = Figure(
    "words_like_names",
    "Words that look like a name",
    "{n} {what}; by a critic that the training did not see, which learnt to tell four fifths of the names of {train} from words "
    "drawn one by one as often as they are in names; words that are in no two names count as one",
    variant="{what}",
)
FOUND = Figure(
    "words_retrieval",
    f"Drawings from words nearest to their picture among {CANDIDATES}",
    f"{PICTURES}, drawn from {{drawn}}; by squared error, among {CANDIDATES} with other names and the same conditions as far "
    f"as there are so many; chance is {1 / CANDIDATES:g}",
    variant="{drawn}; {set}",
)
UNPAIRED, NEW = "training data without their names", "new things"
READ, GIVEN = "the words read", "the words of the name"


def words_right(read: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Return the share of each name's words that are among those read, [N]; names without words are left out."""
    shares = []
    for text, name in zip(read, names, strict=True):
        if words := split_words(name):
            found = set(split_words(text))
            shares.append(sum(word in found for word in words) / len(words))
    return torch.tensor(shares)


def first_among(drawn: torch.Tensor, images: torch.Tensor, names: Sequence[str], groups: torch.Tensor) -> torch.Tensor:
    """Return whether each drawing is nearer to its picture than to all others of `CANDIDATES`, bool [N].

    Args:
        drawn, images: [N, C, H, W].
        names: of the pictures; those with the same name are no candidates.
        groups: int64 [N]; candidates of the same group come first.
    """
    found = []
    flat = images.flatten(1)
    for row, name in enumerate(names):
        others = [i for i, other in enumerate(names) if other != name]
        others.sort(key=lambda i: (bool(groups[i] != groups[row]), (i - row) % len(names)))
        rows = [row, *others[: CANDIDATES - 1]]
        distance = (flat[rows] - drawn[row].flatten()).square().sum(1)
        found.append(bool((distance[1:] > distance[0]).all()))
    return torch.tensor(found)


def common_words(words: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return words, int64 [N, L], with one number more, V + 1, for all that are in no two names, so that new ones can be judged.

    Args:
        counts: of each number in names, [V + 1].
    """
    return torch.where((words > 0) & (counts[words] < 2), len(counts), words)


def train_judge(names: torch.Tensor, num_words: int, seed: int) -> WordCritic:
    """Return a critic that classifies names, int64 [N, L], against as many words that are drawn one by one.

    Each word is drawn as often as it is in names.
    """
    generator = torch.Generator().manual_seed(seed)
    devices: list[Any] = []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        judge = WordCritic(num_words, names.shape[1])
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.1)
    for _ in range(JUDGE_STEPS):
        real = names[torch.randint(len(names), (JUDGE_BATCH,), generator=generator)]
        both = torch.cat([real, scrambled(real, names, generator)])
        labels = torch.cat([torch.ones(len(real)), torch.zeros(len(real))])
        loss = F.binary_cross_entropy_with_logits(judge(F.one_hot(both, num_words + 1).float()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return judge.eval()


def scrambled(rows: torch.Tensor, names: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return words drawn one by one from those of all names, as many in each row as there are now."""
    pool = names[names > 0]
    drawn = pool[torch.randint(len(pool), rows.shape, generator=generator)]
    return torch.where(rows > 0, drawn, 0)


@torch.no_grad()
def taken_for_names(judge: WordCritic, words: torch.Tensor) -> float:
    """Return the share of words, int64 [N, L], that the judge takes for names."""
    num_words = judge.embedding.in_features - 1
    return float((judge(F.one_hot(words, num_words + 1).float()) > 0).float().mean())


def measure(pipeline: Any, train: ImageData, test: ImageData, seed: int = 0) -> list[dict[str, Any]]:
    """Measure a pipeline of words.

    Args:
        pipeline: with `encode`, `reconstruct` and `vocabulary`.
        train, test: with texts. The training data's paired rows are left out.

    Returns:
        Rows of {"figure", "value", "n"} and what distinguishes them: "set", "drawn", "what".
    """
    assert train.texts is not None and test.texts is not None
    unpaired = torch.ones(len(train), dtype=torch.bool)
    unpaired[train.texts.paired] = False
    found = []
    vocabulary: Vocabulary = pipeline.vocabulary
    for title, data, rows in (
        (UNPAIRED, train, unpaired.nonzero()[:, 0]),
        (NEW, test, torch.arange(len(test))),
    ):
        assert data.texts is not None
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:MOST]
        rows = rows[order]
        names, images = [data.texts.rows[i] for i in rows.tolist()], data.images[rows]
        groups = (
            torch.stack([values[rows] for values in data.conditions.values()]).sum(0) if data.conditions else rows * 0
        )
        known = vocabulary.decode(vocabulary.encode(names))  # the names without the words that the model does not know
        read: list[str] = []
        drawn: dict[str, list[torch.Tensor]] = {READ: [], GIVEN: []}
        for part in torch.arange(len(rows)).split(200):
            x = data.pixels(rows[part])
            made = pipeline.reconstruct(x, output_type="pt")
            read += made.words
            drawn[READ].append(made.images)
            given = [known[i] or text for i, text in zip(part.tolist(), made.words, strict=True)]
            drawn[GIVEN].append(pipeline.reconstruct(x, words=given, output_type="pt").images)
        right = words_right(read, names)
        found.append({"figure": RIGHT, "value": float(right.mean()), "n": len(right), "set": title})
        sayable = torch.tensor([bool(text) for text in known])
        for kind, parts in drawn.items():
            first = first_among(torch.cat(parts), images.float() / 255, names, groups)
            first = first[sayable] if kind == GIVEN else first
            value = float(first.float().mean())
            found.append({"figure": FOUND, "value": value, "n": len(first), "set": title, "drawn": kind})
    pile = vocabulary.encode(train.texts.names)
    pile = pile[torch.randperm(len(pile), generator=torch.Generator().manual_seed(seed))]
    away = torch.arange(len(pile)) % HELD_OUT == 0
    counts = torch.bincount(pile[~away].flatten(), minlength=len(vocabulary.words) + 1)
    pile = common_words(pile, counts)
    judge = train_judge(pile[~away], len(counts), seed)
    noise = scrambled(pile[away], pile, torch.Generator().manual_seed(seed + 1))
    for what, words in (
        ("sequences of words read off new things", common_words(vocabulary.encode(read), counts)),
        ("names that the critic did not see", pile[away]),
        ("sequences of words drawn one by one", noise),
    ):
        found.append({"figure": LIKE_NAMES, "value": taken_for_names(judge, words), "n": len(words), "what": what})
    return found


def measure_words(evaluation: ImageEvaluation) -> list[Metric]:
    """Measure the words that a model reads off pictures."""
    facts = {"test": evaluation.test_name, "train": evaluation.train_name}
    metrics = []
    for row in measure(evaluation.pipeline, evaluation.train, evaluation.test, evaluation.seed):
        figure, value, number = row.pop("figure"), row.pop("value"), row.pop("n")
        metrics.append(evaluation.metric(figure, value, number, facts | row))
    return metrics


def has_texts(recipe: Recipe | None) -> bool:
    return recipe is not None and getattr(recipe.data, "texts", None) is not None


def _show(measured, wanted: Mapping[str, str]) -> str:
    return measured.show("{:.0f} %", "words_right", 100.0, **wanted)


PART = Part(
    "words",
    "image",
    "encode",
    (RIGHT, LIKE_NAMES, FOUND),
    measure_words,
    applies=has_texts,
    columns=(
        Column(
            "words right",
            lambda measured: _show(measured, {"set": NEW}),
            "share of a new picture's name that a model of words reads off it.",
        ),
    ),
)
