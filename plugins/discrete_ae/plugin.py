"""The family of auto-encoders with a discrete code: bits, classes of their own making, or paths through a tree."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="discrete-ae",
            title="Discrete auto-encoder",
            pipeline="pipelines.pipeline_discrete_ae:DiscreteAutoencoderPipeline",
            description={
                "en": (
                    "The code of each image is discrete: bits, each a feature that is there or not; one class of a few, which "
                    "the model makes for itself; or a path through a learned tree, whose nodes draw the image from coarse to "
                    "fine. Random draws of the code are relaxed in training, so that gradients pass through them. Labels are "
                    "not used to learn the code."
                ),
                "zh": (
                    "每张图像的编码是离散的：或是一串比特，每一位表示某个特征有或无；或是模型自行划分的几个类别之一；"
                    "或是一棵学得的树中的一条路径，沿途的节点由粗到细画出图像。"
                    "训练时对编码的随机抽取作了松弛，使梯度得以通过。学习编码时不使用标签。"
                ),
            },
            papers=(
                Paper(
                    "Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017",
                    "https://arxiv.org/abs/1611.01144",
                ),
                Paper("Maddison, Mnih and Teh, The Concrete Distribution, 2017", "https://arxiv.org/abs/1611.00712"),
                Paper(
                    "Hu et al., Learning Discrete Representations via Information Maximizing Self-Augmented Training, 2017",
                    "https://arxiv.org/abs/1702.08720",
                ),
                Paper(
                    "Germain et al., MADE: Masked Autoencoder for Distribution Estimation, 2015",
                    "https://arxiv.org/abs/1502.03509",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
        )
    )
