"""The VAE family: one pass of a small decoder makes an image."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="vae",
            title="VAE",
            pipeline="pipelines.pipeline_vae:VAEPipeline",
            description={
                "en": (
                    "A variational autoencoder compresses each image to a few dozen numbers, its latent, and "
                    "learns to draw the image from them. Each class has its own mean in the latent space. A "
                    "sample of a class starts near this mean and takes one pass of the decoder. The evidence "
                    "lower bound weighs the error of the reconstruction and how unusual the latent is, so it "
                    "serves as an anomaly score."
                ),
                "zh": (
                    "变分自编码器把每张图片压缩成几十个数字，即潜变量，并学会由这些数字画出图片。每个类别在潜空间中有自己的均值。"
                    "某一类别的样本从该均值附近出发，解码器只需运行一次。证据下界同时衡量重建误差与潜变量的罕见程度，因此可作为异"
                    "常分数。"
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
            starter=beside(__file__, "starter:starter"),
            plane=beside(__file__, "plane:VAEPlane"),
        )
    )
