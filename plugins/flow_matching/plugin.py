from genarium.families import Family, Paper

# The controls' labels and helps, as in the pipeline's docstrings.
CHINESE = {
    "Sampler": "采样器",
    "Euler, Heun or the midpoint rule in equal steps, or RK45 (Dormand and Prince 1980), which chooses its own.": (
        "等步长的欧拉法、Heun 法或中点法，或自行选择步长的 RK45（Dormand 与 Prince 1980）。"
    ),
    "The midpoint rule in equal steps, or RK45, which chooses its own.": "等步长的中点法，或自行选择步长的 RK45。",
    "Inference steps": "步数",
    "Steps of the sampler, fewer is faster; Heun and midpoint evaluate the network twice a step.": (
        "采样步数，越少越快；Heun 法与中点法每步计算网络两次。"
    ),
    "Steps each way; the midpoint rule evaluates the network twice a step.": (
        "来回每程的步数；中点法每步计算网络两次。"
    ),
    'Steps on the way into noise ("velocity" takes none); typicality is calibrated for the default.': (
        "走向噪声的步数（velocity 不需要）；典型性按默认值校准。"
    ),
    "Guidance scale": "引导强度",
    "Above 1 samples follow their class more closely and vary less; 0 ignores the class.": (
        "大于 1 时样本更贴近所选类别、变化更少；0 表示忽略类别。"
    ),
    "Tolerance": "容许误差",
    "Error that RK45 allows itself in a step; the other samplers do not use it.": (
        "RK45 每步允许的误差；其他采样器不使用。"
    ),
    "Error that RK45 allows itself in a step; the midpoint rule does not use it.": (
        "RK45 每步允许的误差；中点法不使用。"
    ),
    "Method": "方法",
    '"inversion" follows the flow backwards to the noise that generates the image; "noise" mixes in random noise and '
    "follows the flow from there, so that details are invented anew.": (
        "inversion 沿流反向走到生成该图像的噪声；noise 混入随机噪声，再从那里沿流返回，细节会被重新创造。"
    ),
    "Strength": "强度",
    "How far into the noise, 1 being all the way.": "深入噪声的程度，1 表示完全到达噪声。",
    "How far into the noise the path is drawn; less keeps closer to a blend of the two images.": (
        "路径深入噪声的程度；越小越接近两张图像的直接混合。"
    ),
    "Frames": "帧数",
    "M, frames including both ends.": "帧数，包含首尾两帧。",
    "Score": "分数",
    '"typicality" is high for images unlike the training images in any direction, also for all too simple ones; '
    '"likelihood" is the negative log-likelihood; "velocity" is the mean error of the predicted velocities.': (
        "typicality：图像在任何方面与训练图像不同时都偏高，过于简单的图像也是如此；likelihood：负对数似然；"
        "velocity：预测速度的平均误差。"
    ),
}


def register(add):
    add(
        Family(
            name="flow_matching",
            title="Flow matching",
            pipeline="pipelines.pipeline_flow_matching:FlowMatchingPipeline",
            description={
                "en": "A network learns the velocity of straight lines between images and noise. Following it from noise "
                "draws an image, following it backwards encodes one, and how it spreads or gathers gives the likelihood. "
                "A student trained on its teacher's own pairs of noise and image needs one or two steps only.",
                "zh": "网络学习图像与噪声之间直线路径的速度。从噪声出发沿速度前行便生成图像，反向而行便编码图像，速度场的散度给出似然。"
                "学生模型以教师自己的“噪声—图像”对训练，只需一两步即可生成。",
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
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations={"zh": CHINESE},
        )
    )
