"""The GAN family: a generator that learns from a critic, under one of four objectives."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="gan",
            title="GAN",
            pipeline="pipelines.pipeline_gan:GANPipeline",
            description={
                "en": (
                    "A generator makes pictures from noise, and a critic learns to tell them from real ones; each improves "
                    "against the other. One pass through a small network draws a sharp picture. Nothing makes the generator "
                    "draw every kind of picture that the data have, and it cannot be run backwards: pictures are found by "
                    "an encoder and by gradient descent."
                ),
                "zh": (
                    "生成器由噪声画出图片，评判器学着把它们与真实图片区分开，两者在对抗中共同进步。小网络一次前向计算即可画出清晰的图片。"
                    "没有什么保证生成器画出数据中的每一类图片，它也无法反向运行：要找到某张图片的编码，需借助编码器与梯度下降。"
                ),
            },
            papers=(
                Paper("Goodfellow et al., Generative Adversarial Nets, 2014", "https://arxiv.org/abs/1406.2661"),
                Paper("Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017", "https://arxiv.org/abs/1701.07875"),
                Paper(
                    "Gulrajani et al., Improved Training of Wasserstein GANs, 2017", "https://arxiv.org/abs/1704.00028"
                ),
                Paper(
                    "Huang et al., The GAN is dead; long live the GAN! A Modern Baseline GAN, 2024",
                    "https://arxiv.org/abs/2501.05441",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
            starter=beside(__file__, "starter:starter"),
            plane=beside(__file__, "plane:GANPlane"),
        )
    )
