"""Words as a code, against closed forms: probabilities by enumeration, the Gumbel distribution, the penalty of a linear critic."""

import itertools
import math

import pytest
import torch
from conftest import build_tiny, pictures

from genarium.families import discover
from genarium.recipe import find_recipe
from genarium.training.pipeline import build_pipeline
from pipelines.modeling_word_ae import (
    WordAutoencoder,
    WordCritic,
    gradient_penalty,
)
from pipelines.pipeline_word_ae import WordAutoencoderPipeline
from pipelines.relaxation import gumbel_noise
from pipelines.words import Vocabulary, split_words, vocabulary_of

FAMILY = discover(installed=False)["word-ae"]
STYLES = {"style": {"0": "bright", "1": "dark"}}
NAMES = ["left", "right", "both sides"]


@pytest.fixture(scope="module")
def tiny():
    return build_tiny(FAMILY)


def little(length=2, words=("a1", "b1", "c1")) -> WordAutoencoder:
    torch.manual_seed(0)
    model = WordAutoencoder(list(words), 8, 1, length, 1, 0, (4,), 1, (4,), 1, 4, 6)
    torch.nn.init.normal_(model.reader.bias)
    torch.nn.init.normal_(model.reader.no_picture)
    return model


def sequences(num_words: int, length: int) -> torch.Tensor:
    """Return every code there is: one word or more, and nothing behind the end."""
    rows = itertools.product(range(num_words + 1), repeat=length)
    return torch.tensor([r for r in rows if r[0] and not any(not a and b for a, b in itertools.pairwise(r))])


# ---- words ----


def test_names_are_split_into_their_words():
    assert split_words("Face with Tears of Joy") == ["face", "tears", "joy"]
    assert split_words("flag St. Lucia") == ["flag", "st", "lucia"]
    assert split_words("Japanese “no vacancy” button") == ["japanese", "no", "vacancy", "button"]
    assert split_words("man’s shoe, T-Rex & o’clock #") == ["man’s", "shoe", "t-rex", "o’clock", "#"]
    assert vocabulary_of(["red cat", "cat face"]) == ["cat", "face", "red"]
    assert vocabulary_of(["red cat", "cat face"], least=2) == ["cat"]


def test_numbers_and_texts_are_each_others_inverse():
    vocabulary = Vocabulary(["cat", "face", "red"], 3)
    numbers = vocabulary.check(["red cat face", "face"])
    assert numbers.tolist() == [[3, 1, 2], [2, 0, 0]]
    assert vocabulary.decode(numbers) == ["red cat face", "face"]
    assert vocabulary.encode(["a red dog"]).tolist() == [[3, 0, 0]]  # what is unknown is left out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("catt", "'catt' is not among the 3 words of this model; near it are cat"),
        ("zzzz", r"'zzzz' is not among the 3 words of this model\.$"),
        ("", "give one to 3 words"),
        ("of the", "give one to 3 words"),
        ("red red red red", "at most 3 words, and there are 4"),
    ],
)
def test_words_that_the_model_does_not_know_are_refused_with_near_ones(text, says):
    with pytest.raises(ValueError, match=says):
        Vocabulary(["cat", "face", "red"], 3).check([text])


# ---- probabilities and gradients ----


@pytest.mark.parametrize("with_picture", [False, True])
def test_the_probabilities_of_all_codes_sum_to_one(with_picture):
    model = little()
    codes = sequences(3, 2)
    assert len(codes) == 3 + 9
    seen = torch.randn(1, 6).expand(len(codes), -1) if with_picture else None
    log_p = model.log_probability(codes, seen)
    assert log_p.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_words_are_drawn_with_their_probabilities():
    model = little()
    codes = sequences(3, 2)
    expected = model.log_probability(codes).sum(1).exp()
    generator = torch.Generator().manual_seed(0)
    noise = gumbel_noise(torch.rand(20000, 2, 4, generator=generator))
    drawn = model.read(model.no_picture(20000), noise)[0].argmax(2)
    assert sorted(map(tuple, drawn.unique(dim=0).tolist())) <= sorted(map(tuple, codes.tolist()))
    for code, p in zip(codes, expected, strict=True):
        assert (drawn == code).all(1).float().mean().item() == pytest.approx(p.item(), abs=0.015)


def test_nothing_follows_the_end_of_the_words():
    model = little(length=4)
    noise = gumbel_noise(torch.rand(500, 4, 4, generator=torch.Generator().manual_seed(1)))
    hard, relaxed = model.read(model.no_picture(500), noise)
    words = hard.argmax(2)
    over = (words == 0).cumsum(1) > 0
    assert over[:, 1:].any() and not over[:, 0].any()
    assert (words[over] == 0).all()
    assert torch.allclose(relaxed.sum(2), torch.ones(500, 4))
    behind = over[:, :-1]
    assert (relaxed[:, 1:][behind][:, 0] == 1).all()  # no gradient pulls words out of what is not there
    assert (model.log_probability(words)[:, 1:][behind] == 0).all()


