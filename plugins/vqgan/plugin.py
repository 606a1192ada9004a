"""The VQGAN family: images as maps of codes, and a transformer that draws such maps."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="vqgan",
            title="VQGAN",
            pipeline="pipelines.pipeline_vqgan:VQGANPipeline",
            description={
                "en": (
                    "An auto-encoder learns a codebook of some hundred small pieces of picture and writes each image as a "
                    "map of a few dozen codes; a discriminator sees to it that what is read back looks real. A "
                    "transformer then learns which codes go together, and draws new maps: many codes at once, the surest "
                    "first, or one after another. The probability of a map, and what its codes could not say, tell which "
                    "images are strange."
                ),
                "zh": (
                    "自编码器学会一本由数百个小图块组成的码本，把每张图像写成几十个编码的图；判别器确保还原出的图像足够真实。"
                    "随后，变换器（Transformer）学习哪些编码会一起出现，并画出新的编码图：一次画出多个编码、最有把握的在先，"
                    "或一个接一个地画。编码图的概率，以及编码无法表达的部分，能指出哪些图像不同寻常。"
                ),
            },
            papers=(
                Paper(
                    "Esser, Rombach and Ommer, Taming Transformers for High-Resolution Image Synthesis, 2021",
                    "https://arxiv.org/abs/2012.09841",
                ),
                Paper(
                    "van den Oord, Vinyals and Kavukcuoglu, Neural Discrete Representation Learning, 2017",
                    "https://arxiv.org/abs/1711.00937",
                ),
                Paper(
                    "Chang et al., MaskGIT: Masked Generative Image Transformer, 2022",
                    "https://arxiv.org/abs/2202.04200",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
            stock_models={"VQModel": "vqgan"},
        )
    )
