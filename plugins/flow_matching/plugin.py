from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="flow-matching",
            title="Flow matching",
            pipeline="pipelines.pipeline_flow_matching:FlowMatchingPipeline",
            description={
                "en": (
                    "A network learns the velocity of straight paths between noise and images. Following the "
                    "velocity from noise generates an image. Following it backwards encodes one, and its "
                    "divergence gives the likelihood. A student that was trained on its teacher's pairs of noise "
                    "and image needs only one or two steps."
                ),
                "zh": (
                    "网络学习噪声与图像之间直线路径的速度。从噪声出发沿速度前行便生成图像，反向而行便编码图像，速度场的散度给出似"
                    "然。以教师的“噪声—图像”对训练的学生模型只需一两步。"
                ),
            },
            papers=(
                Paper("Lipman et al., Flow Matching for Generative Modeling, 2023", "https://arxiv.org/abs/2210.02747"),
                Paper(
                    "Liu, Gong and Liu, Flow Straight and Fast: Rectified Flow, 2023",
                    "https://arxiv.org/abs/2209.03003",
                ),
                Paper(
                    "Tong et al., Flow-Based Generative Models with Minibatch Optimal Transport, 2024",
                    "https://arxiv.org/abs/2302.00482",
                ),
            ),
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "num_inference_steps": {
                    "used_with": {"sampler": ("heun", "euler", "midpoint"), "score": ("typicality", "likelihood")}
                },
                "tolerance": {"used_with": {"sampler": ("rk45",)}},
            },
            translations=read_translations(__file__),
            starter=beside(__file__, "starter:starter"),
            plane=beside(__file__, "plane:FlowMatchingPlane"),
        )
    )
