"""The endpoint /anomaly_score of the web API."""

from genarium.tasks.endpoints import Call, Classes, File

INPUTS = (File("picture"), Classes("any"))


def call(checkpoint, image, class_labels, seed, parameters):
    """Score how strange an image, or a recording of a voice, is to a generative model.

    Args:
        checkpoint: Name of the checkpoint.
        image: Picture file of any size; for a checkpoint of voices, a WAV, FLAC, OGG or MP3 file.
        class_labels: The name or number of the class that it should be of, or "any".
        seed: Of the randomness, where the method has any.
        parameters: Further parameters of the checkpoint's family.

    Returns:
        A heat map as a PNG file (none where the family draws none, or for sound), and the score (higher is stranger)
        with the share of ordinary test data below it (where a class is given, of test data given their own); for sound,
        also the score of each frame, where there is one.
    """
    return Call(files=(image,), class_labels=class_labels)
