"""The feature-memory family: a detector of strange pictures that needs a few ordinary ones and no training."""

from genarium.families import Family, Paper, beside, read_translations


def register(add):
    add(
        Family(
            name="feature-memory",
            title="Feature memory",
            pipeline="pipelines.pipeline_feature_memory:FeatureMemoryPipeline",
            description={
                "en": (
                    "A feature memory keeps what a pre-trained network sees in ordinary pictures, and finds a picture strange "
                    "where the network sees something else. Nothing is trained: twenty pictures and a few seconds are enough. "
                    "It draws no pictures of its own."
                ),
                "zh": (
                    "特征记忆保存预训练网络在普通图片中看到的特征；若网络在一张图片的某处看到别的东西，就判定该处异常。"
                    "它不需要训练：二十张图片、几秒钟就够。它自己不生成图片。"
                ),
            },
            papers=(
                Paper(
                    "Roth et al., Towards Total Recall in Industrial Anomaly Detection, 2022",
                    "https://arxiv.org/abs/2106.08265",
                ),
                Paper(
                    "Defard et al., PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and "
                    "Localization, 2021",
                    "https://arxiv.org/abs/2011.08785",
                ),
                Paper(
                    "Ahuja et al., Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial "
                    "Detection, 2019",
                    "https://arxiv.org/abs/1909.11786",
                ),
            ),
            translations=read_translations(__file__),
            starter=beside(__file__, "starter:starter"),
        )
    )
