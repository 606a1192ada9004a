"""The sparse coding family: a picture is a sum of a few atoms out of many."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="sparse-coding",
            title="Sparse coding",
            pipeline="pipelines.pipeline_sparse_coding:SparseCodingPipeline",
            description={
                "en": (
                    "Sparse coding writes each image as a sum of a few atoms, out of a dictionary that has more atoms than "
                    "the image has pixels. Training learns the dictionary. An optimiser, FISTA, then finds the few atoms of "
                    "an image; a small network beside it guesses them at once. What few atoms can say is an image of the "
                    "kind that the model knows, so noise goes away and missing pixels can be filled in."
                ),
                "zh": (
                    "稀疏编码把每张图片写成少数几个原子之和，而字典中的原子比图片的像素还多。"
                    "训练学到的是字典；随后由优化算法 FISTA 找出一张图片所用的少数原子，旁边还有一个小网络能立即猜出它们。"
                    "少数原子所能表达的，正是模型所熟悉的那类图片，因此可以去除噪声、填补缺失的像素。"
                ),
            },
            papers=(
                Paper(
                    "Olshausen and Field, Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for "
                    "Natural Images, 1996",
                    "https://doi.org/10.1038/381607a0",
                ),
                Paper(
                    "Beck and Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems, 2009",
                    "https://doi.org/10.1137/080716542",
                ),
                Paper(
                    "Mairal et al., Online Dictionary Learning for Sparse Coding, 2009",
                    "https://doi.org/10.1145/1553374.1553463",
                ),
                Paper("Makhzani and Frey, k-Sparse Autoencoders, 2013", "https://arxiv.org/abs/1312.5663"),
            ),
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "num_inference_steps": {"used_with": {"encoder": ("fista",)}},
                "sparsity": {"used_with": {"encoder": ("fista",)}},
                "damage_level": {"used_with": {"damage": ("gaussian", "missing_pixels", "missing_block")}},
            },
            translations=read_translations(__file__),
            starter=beside(__file__, "starter:starter"),
        )
    )