def test_the_penalty_of_a_linear_critic():
    class Linear(torch.nn.Module):
        def forward(self, x):
            return (x * weights).sum((1, 2))

    weights = torch.tensor([[1.0, 2.0], [2.0, 0.0]])
    real, fake = torch.rand(5, 2, 2), torch.rand(5, 2, 2)
    assert gradient_penalty(Linear(), real, fake, None).item() == pytest.approx((3.0 - 1) ** 2)


# ---- the pipeline ----


def toy(number: int, seed: int) -> dict:
    """Pictures whose halves are bright as their names say: left, right, both sides; dark ones with half the contrast."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(3, (number,), generator=generator)
    styles = torch.randint(2, (number,), generator=generator)
    x = -torch.ones(number, 1, 8, 8)
    x[kinds != 1, :, :, :4] = 1
    x[kinds != 0, :, :, 4:] = 1
    x = x * (1 - 0.5 * styles.float())[:, None, None, None]
    return {"images": x, "texts": kinds, "conditions": {"style": styles}}


@pytest.fixture(scope="module")
def trained():
    """A tiny model that learnt the toy data with a paired share."""
    torch.manual_seed(0)
    sizes = {"reader_widths": [8], "writer_widths": [8], "word_dim": 8, "hidden": 32, "length": 2}
    pipeline = WordAutoencoderPipeline.build(8, 1, conditions=STYLES, texts=NAMES, style_weight=0.5, **sizes)
    modules = pipeline.trainable("words")
    optimizer = torch.optim.Adam([p for m in modules.values() for p in m.parameters()], 5e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(250):
        others = torch.randint(3, (32,), generator=generator)
        batch = toy(32, step) | {"texts": others, "paired": toy(8, step % 4)}
        loss, parts = pipeline.loss(batch, generator, step / 250)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(math.isfinite(value) for value in parts.values())
    pipeline.autoencoder.eval()
    pipeline.fit([toy(50, 98), toy(50, 99)])
    return pipeline


def test_a_share_of_pairs_gives_the_words_their_meaning(trained):
    batch = toy(30, 77)
    pairs = zip(trained.encode(batch["images"]), batch["texts"], strict=True)
    right = sum(words == NAMES[k] for words, k in pairs)
    assert right >= 27, "of 30; which ones depends on the rounding of the processor and on the number of threads"
    restored = trained.reconstruct(batch["images"], output_type="pt")
    assert restored.words == trained.encode(batch["images"])
    assert (restored.images - (batch["images"] / 2 + 0.5)).abs().mean() < 0.1  # the style too is read off the picture


def test_edited_words_change_the_picture_and_keep_its_style(trained):
    batch = toy(30, 77)
    kinds, styles = batch["texts"], batch["conditions"]["style"]
    for style in (0, 1):
        source = batch["images"][(kinds == 0) & (styles == style)][:1]
        edited = trained.reconstruct(source, words="Right", output_type="pt")
        wanted = batch["images"][(kinds == 1) & (styles == style)][0]
        assert edited.words == ["right"]
        assert (edited.images[0] - (wanted / 2 + 0.5)).abs().mean() < 0.1
        named = trained.reconstruct(source, words="right", style="dark", output_type="pt").images
        drawn = trained.decode("right", style="dark", output_type="pt").images
        assert torch.allclose(named, drawn, atol=1e-5)
    with pytest.raises(ValueError, match="words: 'rigt' is not among the 4 words of this model; near it are right"):
        trained.reconstruct(source, words="rigt")


def test_generating_draws_the_prompt_or_names(trained):
    asked = trained(3, prompt="both sides", style="bright", output_type="pt")
    assert asked.words == ["both sides"] * 3
    assert torch.allclose(asked.images[0], trained.decode("both sides", output_type="pt").images[0], atol=1e-5)
    generators = [torch.Generator().manual_seed(seed) for seed in range(60)]
    drawn = trained(60, generator=generators).words
    assert set(NAMES) <= set(drawn) and sum(text in NAMES for text in drawn) > 50
    assert len(set(trained(5, temperature=0.0).words)) == 1


def test_interpolation_word_by_word_has_words_to_read(trained):
    batch = toy(30, 77)
    a, b = batch["images"][batch["texts"] == 0][:1], batch["images"][batch["texts"] == 2][:1]
    walk = trained.interpolate(a, b, num_frames=3, mode="word by word", output_type="pt")
    assert walk.words == ["left", "both", "both sides"]
    blend = trained.interpolate(a, b, num_frames=3, output_type="pt")
    assert blend.words is None
    for end, frame in ((a, 0), (b, -1)):
        restored = trained.reconstruct(end, output_type="pt").images[0]
        assert torch.allclose(blend.images[frame], restored, atol=1e-5)
        assert torch.allclose(walk.images[frame], restored, atol=1e-5)


def test_the_score_is_how_improbable_the_words_are(trained):
    x = toy(6, 5)["images"]
    numbers = trained.vocabulary.check(trained.encode(x))
    with torch.no_grad():
        expected = -trained.autoencoder.log_probability(numbers).sum(1)
    assert torch.allclose(trained.anomaly_score(x, score="words").scores, expected, atol=1e-4)
    strange = torch.zeros(1, 1, 8, 8)
    strange[:, :, ::2] = 1.0
    both = trained.anomaly_score(torch.cat([x, strange])).scores
    assert both[-1] > both[:-1].max()


def test_each_side_learns_from_its_own_part_of_the_loss(tiny):
    """The critic's weight in the loss changes nothing for the auto-encoder, and the reader's nothing for the critic."""
    found = []
    for weights in ({}, {"adversarial_weight": 0.5}, {"critic_penalty": 0.0}):
        pipeline = build_tiny(FAMILY, critic_input="hard", **weights)
        pipeline.autoencoder.requires_grad_(True)
        torch.manual_seed(3)
        critic = pipeline.trainable("words")["critic"]
        batch = {"images": pictures(4), "texts": torch.arange(4)}
        pipeline.loss(batch, torch.Generator().manual_seed(1))[0].backward()
        grads = (pipeline.autoencoder.reader.out.weight.grad, critic.layers[0].weight.grad)
        found.append([g.clone() for g in grads])
    plain, pleasing, unpenalised = found
    assert not torch.allclose(plain[0], pleasing[0]) and torch.allclose(plain[1], pleasing[1])
    assert torch.allclose(plain[0], unpenalised[0]) and not torch.allclose(plain[1], unpenalised[1])


def test_words_are_held_to_the_partner_in_its_style_where_there_is_one():
    """With a writer that draws a plain grey of its style, the distance is zero for the partner's grey alone."""
    pipeline = build_tiny(FAMILY, conditions=STYLES)
    greys = torch.tensor([-0.5, 0.5])  # of the two styles

    class Plain(torch.nn.Module):
        def forward(self, words, styles):
            return (styles @ greys)[:, None, None, None] + 0 * words.sum() + torch.zeros(len(styles), 1, 28, 28)

    pipeline.autoencoder.requires_grad_(True)
    pipeline.autoencoder.writer = Plain()
    batch = {"images": torch.full((4, 1, 28, 28), -0.5), "texts": torch.arange(4)}
    batch["conditions"] = {"style": torch.zeros(4, dtype=torch.int64)}
    partners = {
        "partners": torch.full((4, 1, 28, 28), 0.5),
        "partner_conditions": {"style": torch.ones(4, dtype=torch.int64)},
    }

    def distance(batch):
        return float(pipeline.loss(batch, torch.Generator().manual_seed(0))[1]["distance"])

    alone, wrong = (
        distance(batch),
        distance(batch | {"partners": -partners["partners"]} | {"partner_conditions": partners["partner_conditions"]}),
    )
    assert alone < 1e-3 and distance(batch | partners) < 1e-3 and wrong > 0.1


