"""The model card of a checkpoint: README.md with the Hub's metadata, and the pictures or sounds that it shows.

part.py declares what a task contributes, facts.py collects what the recipe says, render.py makes the text, write.py writes
it into the checkpoint's folder, check.py says what a card lacks.
"""
