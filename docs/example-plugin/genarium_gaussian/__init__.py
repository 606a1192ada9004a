"""A plugin of Genarium, as a package of its own. docs/plugins.md of Genarium explains it line by line."""

from pathlib import Path

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="gaussian",
            title="Pixel Gaussian",
            pipeline="genarium_gaussian.pipeline_gaussian:GaussianPipeline",
            description={
                "en": "Every pixel is a Gaussian of its own, with a mean and a deviation learned from the data. Drawn images "
                "are the average picture under noise, because no pixel knows of its neighbour. It is the least that a "
                "generative model can be, and shows what the others are for.",
                "zh": "每个像素都是独立的高斯分布，其均值与标准差从数据中学得。生成的图像是带噪声的平均图，因为像素之间互不知晓。"
                "这是生成模型的最简形式，也由此可见其他模型的意义。",
            },
            papers=(
                Paper(
                    "Bishop, Pattern Recognition and Machine Learning, section 2.3.4, 2006",
                    "https://www.microsoft.com/en-us/research/publication/pattern-recognition-machine-learning/",
                ),
            ),
            translations=read_translations(__file__),
            recipes=Path(__file__).parent / "recipes",
        )
    )
