"""The DiT family: diffusion or flow matching by a transformer, in the latent space of an auto-encoder of its own."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="dit",
            title="DiT",
            pipeline="pipelines.pipeline_dit:LatentTransformerPipeline",
            description={
                "en": "An auto-encoder packs an image into a small grid of numbers, and a transformer learns to make such "
                "grids out of noise, seeing every place at once. It can be conditioned on a class and a style, and "
                "guidance makes it follow them more closely. Images are taken into noise and back in that small space, "
                "and decoded.",
                "zh": "自编码器把图像压缩成一小格数字，Transformer 学习把噪声变成这样的网格，并同时看到每一个位置。"
                "可以告诉它类别和风格，引导会让所画的内容更贴近要求。图像在这个小空间里走向噪声再返回，然后解码。",
            },
            papers=(
                Paper(
                    "Peebles and Xie, Scalable Diffusion Models with Transformers, 2023",
                    "https://arxiv.org/abs/2212.09748",
                ),
                Paper(
                    "Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022",
                    "https://arxiv.org/abs/2112.10752",
                ),
                Paper("Ho and Salimans, Classifier-Free Diffusion Guidance, 2022", "https://arxiv.org/abs/2207.12598"),
                Paper("Lipman et al., Flow Matching for Generative Modeling, 2023", "https://arxiv.org/abs/2210.02747"),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
            stock=("DiTPipeline",),
            stock_components={"vae": "autoencoder"},
            stock_models={"AutoencoderKL": "autoencoder"},
        )
    )
