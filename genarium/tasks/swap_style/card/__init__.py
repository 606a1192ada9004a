"""What the card shows of a swap of style: of pictures in images.py, of voices in voices.py."""

from genarium.tasks.swap_style.card import images, voices

PARTS = (images.PART, voices.PART)
