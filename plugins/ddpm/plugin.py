from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="ddpm",
            title="DDPM / DDIM",
            pipeline="pipelines.pipeline_ddpm:DenoisingDiffusionPipeline",
            description={
                "en": (
                    "A network learns to remove Gaussian noise. Sampling starts from pure noise and removes it in "
                    "steps, at random (DDPM) or along a deterministic path (DDIM and the fast solvers). The path "
                    "also runs backwards: real images can be encoded as noise, mixed there, and decoded."
                ),
                "zh": (
                    "网络学习去除高斯噪声。采样从纯噪声出发逐步去噪：可以是随机的（DDPM），也可以沿确定性的路径（DDIM 与"
                    "快速求解器）。这条路径也可以反向运行：真实图像可编码为噪声、在那里混合，再解码还原。"
                ),
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
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "eta": {"used_with": {"sampler": ("ddim",)}},
                "num_refinements": {"used_with": {"method": ("inversion",)}},
            },
            translations=read_translations(__file__),
            starter=beside(__file__, "starter:starter"),
            plane=beside(__file__, "plane:DDPMPlane"),
            stock=("DDPMPipeline", "DDIMPipeline"),
        )
    )
