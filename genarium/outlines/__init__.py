"""Outlines: what the pages and the commands need to know of a pipeline class, without importing it.

outline.py   `Outline`: its tasks, their controls, its components; made from the class by `outline_of`
written.py   an outline as plain values for JSON, and back
kept.py      the outlines of an installation in a file of the user's cache folder
stamps.py    what tells whether that file is still true

A pipeline module imports torch and diffusers, which takes longer than everything else in a start. So what was learnt from a
class is kept, and holds for as long as no source file and no installed package has changed. Only what plain values say
whole is kept: a class that declares anything else is imported as before, and so is one that cannot be used.
"""

from genarium.outlines.kept import Kept
from genarium.outlines.outline import Call, Outline, outline_of

__all__ = ["Call", "Kept", "Outline", "outline_of"]
