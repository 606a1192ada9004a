"""The VAE family: one pass of a small decoder makes an image."""

from genarium.families import Family, Paper

# The controls' labels and helps, as in the pipeline's docstrings.
CHINESE = {
    "Prior": "先验",
    '"mixture" follows the latents of the training images closely and looks best; "standard" is the prior of the '
    "training, a round Gaussian about the mean of the class. Before `fit` they are the same.": (
        "mixture 紧贴训练图像的潜变量分布，效果最好；standard 是训练时的先验，即以类别均值为中心的高斯分布。拟合之前两者相同。"
    ),
    "Temperature": "温度",
    "Spread of the latents around the means of the prior's Gaussians; 0 gives typical images only, 1 the prior itself.": (
        "潜变量围绕先验各高斯均值的散布程度；0 只给出典型图像，1 即先验本身。"
    ),
    "Sample": "随机采样",
    "Decode a draw from the posterior q(z | x) instead of its mean, to see what the latent leaves open.": (
        "解码后验 q(z | x) 的一次抽样而非其均值，以观察潜变量未确定的部分。"
    ),
    "Frames": "帧数",
    "M, frames including both ends.": "帧数，包含首尾两帧。",
    "Mode": "路径",
    '"slerp" walks an arc around the centre of the prior and keeps to its typical distance (White 2016 sec. 2.1); "lerp" '
    "walks the straight line, which passes nearer to the centre.": (
        "slerp 绕先验中心走弧线，保持典型距离（White 2016，2.1 节）；lerp 走直线，会更靠近中心。"
    ),
    "Score": "分数类型",
    '"elbo" is the negative evidence lower bound; "reconstruction" looks only at what the decoder could not restore.': (
        "elbo 为负证据下界；reconstruction 只看解码器未能还原的部分。"
    ),
    "Samples": "采样次数",
    "Draws of the latent for each image; more is steadier.": "对每张图像抽取潜变量的次数；越多越稳定。",
}


def register(add):
    add(
        Family(
            name="vae",
            title="VAE",
            pipeline="pipelines.pipeline_vae:VAEPipeline",
            description={
                "en": (
                    "A variational autoencoder squeezes each image into a few dozen numbers and learns to draw it again "
                    "from them. Each class has a mean of its own in that latent space, so a class is chosen by where "
                    "one starts, and one pass of the decoder makes a picture. Because it weighs how well an image can "
                    "be restored against how unusual its latent is, it can also tell which images are strange."
                ),
                "zh": (
                    "变分自编码器把每张图片压缩成几十个数字，并学会由这些数字重新画出图片。"
                    "每个类别在潜在空间中都有自己的均值，因此选择起点就选择了类别，解码器只需运行一次即可生成图片。"
                    "它同时衡量图片能被还原得多好、其潜变量有多罕见，所以也能指出哪些图片不同寻常。"
                ),
            },
            papers=(
                Paper("Kingma and Welling, Auto-Encoding Variational Bayes, 2013", "https://arxiv.org/abs/1312.6114"),
                Paper(
                    "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2015",
                    "https://arxiv.org/abs/1509.00519",
                ),
                Paper(
                    "Ghosh et al., From Variational to Deterministic Autoencoders, 2019",
                    "https://arxiv.org/abs/1903.12436",
                ),
                Paper(
                    "Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, 2020",
                    "https://arxiv.org/abs/2006.13202",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations={"zh": CHINESE},
        )
    )