def test_the_family_may_be_trained_on_pairs():
    recipe = find_recipe("word-emoji")
    assert recipe.data.pairs is not None
    assert build_pipeline(recipe, FAMILY, None, STYLES, NAMES).learns_from_pairs


@pytest.mark.parametrize("kind", ["hard", "relaxed"])
def test_the_critic_sees_words_or_their_distributions(kind):
    pipeline = build_tiny(FAMILY, critic_input=kind)
    pipeline.autoencoder.requires_grad_(True)
    seen = []

    class Watching(WordCritic):
        def forward(self, words):
            seen.append(words.detach())
            return super().forward(words)

    config = pipeline.autoencoder.config
    pipeline._critic = Watching(len(config.vocabulary), config.length)
    pipeline.loss({"images": pictures(4), "texts": torch.arange(4)}, torch.Generator().manual_seed(0))
    assert (seen[0].max(2).values == 1).all()  # real names
    assert ((seen[1].max(2).values > 0.999).all()) == (kind == "hard")


def test_what_the_family_cannot_use_is_refused():
    with pytest.raises(ValueError, match="critic_input: choose 'hard' or 'relaxed'"):
        build_tiny(FAMILY, critic_input="soft")
    with pytest.raises(ValueError, match="conditions: this family knows 'style'"):
        build_tiny(FAMILY, conditions={"font": {"0": "a"}})
    with pytest.raises(ValueError, match="texts: there is no word"):
        build_tiny(FAMILY, texts=["of the"])
    with pytest.raises(ValueError, match="stage: choose 'words'"):
        build_tiny(FAMILY).trainable("painting")
