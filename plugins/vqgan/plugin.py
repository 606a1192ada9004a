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
                    "An auto-encoder learns a codebook of a few hundred image patches, and writes each image as a "
                    "map of a few dozen codes. A discriminator makes the decoded images look real. A transformer "
                    "learns the distribution of the maps and draws new ones: several codes at a time, the most "
                    "certain first, or one after another. The likelihood of a map and the error of the "
                    "reconstruction are anomaly scores."
                ),
                "zh": (
                    "自编码器学会由数百个图块组成的码本，把每张图像写成几十个编码的图。判别器使解码的图像看起来真实。Transf"
                    "ormer 学习编码图的分布并画出新图：一次画出多个编码、最有把握的在先，或一个接一个地画。编码图的似然与重"
                    "建误差可作为异常分数。"
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
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "num_inference_steps": {"used_with": {"decoding": ("masked",)}},
                "choice_temperature": {"used_with": {"decoding": ("masked",)}},
            },
            translations=read_translations(__file__),
            stock_models={"VQModel": "vqgan"},
        )
    )
