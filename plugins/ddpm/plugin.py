from genarium.families import Family, Paper

# The controls' labels and helps, as in the pipeline's docstrings.
CHINESE = {
    "Sampler": "采样器",
    "DDPM ancestral (Ho et al. 2020 alg. 2), DDIM (Song et al. 2020 eq. 12), DPM-Solver++, UniPC or Heun.": (
        "DDPM 祖先采样（Ho 等 2020，算法 2）、DDIM（Song 等 2020，式 12）、DPM-Solver++、UniPC 或 Heun。"
    ),
    "Inference steps": "步数",
    "Steps of the sampler, fewer is faster; Heun evaluates the network twice a step.": (
        "采样步数，越少越快；Heun 每步计算网络两次。"
    ),
    "Steps each way.": "来回每程的步数。",
    "Guidance scale": "引导强度",
    "Above 1 samples follow their class more closely and vary less; 0 ignores the class.": (
        "大于 1 时样本更贴近所选类别、变化更少；0 表示忽略类别。"
    ),
    "Eta": "噪声系数 η",
    "Noise added at each step, DDIM only: 0 is deterministic, 1 is as noisy as DDPM.": (
        "每步加入的噪声，仅用于 DDIM：0 为确定性，1 与 DDPM 相同。"
    ),
    "Method": "方法",
    '"inversion" runs the DDIM equation backwards to the noise that generates the image; "noise" adds random noise and '
    "denoises it, so that details are invented anew.": (
        "inversion 反向运行 DDIM 方程，找到生成该图像的噪声；noise 加入随机噪声再去噪，细节会被重新创造。"
    ),
    "Strength": "强度",
    "How far into the noise, 1 being all the way.": "深入噪声的程度，1 表示完全到达噪声。",
    "How far into the noise the path is drawn; less keeps closer to a blend of the two images.": (
        "路径深入噪声的程度；越小越接近两张图像的直接混合。"
    ),
    "Refinements": "细化次数",
    "Fixed-point iterations a step of the inversion.": "反演每步的不动点迭代次数。",
    "Fixed-point iterations a step of the inversion; with more, the way back meets the image more exactly.": (
        "反演每步的不动点迭代次数；越多，返回时越精确地还原图像。"
    ),
    "Frames": "帧数",
    "M, frames including both ends.": "帧数，包含首尾两帧。",
    "Noise levels": "噪声级数",
    "Noise levels, evenly spread over the middle of the schedule.": "在噪声进程的中段均匀选取的噪声级数。",
    "Samples": "采样次数",
    "Noise draws at each level; more is steadier.": "每一级抽取噪声的次数；越多越稳定。",
}


def register(add):
    add(
        Family(
            name="ddpm",
            title="DDPM / DDIM",
            pipeline="pipelines.pipeline_ddpm:DenoisingDiffusionPipeline",
            description={
                "en": "A network learns to remove Gaussian noise, a little at a time. Sampling starts from pure noise and "
                "denoises in steps: at random (DDPM) or along a deterministic path (DDIM and the fast solvers). The "
                "path can be walked backwards, so real images can be taken into noise, mixed there, and brought back.",
                "zh": "网络学习一点一点地去除高斯噪声。采样从纯噪声出发逐步去噪：可以是随机的（DDPM），也可以沿确定性的路径（DDIM 与快速求解器）。"
                "这条路径可以反向走，因此真实图像能被送入噪声、在那里混合，再还原回来。",
            },
            papers=(
                Paper(
                    "Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020",
                    "https://arxiv.org/abs/2006.11239",
                ),
                Paper(
                    "Song, Meng and Ermon, Denoising Diffusion Implicit Models, 2020",
                    "https://arxiv.org/abs/2010.02502",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations={"zh": CHINESE},
            stock=("DDPMPipeline", "DDIMPipeline"),
        )
    )
