"""The voice-vae family: what one clip says, in the voice of another."""

from genarium.families import Family, Paper, read_translations


def register(add):
    add(
        Family(
            name="voice-vae",
            title="Voice VAE",
            pipeline="pipelines.pipeline_voice_vae:VoiceVAEPipeline",
            description={
                "en": (
                    "One encoder of speech keeps the words. Normalisation and a narrow Gaussian bottleneck remove "
                    "the voice. Another encoder keeps the speaker, as one vector from a few seconds of speech. "
                    "The decoder combines any words with any voice, also with one that is not in the training "
                    "data, and keeps the melody at the pitch of the new voice. A small vocoder turns the "
                    "spectrogram into sound."
                ),
                "zh": (
                    "一个语音编码器保留所说的内容，用归一化和狭窄的高斯瓶颈去掉嗓音。另一个编码器由几秒语音得到一个向量，表示说话"
                    "人。解码器把任意内容与任意嗓音组合起来，包括训练数据中没有的嗓音，并把语调移到新嗓音的音高。小型声码器把声谱"
                    "变成声音。"
                ),
            },
            papers=(
                Paper(
                    "Chou, Yeh and Lee, One-shot Voice Conversion by Separately Representing Speaker and Content "
                    "Representations with Instance Normalization, 2019",
                    "https://arxiv.org/abs/1904.05742",
                ),
                Paper("Kingma and Welling, Auto-Encoding Variational Bayes, 2013", "https://arxiv.org/abs/1312.6114"),
                Paper(
                    "Siuzdak, Vocos: Closing the gap between time-domain and Fourier-based neural vocoders, 2023",
                    "https://arxiv.org/abs/2306.00814",
                ),
            ),
            controls={"num_frames": {"minimum": 2, "maximum": 9, "step": 1, "label": "Voices"}},
            translations=read_translations(__file__),
        )
    )
