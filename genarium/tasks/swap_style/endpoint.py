"""The endpoint /swap_style of the web API."""

from genarium.tasks.endpoints import Call, File

INPUTS = (File("content"), File("style"))


def call(checkpoint, content, style, seed, parameters):
    """Keep the content of one picture, or the words of one recording, and take over the style or voice of another.

    Use only voices that you may use: your own, or those of people who agreed.

    Args:
        checkpoint: Name of the checkpoint.
        content: Picture file whose content stays; for a checkpoint of voices, the WAV, FLAC, OGG or MP3 file whose words
            stay, of at most ten minutes.
        style: File of the same kind whose style or voice is taken. None if a trained voice is chosen by name.
        seed: Of the randomness, where the method has any.
        parameters: Further parameters of the checkpoint's family, for example {"speaker": "cmu/slt"}.

    Returns:
        The results as PNG files, or as WAV files marked as synthetic, and the complete request with the computing time
        and, for sound, the sampling rate.
    """
    return Call(files=(content, style))
