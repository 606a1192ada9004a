"""The family of normalizing flows: invertible networks with an exact likelihood, by couplings or by TarFlow."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="normalizing-flow",
            title="Normalizing flow",
            pipeline="pipelines.pipeline_normalizing_flow:NormalizingFlowPipeline",
            description={
                "en": (
                    "A network that can be run backwards turns pictures into noise, and noise into pictures. It knows how it "
                    "stretches space, so the density of every picture is computed exactly. Two networks are "
                    "offered: couplings that change half of the numbers at a time, and TarFlow, whose transformers draw "
                    "a picture patch by patch."
                ),
                "zh": (
                    "可逆网络把图片变成噪声，也把噪声变回图片。它知道自己如何拉伸空间，因此每张图片的概率密度都能精确算出。"
                    "可选两种网络：每次改变一半数值的耦合层，以及 TarFlow，即逐块画出图片的因果 Transformer。"
                ),
            },
            papers=(
                Paper(
                    "Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017",
                    "https://arxiv.org/abs/1605.08803",
                ),
                Paper(
                    "Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018",
                    "https://arxiv.org/abs/1807.03039",
                ),
                Paper(
                    "Zhai et al., Normalizing Flows are Capable Generative Models, 2024",
                    "https://arxiv.org/abs/2412.06329",
                ),
                Paper("Durkan et al., Neural Spline Flows, 2019", "https://arxiv.org/abs/1906.04032"),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
            plane=beside(__file__, "plane:NormalizingFlowPlane"),
        )
    )
