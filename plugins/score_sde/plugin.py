"""The score-SDE family: one denoiser, every process and sampler of the score-based literature."""

from genarium.families import Family, Paper, beside, read_translations

BY_STEPS = ("heun", "predictor-corrector", "reverse diffusion", "euler-maruyama", "ancestral", "annealed langevin")


def register(add):
    add(
        Family(
            name="score-sde",
            title="Score SDE",
            pipeline="pipelines.pipeline_score_sde:ScoreSdePipeline",
            description={
                "en": "A network learns the score, the direction in which a noisy image becomes more probable, at every "
                "noise level. The same network runs stochastic and deterministic samplers of many kinds: Langevin "
                "dynamics, reverse SDEs, predictor-corrector, and an ODE that also gives the likelihood. Parts of an "
                "image can be kept while the rest is generated.",
                "zh": "网络学习每个噪声级上的得分，即带噪图像朝哪个方向变得更可能。同一个网络可用于多种随机与确定性采样："
                "Langevin 动力学、逆向随机微分方程、预测-校正，以及还能给出似然的常微分方程。可以保留图像的一部分，而生成其余部分。",
            },
            papers=(
                Paper(
                    "Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021",
                    "https://arxiv.org/abs/2011.13456",
                ),
                Paper(
                    "Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022",
                    "https://arxiv.org/abs/2206.00364",
                ),
                Paper(
                    "Song and Ermon, Generative Modeling by Estimating Gradients of the Data Distribution, 2019",
                    "https://arxiv.org/abs/1907.05600",
                ),
                Paper(
                    "Mahmood et al., Multiscale Score Matching for Out-of-Distribution Detection, 2021",
                    "https://arxiv.org/abs/2010.13132",
                ),
            ),
            controls={
                "num_inference_steps": {"used_with": {"sampler": BY_STEPS, "score": ("likelihood",)}},
                "churn": {"used_with": {"sampler": ("heun",)}},
                "num_corrector_steps": {"used_with": {"sampler": ("predictor-corrector", "annealed langevin")}},
                "tolerance": {"used_with": {"sampler": ("rk45",)}},
                "method": {"used_with": {"keep": ("everything",)}},
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "snr": {"used_with": {"sampler": ("predictor-corrector",)}, "label": "Signal-to-noise ratio"},
            },
            translations=read_translations(__file__),
            starter=beside(__file__, "starter:starter"),
            plane=beside(__file__, "plane:ScoreSdePlane"),
            stock=("ScoreSdeVePipeline",),
        )
    )
