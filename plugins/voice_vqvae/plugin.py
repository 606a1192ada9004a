"""The voice-vqvae family: speech as a row of codes, read aloud in another voice."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="voice-vqvae",
            title="Voice VQ-VAE",
            pipeline="pipelines.pipeline_voice_vqvae:VoiceVQVAEPipeline",
            description={
                "en": (
                    "An encoder writes speech down as a row of codes out of a few hundred, forty each second: room for what "
                    "is said and hardly for who says it. A decoder reads the codes aloud in any voice, known from a clip of "
                    "a few seconds, one never heard in training too, and keeps the melody, at that voice's pitch. A small "
                    "vocoder makes sound of the spectrogram."
                ),
                "zh": (
                    "编码器把语音写成一串编码，每秒四十个，取自几百个编码：足以表示说了什么，却几乎容不下是谁在说。"
                    "解码器用任意嗓音读出这些编码，嗓音由几秒语音得知，训练中从未听过的也可以，并保留原来的语调。小型声码器再把声谱变成声音。"
                ),
            },
            papers=(
                Paper(
                    "van den Oord, Vinyals and Kavukcuoglu, Neural Discrete Representation Learning, 2017",
                    "https://arxiv.org/abs/1711.00937",
                ),
                Paper(
                    "Chou, Yeh and Lee, One-shot Voice Conversion by Separately Representing Speaker and Content "
                    "Representations with Instance Normalization, 2019",
                    "https://arxiv.org/abs/1904.05742",
                ),
                Paper(
                    "Siuzdak, Vocos: Closing the gap between time-domain and Fourier-based neural vocoders, 2023",
                    "https://arxiv.org/abs/2306.00814",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 9, "step": 1, "label": "Voices"}},
            translations=read_translations(__file__),
        )
    )
