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
                    "An encoder turns speech into a sequence of discrete codes, forty a second out of a few "
                    "hundred. They hold the words, and little of the voice. A decoder speaks them in any voice, "
                    "given by a clip of a few seconds, also in one that is not in the training data, and keeps "
                    "the melody at the pitch of that voice. A small vocoder turns the spectrogram into sound."
                ),
                "zh": (
                    "编码器把语音变成离散编码的序列，每秒四十个，取自几百个编码。它们保留所说的内容，几乎不含嗓音。解码器用任意嗓"
                    "音读出这些编码，嗓音由几秒的录音给出，包括训练数据中没有的嗓音，并把语调移到该嗓音的音高。小型声码器把声谱变"
                    "成声音。"
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
