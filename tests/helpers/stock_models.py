"""Stock diffusers pipelines and models with tiny random networks, for the tests of what adopts them."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    ScoreSdeVePipeline,
    ScoreSdeVeScheduler,
    UNet2DModel,
    VQModel,
)

SIZES = {"sample_size": 32, "in_channels": 3, "out_channels": 3, "block_out_channels": (8, 16), "layers_per_block": 1}
DDPM_UNET = {  # as of google/ddpm-cifar10-32
    **SIZES,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
NCSNPP_UNET = {  # as of google/ncsnpp-celebahq-256
    **SIZES,
    "block_out_channels": (32, 32),  # its blocks have 32 groups, whatever the configuration says
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
    "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "norm_num_groups": None,
    "attention_head_dim": None,
    "center_input_sample": True,
    "time_embedding_type": "fourier",
    "mid_block_scale_factor": 2**0.5,
    "norm_eps": 1e-6,
}
DIT = {  # as of facebook/DiT-XL-2-256, whose vae is that of Stable Diffusion
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "sample_size": 16,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
}
SMALL = {  # an auto-encoder that halves pictures once
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "sample_size": 32,
}


def random_unet(**config) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(**config).eval()


def stock(kind: str, **scheduler):
    """One of diffusers' own pipelines with a tiny random network for colour pictures of 32 pixels."""
    if kind == "ScoreSdeVePipeline":
        pipeline = ScoreSdeVePipeline(random_unet(**NCSNPP_UNET), ScoreSdeVeScheduler(**scheduler))
    elif kind == "DiTPipeline":
        torch.manual_seed(0)
        schedule = DDIMScheduler(**{"clip_sample": False, **scheduler})
        pipeline = DiTPipeline(DiTTransformer2DModel(**DIT).eval(), kl_model(), schedule)
    elif kind == "DDIMPipeline":
        pipeline = DDIMPipeline(random_unet(**DDPM_UNET), DDIMScheduler(**scheduler))
    else:
        pipeline = DDPMPipeline(random_unet(**DDPM_UNET), DDPMScheduler(**scheduler))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def kl_model(**config) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(**{**SMALL, **config}).eval()


def vq_model(**config) -> VQModel:
    """Its codes far apart, so that pictures have several."""
    torch.manual_seed(0)
    model = VQModel(**{**SMALL, "num_vq_embeddings": 16, "latent_channels": 4, **config}).eval()
    torch.nn.init.normal_(model.quantize.embedding.weight, std=0.3)
    return model
