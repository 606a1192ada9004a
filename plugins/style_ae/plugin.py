"""The style autoencoder: content of one picture, style of another."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="style-ae",
            title="Style autoencoder",
            pipeline="pipelines.pipeline_style_ae:StyleAutoencoderPipeline",
            description={
                "en": (
                    "One encoder keeps the content of a picture, as feature maps without mean and contrast. "
                    "Another keeps its style, as one vector without positions. The decoder gives each of its "
                    "layers the mean and contrast of the style, so that it draws any content in any style. It was "
                    "trained on pairs, the same emoji by two designers, with a discriminator of the designers' "
                    "styles."
                ),
                "zh": (
                    "一个编码器保留图片的内容，即去掉了均值与对比度的特征图；另一个保留其风格，即一个不含位置的向量。解码器在每一"
                    "层按风格设定均值与对比度，因此能以任意风格画出任意内容。它用成对的图像训练，即两位设计师画的同一个表情，并有"
                    "一个区分设计师风格的判别器。"
                ),
            },
            papers=(
                Paper(
                    "Huang and Belongie, Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization, 2017",
                    "https://arxiv.org/abs/1703.06868",
                ),
                Paper(
                    "Zhang, Zhang and Cai, Separating Style and Content for Generalized Style Transfer, 2018",
                    "https://arxiv.org/abs/1711.06454",
                ),
                Paper(
                    "Chou, Yeh and Lee, One-shot Voice Conversion by Separating Speaker and Content Representations with "
                    "Instance Normalization, 2019",
                    "https://arxiv.org/abs/1904.05742",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
        )
    )
