"""The word auto-encoder family: a picture becomes a few words, and a picture again."""

from pathlib import Path

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="word-ae",
            title="Word auto-encoder",
            pipeline="pipelines.pipeline_word_ae:WordAutoencoderPipeline",
            description={
                "en": (
                    "This auto-encoder says in a few words what a picture shows, and draws the picture again from the words "
                    "alone. A person can read this code and change it, and the picture follows. The model learns from a pile "
                    "of pictures and a pile of names; a critic that has seen real names keeps it from inventing a language of "
                    "its own, and a few pictures that come with their names teach it what the words mean. Several drawings of one "
                    "thing have to be drawn from the same words, each in its style. BERT and MaskGIT "
                    "are its relatives: denoising auto-encoders that fill in masked words, or masked codes of a picture."
                ),
                "zh": (
                    "这种自编码器用几个词说出图中有什么，再只凭这些词把图重新画出来。"
                    "人能读懂这种编码，也能修改它，图像随之改变。"
                    "模型从一堆图片和一堆名称中学习：见过真实名称的评判网络不许它自造语言，少量带有名称的图片则教它词语的含义。同一事物的多幅画须能由同样的词画出，各按其风格。"
                    "BERT 与 MaskGIT 是它的近亲：它们是去噪自编码器，前者补全被遮住的词，后者补全图像中被遮住的编码。"
                ),
            },
            papers=(
                Paper(
                    "Wang and Lee, Learning to Encode Text as Human-Readable Summaries using Generative Adversarial "
                    "Networks, 2018",
                    "https://arxiv.org/abs/1810.02851",
                ),
                Paper(
                    "Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017",
                    "https://arxiv.org/abs/1611.01144",
                ),
                Paper(
                    "Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, 2018",
                    "https://arxiv.org/abs/1810.04805",
                ),
                Paper(
                    "Chang et al., MaskGIT: Masked Generative Image Transformer, 2022",
                    "https://arxiv.org/abs/2202.04200",
                ),
            ),
            # The page of reconstructions has a field for the words beside the picture.
            controls={"words": {"hidden": True}, "num_frames": {"minimum": 2, "maximum": 64, "step": 1}},
            translations=read_translations(__file__),
            words=read_translations(Path(__file__).parent / "words" / "zh.yaml"),
        )
    )
