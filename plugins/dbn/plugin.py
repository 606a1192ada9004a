"""The DBN family: restricted Boltzmann machines on top of each other, trained one after the other."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="dbn",
            title="DBN",
            pipeline="pipelines.pipeline_dbn:DBNPipeline",
            description={
                "en": (
                    "A deep belief network stacks three restricted Boltzmann machines, each trained on what the one below makes "
                    "of the picture. The top one is sampled by Gibbs steps, and one pass down turns its state into pixels. With "
                    "this recipe deep networks could first be trained, in 2006."
                ),
                "zh": (
                    "深度信念网络把三个受限玻尔兹曼机叠在一起，每一个都在下一层对图片的表示上训练。"
                    "最上层用吉布斯采样，再由一次自上而下的传播变成像素。2006 年，正是这一方法使深层网络首次得以训练。"
                ),
            },
            papers=(
                Paper(
                    "Hinton, Osindero, Teh, A Fast Learning Algorithm for Deep Belief Nets, 2006",
                    "https://doi.org/10.1162/neco.2006.18.7.1527",
                ),
                Paper(
                    "Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006",
                    "https://doi.org/10.1126/science.1127647",
                ),
                Paper(
                    "Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks, 2008",
                    "https://doi.org/10.1145/1390156.1390266",
                ),
            ),
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "num_inference_steps": {"used_with": {"keep": ("everything",)}},
                "method": {"used_with": {"keep": ("everything",)}},
                "completion_steps": {"used_with": {"keep": ("left half", "right half", "top half", "bottom half")}},
            },
            translations=read_translations(__file__),
        )
    )
