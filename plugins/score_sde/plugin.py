"""The score-SDE family: one denoiser, every process and sampler of the score-based literature."""

from genarium.families import Family, Paper

# The controls' labels and helps, as in the pipeline's docstrings.
CHINESE = {
    "Sampler": "采样器",
    "Heun and adaptive RK45 solve the probability-flow ODE; predictor-corrector, reverse diffusion, Euler-Maruyama and "
    "ancestral the reverse SDE; annealed Langevin is NCSN's.": (
        "Heun 与自适应 RK45 求解概率流常微分方程；预测-校正、反向扩散、Euler-Maruyama 与祖先采样求解逆向随机微分方程；"
        "退火 Langevin 即 NCSN 的采样法。"
    ),
    "Process": "扩散过程",
    "How the noise levels and the scale run in time: EDM (Karras et al. 2022), or VE, VP and sub-VP (Song et al. 2021). "
    "The network is the same.": (
        "噪声级与尺度随时间的变化：EDM（Karras 等 2022），或 VE、VP、sub-VP（Song 等 2021）。网络是同一个。"
    ),
    "Inference steps": "步数",
    "Noise levels of the sampler, fewer is faster; the adaptive RK45 finds its own.": (
        "采样所用的噪声级数，越少越快；自适应 RK45 自行决定步数。"
    ),
    "Noise levels of Heun's method, each way.": "Heun 方法来回每程的噪声级数。",
    "Noise levels on the path of the likelihood; the others have their own.": (
        "计算似然时路径上的噪声级数；其他分数使用各自固定的噪声级。"
    ),
    "Guidance scale": "引导强度",
    "Above 1 samples follow their class more closely and vary less; 0 ignores the class. Any value but 1 takes twice the "
    "time.": "大于 1 时样本更贴近所选类别、变化更少；0 表示忽略类别。取 1 以外的值耗时加倍。",
    'Above 1 the generated parts follow the class more closely, if there is one; not used by "ode".': (
        "大于 1 时，若指定了类别，生成的部分更贴近该类别；ode 不使用。"
    ),
    "Churn": "注入噪声",
    "Fresh noise along the path, Heun only: 0 is deterministic, more corrects errors (Karras et al. 2022 alg. 2) and "
    "needs more steps.": (
        "沿途加入的新噪声，仅用于 Heun：0 为确定性；越多越能修正误差（Karras 等 2022，算法 2），但需要更多步数。"
    ),
    'Fresh noise along the way, which fits the generated parts to the kept ones; not used by "ode".': (
        "沿途加入的新噪声，使生成的部分与保留的部分协调；ode 不使用。"
    ),
    "Corrector steps": "校正步数",
    "Langevin steps at each noise level, predictor-corrector and annealed Langevin only.": (
        "每一噪声级的 Langevin 步数，仅用于预测-校正与退火 Langevin。"
    ),
    "Signal-to-noise ratio": "信噪比",
    "Size of the corrector's steps as a signal-to-noise ratio, predictor-corrector only.": (
        "以信噪比表示的校正步长，仅用于预测-校正。"
    ),
    "Tolerance": "容差",
    "Error allowed in each step of the adaptive RK45, where pixels span 2.": (
        "自适应 RK45 每步允许的误差，像素取值范围的宽度为 2。"
    ),
    "Keep": "保留",
    'What of the image stays; all else is generated to fit. "structure" keeps the averages of small blocks, "brightness" '
    'the average of the colours, "everything" reconstructs.': (
        "保留图像的哪一部分，其余部分重新生成并与之协调。structure 保留各小块的平均值，brightness 保留各颜色的平均值，"
        "everything 为重建整幅图像。"
    ),
    "Method": "方法",
    'How "everything" is reconstructed: "ode" follows the probability-flow ODE to the noise that generates the image; '
    '"noise" adds random noise and denoises it (SDEdit), so that details are invented anew.': (
        "everything 的重建方式：ode 沿概率流常微分方程找到生成该图像的噪声；noise 加入随机噪声再去噪（SDEdit），细节会被重新创造。"
    ),
    "Strength": "强度",
    "How far into the noise, 1 being all the way.": "深入噪声的程度，1 表示完全到达噪声。",
    "How far into the noise the path is drawn; less keeps closer to a blend of the two images.": (
        "路径深入噪声的程度；越小越接近两张图像的直接混合。"
    ),
    "Frames": "帧数",
    "M, frames including both ends.": "帧数，包含首尾两帧。",
    "Score": "分数类型",
    '"typicality" is the distance from training images over many noise levels; "score norms" is the same measurement '
    'before calibration; "likelihood" is the negative log-likelihood, which takes digits for ordinary.': (
        "typicality 为多个噪声级上与训练图像的距离；score norms 为校准前的同一测量；likelihood 为负对数似然，它会把数字当作正常图像。"
    ),
}


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
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "snr": {"label": "Signal-to-noise ratio"},
            },
            translations={"zh": CHINESE},
        )
    )
