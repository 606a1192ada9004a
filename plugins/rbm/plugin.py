"""The RBM family: an energy for each picture of black and white pixels, sampled by Gibbs steps."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="rbm",
            title="RBM",
            pipeline="pipelines.pipeline_rbm:RBMPipeline",
            description={
                "en": (
                    "A restricted Boltzmann machine gives each picture an energy, through hidden units that each watch for a "
                    "pattern. It draws by switching hidden units and pixels on and off in turn, and one can watch the picture "
                    "move. Such a chain is slow to leave one kind of picture for another."
                ),
                "zh": (
                    "受限玻尔兹曼机通过各自关注一种图案的隐藏单元，给每张图片赋予能量。"
                    "采样时轮流开关隐藏单元与像素，可以看到图片逐帧变化。这样的链很难从一类图片走到另一类。"
                ),
            },
            papers=(
                Paper(
                    "Hinton, Training Products of Experts by Minimizing Contrastive Divergence, 2002",
                    "https://doi.org/10.1162/089976602760128018",
                ),
                Paper(
                    "Tieleman, Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient, 2008",
                    "https://doi.org/10.1145/1390156.1390290",
                ),
                Paper(
                    "Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks, 2008",
                    "https://doi.org/10.1145/1390156.1390266",
                ),
                Paper(
                    "Melchior et al., How to Center Deep Boltzmann Machines, 2016",
                    "https://jmlr.org/papers/v17/14-237.html",
                ),
            ),
            controls={
                "num_frames": {"minimum": 2, "maximum": 64, "step": 1},
                "num_inference_steps": {"used_with": {"keep": ("everything",)}},
                "method": {"used_with": {"keep": ("everything",)}},
                "completion_steps": {"used_with": {"keep": ("left half", "right half", "top half", "bottom half")}},
            },
            translations=read_translations(__file__),
            plane=beside(__file__, "plane:RBMPlane"),
        )
    )
