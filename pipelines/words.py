"""Words of names: how a text is split into them, and the vocabulary that a pile of texts has."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch

NOTHING = 0  # the number that stands after the last word
LITTLE_WORDS = frozenset(
    ["a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"]
)  # of grammar, which show nothing
WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*\.?|[#*]")


def split_words(text: str) -> list[str]:
    """Return the words of a text in small letters, without marks and without the little words of grammar."""
    words = [word.rstrip(".") if word.count(".") == 1 else word for word in WORD.findall(text.lower())]
    return [word for word in words if word not in LITTLE_WORDS]


def vocabulary_of(texts: Iterable[str], least: int = 1) -> list[str]:
    """Return the words that at least so many texts have, in the order of the alphabet."""
    counts = Counter(word for text in texts for word in set(split_words(text)))
    return sorted(word for word, count in counts.items() if count >= least)


class Vocabulary:
    """Words and their numbers from 1; 0 is no word.

    Args:
        words: in the order of their numbers.
        length: L, the words of a code at most.
    """

    def __init__(self, words: Sequence[str], length: int):
        self.words, self.length = tuple(words), length
        self.numbers = {word: number for number, word in enumerate(self.words, 1)}

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return texts as numbers, int64 [N, L]. Words that are not in the vocabulary, and those beyond L, are left out."""
        rows = torch.zeros(len(texts), self.length, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            known = [self.numbers[word] for word in split_words(text) if word in self.numbers][: self.length]
            row[: len(known)] = torch.tensor(known, dtype=torch.int64)
        return rows

    def check(self, texts: Sequence[str], name: str = "codes") -> torch.Tensor:
        """Return texts of a visitor as numbers, int64 [N, L].

        Raises:
            ValueError: no word, too many, or a word that the vocabulary does not have; the message names near ones.
        """
        for text in texts:
            words = split_words(text)
            if not words:
                raise ValueError(f"{name}: give one to {self.length} words, such as {', '.join(self.words[:3])}.")
            for word in words:
                if word not in self.numbers:
                    near = difflib.get_close_matches(word, self.words, n=5, cutoff=0.6)
                    hint = f"; near it are {', '.join(near)}" if near else ""
                    raise ValueError(
                        f"{name}: {word!r:.40} is not among the {len(self.words)} words of this model{hint}."
                    )
            if len(words) > self.length:
                raise ValueError(f"{name}: this model takes at most {self.length} words, and there are {len(words)}.")
        return self.encode(texts)

    def decode(self, numbers: torch.Tensor) -> list[str]:
        """Return numbers int64 [N, L] as texts, up to the first 0 of each row."""
        texts = []
        for row in numbers.tolist():
            end = row.index(NOTHING) if NOTHING in row else len(row)
            texts.append(" ".join(self.words[number - 1] for number in row[:end]))
        return texts
