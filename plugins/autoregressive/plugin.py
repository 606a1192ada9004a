"""The autoregressive family: a picture as a chain of pixels, each with a distribution given those before it."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="autoregressive",
            title="Autoregressive",
            pipeline="pipelines.pipeline_autoregressive:AutoregressivePipeline",
            description={
                "en": (
                    "A picture is drawn pixel by pixel, and a network gives each pixel its probabilities, given the pixels "
                    "before it. Their product is the probability of the picture, exactly, so one can see which pixels surprise "
                    "the model. It has no code: there is nothing to interpolate in but the pixels, so the Interpolate tab does "
                    "not offer it."
                ),
                "zh": (
                    "图片逐个像素画出，网络根据先前的像素给出每个像素的概率。这些概率的乘积就是整张图片的精确概率，"
                    "因此可以看到哪些像素出乎模型意料。它没有编码：除了像素本身没有可供插值的空间，因此「插值」页不提供它。"
                ),
            },
            papers=(
                Paper(
                    "Larochelle and Murray, The Neural Autoregressive Distribution Estimator, 2011",
                    "https://proceedings.mlr.press/v15/larochelle11a.html",
                ),
                Paper(
                    "Germain et al., MADE: Masked Autoencoder for Distribution Estimation, 2015",
                    "https://arxiv.org/abs/1502.03509",
                ),
                Paper(
                    "van den Oord et al., Conditional Image Generation with PixelCNN Decoders, 2016",
                    "https://arxiv.org/abs/1606.05328",
                ),
                Paper("Salimans et al., PixelCNN++, 2017", "https://arxiv.org/abs/1701.05517"),
            ),
            translations=read_translations(__file__),
            plane=beside(__file__, "plane:AutoregressivePlane"),
        )
    )
