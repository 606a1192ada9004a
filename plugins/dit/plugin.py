"""The DiT family: diffusion or flow matching by a transformer, in the latent space of an auto-encoder of its own."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="dit",
            title="DiT",
            pipeline="pipelines.pipeline_dit:LatentTransformerPipeline",
            description={
                "en": (
                    "An auto-encoder compresses an image to a small grid of latents. A transformer learns to turn "
                    "noise into such grids, with attention between all their places. It can be conditional on a "
                    "class and a style, and guidance strengthens both. Images are inverted and interpolated in "
                    "this latent space, then decoded."
                ),
                "zh": (
                    "自编码器把图像压缩成一个小的潜变量网格。Transformer 学习把噪声变成这样的网格，注意力连接其中的所"
                    "有位置。它可以以类别和风格为条件，引导会加强二者的作用。图像的反演与插值都在这个潜空间中进行，然后解码。"
                ),
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
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "strength": {"used_with": {"method": ("inversion", "noise")}},
                "num_inference_steps": {"used_with": {"method": ("inversion", "noise"), "score": ("typicality",)}},
                "guidance_scale": {"used_with": {"method": ("inversion", "noise")}},
                "style": {"used_with": {"method": ("inversion", "noise")}},
            },
            translations=read_translations(__file__),
            stock=("DiTPipeline",),
            stock_components={"vae": "autoencoder"},
            stock_models={"AutoencoderKL": "autoencoder"},
        )
    )
