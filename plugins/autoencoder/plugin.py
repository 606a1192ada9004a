"""The auto-encoder family: a picture becomes a few numbers and a picture again."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="autoencoder",
            title="Auto-encoder",
            pipeline="pipelines.pipeline_autoencoder:AutoencoderPipeline",
            description={
                "en": (
                    "An auto-encoder squeezes each image into a few numbers, its code, and draws it again from them. Nothing "
                    "makes the codes fill their space, so codes drawn at random often fall into holes where the decoder "
                    "draws nonsense; a mixture fitted to the codes avoids them. A denoising auto-encoder also restores "
                    "pictures that noise has damaged."
                ),
                "zh": (
                    "自编码器把每张图片压缩成几个数字（编码），再由编码重新画出图片。"
                    "没有什么约束编码填满其空间，因此随机抽取的编码常落入空洞，解码器在那里只会画出无意义的图像；拟合于编码的混合分布可避开空洞。"
                    "去噪自编码器还能修复被噪声破坏的图片。"
                ),
            },
            papers=(
                Paper(
                    "Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006",
                    "https://doi.org/10.1126/science.1127647",
                ),
                Paper(
                    "Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, 2008",
                    "https://doi.org/10.1145/1390156.1390294",
                ),
                Paper(
                    "Bengio et al., Generalized Denoising Auto-Encoders as Generative Models, 2013",
                    "https://arxiv.org/abs/1305.6663",
                ),
            ),
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "num_inference_steps": {"used_with": {"prior": ("chain",)}},
                "noise": {"used_with": {"prior": ("chain",)}},
                "noise_level": {
                    "used_with": {"prior": ("chain",), "noise": ("gaussian", "masking", "salt_and_pepper")}
                },
                "temperature": {"used_with": {"prior": ("mixture", "gaussian", "box")}},
            },
            translations=read_translations(__file__),
            starter=beside(__file__, "starter:starter"),
            plane=beside(__file__, "plane:AutoencoderPlane"),
        )
    )
