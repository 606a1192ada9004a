"""Genarium: a playground where every family of generative model is a plugin. This package is the host."""

__version__ = "0.1.0"


def load(name: str):
    """A ready pipeline by checkpoint name, on the GPU where there is one, exactly as the app loads it.

    Args:
        name: of a checkpoint in checkpoints/ ("vae-fashion-mnist"), a folder, or a Hub id.

    Raises:
        genarium.errors.CheckpointError: there is none, or it cannot be used; the message says why.
    """
    from genarium.runtime import Runtime  # here: `import genarium` itself stays light

    return Runtime().pipeline(name)


def picture(path, checkpoint: str, invert: str = "auto"):
    """Load a picture from a file in the form of a checkpoint's data (size, mode, background), as the app does it.

    Raises:
        genarium.errors.InputError: it is no picture that can be read.
    """
    from genarium.runtime import Runtime

    return Runtime().prepare(checkpoint, path, invert=invert)


def audio(path, checkpoint: str):
    """Load a recording from a file in the form of a checkpoint's data (sampling rate, one channel, level), as the app does it.

    Returns:
        float32 [T] in [-1, 1].

    Raises:
        genarium.errors.InputError: it is no sound that can be read; or is silent, too short or too long.
    """
    from genarium.runtime import Runtime

    return Runtime().prepare(checkpoint, path)
