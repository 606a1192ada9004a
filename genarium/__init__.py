"""Genarium: a playground where every family of generative model is a plugin. This package is the host."""

from genarium.environment import prepare

__version__ = "0.1.0"

prepare()


def load(name: str):
    """Load a checkpoint as the app does: on the GPU if there is one, ready to use.

    Args:
        name: of a checkpoint in checkpoints/ ("vae-fashion-mnist"), a folder, or a Hub id.

    Returns:
        The pipeline.

    Raises:
        genarium.errors.CheckpointError: there is no such checkpoint, or it cannot be used.
    """
    from genarium.runtime import Runtime  # here: `import genarium` itself stays light

    return Runtime().pipeline(name)


def picture(path, checkpoint: str, invert: str = "auto"):
    """Load a picture from a file in the form of a checkpoint's data (size, mode, background), as the app does it.

    Raises:
        genarium.errors.InputError: the file is no picture that can be read.
    """
    from genarium.runtime import Runtime

    return Runtime().prepare(checkpoint, path, invert=invert)


def audio(path, checkpoint: str):
    """Load a recording from a file in the form of a checkpoint's data (sampling rate, one channel, level), as the app does it.

    Returns:
        float32 [T] in [-1, 1].

    Raises:
        genarium.errors.InputError: the file is no sound that can be read, or the sound is silent, too short or too long.
    """
    from genarium.runtime import Runtime

    return Runtime().prepare(checkpoint, path)
