"""The VAE family: one pass of a small decoder makes an image."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="vae",
            title="VAE",
            pipeline="pipelines.pipeline_vae:VAEPipeline",
            description={
                "en": (
                    "A variational autoencoder squeezes each image into a few dozen numbers and learns to draw it again "
                    "from them. Each class has a mean of its own in that latent space, so a class is chosen by where "
                    "one starts, and one pass of the decoder makes a picture. Because it weighs how well an image can "
                    "be restored against how unusual its latent is, it can also tell which images are strange."
                ),
                "zh": (
                    "变分自编码器把每张图片压缩成几十个数字，并学会由这些数字重新画出图片。"
                    "每个类别在潜在空间中都有自己的均值，因此选择起点就选择了类别，解码器只需运行一次即可生成图片。"
                    "它同时衡量图片能被还原得多好、其潜变量有多罕见，所以也能指出哪些图片不同寻常。"
                ),
            },
            papers=(
                Paper("Kingma and Welling, Auto-Encoding Variational Bayes, 2013", "https://arxiv.org/abs/1312.6114"),
                Paper(
                    "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2015",
                    "https://arxiv.org/abs/1509.00519",
                ),
                Paper(
                    "Ghosh et al., From Variational to Deterministic Autoencoders, 2019",
                    "https://arxiv.org/abs/1903.12436",
                ),
                Paper(
                    "Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, 2020",
                    "https://arxiv.org/abs/2006.13202",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
        )
    )
