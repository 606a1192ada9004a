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
                    "Two encoders listen to speech: one keeps what is said and has the marks of the voice taken away by "
                    "normalisation and a narrow Gaussian bottleneck; the other keeps who says it, as one point from a few "
                    "seconds. A decoder puts any words and any voice together, one never heard in training too, and keeps "
                    "the melody, at the new voice's pitch. A small vocoder makes sound of the spectrogram."
                ),
                "zh": (
                    "两个编码器聆听语音：一个保留所说的内容，用归一化和狭窄的高斯瓶颈去掉嗓音的痕迹；另一个从几秒语音中得到一个点，"
                    "表示是谁在说话。解码器把任意内容与任意嗓音组合起来，训练中从未听过的嗓音也可以，并把语调移到新嗓音的音高。小型声码器再把声谱变成声音。"
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
