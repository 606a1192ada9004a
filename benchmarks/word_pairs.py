"""How far words mean anything: the word auto-encoder with 0, 1 and 5 % of the pictures paired with their names.

    python benchmarks/word_pairs.py --images 64000

Each row is a training of its own of the recipe, for the same number of images. The networks of pictures are smaller than the
recipe's, so that all rows take minutes. All of them know which drawings are of one emoji. The last row gives the critic
the relaxed words instead of the drawn ones (Wang and Lee 2018, https://arxiv.org/abs/1810.02851, do so in their WGAN).
With --keep FOLDER, rows that an earlier call finished are not trained again, and --rows N trains N more at most.

The table goes to the screen and to docs/benchmarks/words.md.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import load_images
from genarium.data.texts import Texts
from genarium.families import discover
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from genarium.tasks.reconstruct import words
from genarium.training.loop import train
from pipelines.words import split_words

ROWS = ((0.0, "hard"), (0.01, "hard"), (0.05, "hard"), (0.05, "relaxed"))
COLUMNS = {  # heading: which row of `words.measure`
    "words right, unpaired drawings": (words.RIGHT, {"set": words.UNPAIRED}),
    "words right, new emoji": (words.RIGHT, {"set": words.NEW}),
    "taken for a name": (words.LIKE_NAMES, {"what": "sequences of words read off new things"}),
    "picture among 100 from its words": (words.FOUND, {"set": words.UNPAIRED, "drawn": words.READ}),
    "the same, new emoji": (words.FOUND, {"set": words.NEW, "drawn": words.READ}),
    "picture among 100 from its name": (words.FOUND, {"set": words.UNPAIRED, "drawn": words.GIVEN}),
}


def pick(found, figure, wanted):
    return next(r["value"] for r in found if r["figure"] is figure and all(r[k] == v for k, v in wanted.items()))


def percent(value):
    return f"{100 * value:.0f} %"


def row_of(recipe, family, data, test, paired, critic_input, options, folder):
    """Train one model and return its row of the table, its references, and words that it read."""
    texts = dataclasses.replace(recipe.data.texts, paired=paired)
    stages = (dataclasses.replace(recipe.training.stages[0], images=options.images, sample_every=10**9),)
    recipe = dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, texts=texts),
        architecture={
            **recipe.architecture,
            "critic_input": critic_input,
            "reader_widths": options.widths,
            "writer_widths": options.widths,
        },
        training=dataclasses.replace(recipe.training, stages=stages, save_every=10**9),
    )
    data = dataclasses.replace(data, texts=Texts(data.texts.rows, paired))
    run = folder / f"{paired}-{critic_input}"
    begun = time.monotonic()
    target = train(recipe, family, data=data, output=run / "checkpoint", run_folder=run / "run")
    minutes = (time.monotonic() - begun) / 60
    pipeline = load_pipeline(open_checkpoint(target, discover(), name=recipe.name))
    found = words.measure(pipeline, data, test)
    row = {"pairs": percent(paired), "critic sees": {"hard": "words", "relaxed": "relaxed words"}[critic_input]}
    row |= {title: percent(pick(found, *which)) for title, which in COLUMNS.items()}
    rows = list(range(0, len(test), max(len(test) // 12, 1)))
    read = pipeline.encode(test.pixels(torch.tensor(rows)))
    examples = [f"{test.texts.rows[i]}: *{text}*" for i, text in zip(rows, read, strict=True)]
    references = [pick(found, words.LIKE_NAMES, {"what": what}) for what in (
        "names that the critic did not see", "sequences of words drawn one by one")]  # fmt: skip
    print(json.dumps(row), f"{minutes:.1f} minutes", examples, flush=True)
    return row, references, examples, minutes


def results_of(recipe, family, data, test, options, folder):
    """Return what `row_of` gives for each row, from files in the folder where an earlier call finished them.

    Returns:
        One result for each row, or fewer if `options.rows` were trained before the last.
    """
    results, trained = [], 0
    for paired, critic_input in ROWS:
        path = folder / f"{paired}-{critic_input}-{options.images}.json"
        if not path.is_file():
            if trained == options.rows:
                break
            path.write_text(json.dumps(row_of(recipe, family, data, test, paired, critic_input, options, folder)))
            trained += 1
        results.append(json.loads(path.read_text()))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64_000, help="that each training sees")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64], help="of the networks of pictures")
    parser.add_argument("--recipe", default="word-emoji")
    parser.add_argument("--data", help="local copy of the emoji, in place of the Hub's")
    parser.add_argument("--keep", type=Path, help="folder for finished rows; by default one that is deleted")
    parser.add_argument("--rows", type=int, default=len(ROWS), help="to train in this call, at most")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/words.md")
    options = parser.parse_args()
    recipe, families = find_recipe(options.recipe), discover()
    data = load_images(recipe.data, recipe.data.train_split, options.data)
    test = load_images(recipe.data, recipe.data.test_split, options.data, None, data.condition_names)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = results_of(recipe, families[recipe.family], data, test, options, folder)
    if len(results) < len(ROWS):
        print(f"{len(results)} of {len(ROWS)} rows are finished.")
        return
    (most, _), *_ = Counter(word for text in data.texts.rows for word in split_words(text)).most_common(1)
    chance = words.words_right([most] * len(test), test.texts.rows)
    rows = [row for row, *_ in results]
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    (names, noise), examples = results[-2][1], results[-2][2]
    unpaired = ", ".join(results[0][2][:4])
    text = f"""# How far words mean anything: 0, 1 and 5 % of the pictures paired with their names

{chr(10).join(lines)}

`python benchmarks/word_pairs.py --images {options.images}` on
{describe_hardware(torch.device("cpu"), torch.float32)} (training in {recipe.training.precision}), about
{sum(minutes for *_, minutes in results) / len(results):.0f} minutes for each row.

All rows know which drawings are of one emoji, which is not its name. *Words right* is the mean share of a name's words among the words read. "{most}" for every picture would get
{percent(float(chance.mean()))} of new emoji. *Unpaired drawings* are those of the training data that never came with their name; other
designers' drawings of the same emoji may have. *New emoji* are those of the test split, {len(set(test.texts.rows))} in all; about half of
their words are in no name of the training data, so that no model of this vocabulary can read them. *Taken for a name* is the
share of sequences read off new emoji that a separate critic takes for names. It takes {percent(names)} of real names that
it did not see for names, and {percent(noise)} of words drawn one by one. *Picture among 100*: the words are drawn, and the
drawing is nearer to its picture than to 99 others, in the same style as far as there are so many; chance is 1 %. *From its
name*: the name's own words are drawn instead of those read.

Words read by the model with 5 % pairs off new emoji: {"; ".join(examples)}.

Without pairs the reader gives: {unpaired}.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
