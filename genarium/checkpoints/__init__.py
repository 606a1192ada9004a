"""Checkpoints: what a folder in `save_pretrained` layout holds, which family it belongs to, and how it is loaded.

checkpoint.py   `Checkpoint`: what it can do, its controls, its classes and figures
opening.py      `open_checkpoint`: reads a folder's index and finds the family
loading.py      `load_pipeline`: loads the weights with the installed classes
building.py     the lock under which networks are built
limits.py       what a configuration may ask for
folder.py       which of a folder's files are ours, and how a new version takes the place of an old one

No code from a checkpoint's folder runs here: classes come from installed plugins and from diffusers, weights from
safetensors. A Hub snapshot is fetched without its *.py files. Only an operator can wish otherwise (trust.py).
"""

from genarium.checkpoints.checkpoint import Checkpoint
from genarium.checkpoints.folder import EVALUATION, MODEL_CONFIG, MODEL_INDEX
from genarium.checkpoints.loading import load_pipeline
from genarium.checkpoints.opening import open_checkpoint

__all__ = ["EVALUATION", "MODEL_CONFIG", "MODEL_INDEX", "Checkpoint", "load_pipeline", "open_checkpoint"]
