"""The endpoint /residual of the web API."""

from genarium.tasks.endpoints import Call, File

INPUTS = (File("picture"),)


def call(checkpoint, image, seed, parameters):
    """Measure how much of an image a generative model does not give back.

    Args:
        checkpoint: Name of the checkpoint.
        image: Picture file of any size.
        seed: Of the randomness, where the method has any.
        parameters: Further parameters of the checkpoint's family.

    Returns:
        The reconstruction as a PNG file, and the complete request with the mean residual from 0 to 1.
    """
    return Call(files=(image,))
