from genarium.families import Family, Paper, read_translations


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
            translations=read_translations(__file__),
            stock=("DDPMPipeline", "DDIMPipeline"),
        )
    )
