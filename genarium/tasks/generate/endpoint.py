"""The endpoint /generate of the web API."""

from genarium.tasks.endpoints import Call, Classes, Number

INPUTS = (Number("number of images", 1), Classes("cycle"))


def call(checkpoint, num_images, class_labels, seed, parameters):
    """Generate images with a checkpoint of a generative model.

    Args:
        checkpoint: Name of the checkpoint, for example "ddpm-fashion-mnist".
        num_images: How many images.
        class_labels: "cycle" for each class in turn, "any", or a class's name or number, or a list of these.
        seed: Image i is drawn with seed + i; the same seed gives the same images.
        parameters: Further parameters of the checkpoint's family, for example {"num_inference_steps": 20}.

    Returns:
        The images as PNG files, and the complete request with the computing time.
    """
    return Call(class_labels=class_labels, num_images=num_images)
