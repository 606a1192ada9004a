"""What `evaluate` measures of a swap of style: of pictures in images.py, of voices in voices.py."""

from genarium.tasks.swap_style.figures import images, voices

PARTS = (images.PART, *voices.PARTS)
