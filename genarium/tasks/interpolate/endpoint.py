"""The endpoint /interpolate of the web API."""

from genarium.tasks.endpoints import Call, File

INPUTS = (File("first picture"), File("last picture"))


def call(checkpoint, a, b, seed, parameters):
    """Interpolate between two images, or between two voices, with a generative model.

    Args:
        checkpoint: Name of the checkpoint.
        a: Picture file to start from; for a checkpoint of voices, the recording whose words are said.
        b: Picture file to end with; for a checkpoint of voices, a recording of the last voice.
        seed: Of the randomness, where the method has any.
        parameters: Further parameters of the checkpoint's family, for example {"num_frames": 12}.

    Returns:
        The frames as PNG or WAV files, and the complete request with the computing time.
    """
    return Call(files=(a, b))
