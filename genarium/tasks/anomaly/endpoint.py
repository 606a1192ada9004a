"""The endpoint /anomaly_score of the web API."""

from genarium.tasks.endpoints import Call, Classes, File

INPUTS = (File("picture"), Classes("any"))


def call(checkpoint, image, class_labels, seed, parameters):
    """Score how strange an image, or a recording of a voice, is to a generative model.

    Args:
        checkpoint: Name of the checkpoint.
        image: Picture file of any size; for a checkpoint of voices, a WAV, FLAC, OGG or MP3 file.
        class_labels: The name or number of the class on which the score is conditional, or "any".
        seed: Of the randomness, where the method has any.
        parameters: Further parameters of the checkpoint's family.

    Returns:
        A heat map as a PNG file, if the family draws one, and the score. Higher is stranger. With it comes the share of
        ordinary test data with a lower score; if a class is given, their scores are conditional on their own classes. For
        sound, the score of each frame comes too, if there is one. The verdict is "strange" or "ordinary" by the threshold that is kept
        with the checkpoint, else by the score that 95 per cent of ordinary test data do not exceed.
    """
    return Call(files=(image,), class_labels=class_labels)
