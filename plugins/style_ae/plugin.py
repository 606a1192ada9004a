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
                    "Two encoders take a picture apart: one keeps what is drawn, as maps from which mean and contrast are "
                    "taken away; the other keeps how it is drawn, as one vector without any place in it. The decoder gives "
                    "each of its layers the mean and contrast that the style asks for, and so draws any content in any "
                    "style. It learnt that from pairs, the same emoji by two designers, with a discriminator that knows "
                    "every designer's hand."
                ),
                "zh": (
                    "两个编码器把一幅图拆开：一个保留画的是什么，即去掉了均值与对比度的特征图；另一个保留怎么画，即一个不含位置的"
                    "向量。解码器在每一层按风格的要求设定均值与对比度，于是能以任意风格画出任意内容。它从成对的图像中学习，"
                    "即两位设计师画的同一个表情，并有一个熟悉每位设计师笔法的判别器。"
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
