"""The endpoint /reconstruct of the web API."""

from genarium.tasks.endpoints import Call, Classes, File

INPUTS = (File("picture"), Classes("any"))


def call(checkpoint, image, class_labels, seed, parameters):
    """Encode an image, or a recording of a voice, with a generative model and decode it again.

    Args:
        checkpoint: Name of the checkpoint.
        image: Picture file of any size; for a checkpoint of voices, a WAV, FLAC, OGG or MP3 file.
        class_labels: The name or number of the class of the image, or "any" if it is not known.
        seed: Of the randomness, where the method has any.
        parameters: Further parameters of the checkpoint's family.

    Returns:
        The reconstruction as a PNG or WAV file, and the complete request with the computing time.
    """
    return Call(files=(image,), class_labels=class_labels)
