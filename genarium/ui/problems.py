"""What a visitor reads when something cannot be done, in both languages.

The host says it in English, for programs and the log too. problems.yaml knows the Chinese of what a visitor can come upon, and
recipe_problems.yaml that of a recipe's fields. A message that they do not know stays English.
"""

from __future__ import annotations

import functools
import html
import json
import re
from pathlib import Path

from genarium.files import parse_yaml
from genarium.ui.texts import class_names, in_both

VALUE = re.compile(r"\{(\d+)\}")


def in_chinese(message: str) -> str:
    """Return the Chinese of a message; the message itself where there is none.

    What is wrong with a recipe has a line for each field, and each line its own Chinese.
    """
    first, *fields = message.split("\n")
    if fields and all(line.startswith("  ") for line in fields):
        return "\n".join([first, *(_translated("recipe_problems", line) or line for line in fields)])
    return _translated("problems", message) or message


def _translated(name: str, message: str) -> str | None:
    for pattern, chinese in _patterns(name):
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return VALUE.sub(lambda place, values=found: values[int(place[1])], chinese)  # type: ignore[misc]
    return None


def problem_words(message: str) -> str:
    """Return a message as HTML, in both languages where its Chinese is known."""
    chinese = in_chinese(message)
    english = html.escape(message)
    return english if chinese == message else in_both(english, html.escape(chinese))


def for_scripts() -> str:
    """Return what only the browser can translate, as JSON.

    "problems" and "phrases" are pairs of a regular expression and its Chinese. "classes" has the Chinese of names of classes.
    """
    known = {"problems": _patterns("problems"), "phrases": _patterns("phrases"), "classes": class_names()}
    return json.dumps(known, ensure_ascii=False).replace("</", "<\\/")


def messages(name: str = "problems") -> dict[str, str]:
    """Return the Chinese of each message by its English, with numbered places for values.

    Args:
        name: of the file: "problems", "recipe_problems", or "phrases", which are what components and cards say.
    """
    text = Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8")
    return parse_yaml(text)


@functools.cache
def _patterns(name: str) -> list[tuple[str, str]]:
    """Return a regular expression and the Chinese for each message; the longest first, for a short one may fit its text, too."""
    known = sorted(messages(name).items(), key=lambda pair: -len(VALUE.sub("", pair[0])))
    return [(_pattern(english), chinese) for english, chinese in known]


def _pattern(english: str) -> str:
    """Return a regular expression, for Python and for browsers alike, of which each group is a value."""
    parts = VALUE.split(english)  # text, number, text, ...
    special = re.compile(r"[.*+?^${}()|\[\]\\]")
    return "".join(r"([\s\S]*?)" if i % 2 else special.sub(r"\\\g<0>", part) for i, part in enumerate(parts))
