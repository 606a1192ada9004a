"""The texts of the interface, in English and Chinese: the app's own. Those of a task stand in its folder.

Texts that are known when the page is built go through `gr.I18n`: the browser chooses the language. Texts that are made
while the app runs ("16 images in 2.3 s") are sent in both languages, and a style sheet, itself chosen by `gr.I18n`,
shows one of them. So the server need not know who speaks what.
"""

from __future__ import annotations

import functools
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from genarium.files import parse_yaml
from genarium.tasks import Task

# key: (English, Chinese)
TEXTS = {
    "tagline": (
        "{number} families of generative models to play with: they draw, take your pictures or your voice through themselves and "
        "back, and say what they find strange.",
        "{number} 个生成模型家族供你玩耍：它们会作画，能把你的图片或声音编码后再还原，并指出它们觉得异常之处。",
    ),
    "try_this": ("Try this", "试一试"),
    "wall": (
        "Drawn by the models of this page. Press one to let it draw now.",
        "以下均由本页的模型所画。点击任意一个，让它现在作画。",
    ),
    "tab_hub": ("Hub", "Hub"),
    "tab_about": ("About", "关于"),
    "checkpoint": ("Checkpoint", "模型"),
    "card": ("Model card", "模型卡"),
    "name": ("Name", "名称"),
    "family": ("Family", "模型家族"),
    "data": ("Data", "数据"),
    "size": ("Size", "大小"),
    "hub": ("Hub", "Hub"),
    "classes": ("Classes", "类别"),
    "no_checkpoint": (
        "No checkpoint can do this yet. Load one on the Hub tab, train one with <code>python -m genarium train</code>, or "
        "put one into <code>checkpoints/</code>.",
        "还没有能完成此任务的模型。可在 Hub 标签页加载一个，用 <code>python -m genarium train</code> 训练一个，"
        "或放入 <code>checkpoints/</code>。",
    ),
    "num_images": ("Images", "张数"),
    "class_choice": ("Classes", "类别"),
    "class_cycle": ("Each in turn", "依次轮换"),
    "class_any": ("Any", "任意"),
    "class_unknown": ("Not given", "不指定"),
    "class_chosen": ("Chosen", "自选"),
    "class_names": ("Which classes", "选择类别"),
    "controls": ("Settings", "设置"),
    "seed": ("Seed", "随机种子"),
    "new_seed": ("Draw another seed", "换一个随机种子"),
    "run": ("Run", "运行"),
    "stop": ("Stop", "停止"),
    "input_images": ("Your image", "你的图像"),
    "sound_audio": ("Your recording", "你的录音"),
    "consent": (
        "Use only voices that you may use: your own, or those of people who agreed. Results are marked as synthetic in their files. "
        "WAV, FLAC, OGG or MP3, up to {minutes} minutes.",
        "只使用你有权使用的声音：你自己的，或征得本人同意的。结果文件中会标明为合成语音。"
        "支持 WAV、FLAC、OGG、MP3，最长 {minutes} 分钟。",
    ),
    "examples": ("Examples", "示例"),
    "invert": ("Invert brightness", "反转明暗"),
    "invert_info": (
        "For dark drawings on a bright background, if the model was trained on bright drawings on a dark one.",
        "用于亮底暗图，而模型是用暗底亮图训练的情况。",
    ),
    "invert_auto": ("Automatic", "自动"),
    "invert_yes": ("Yes", "是"),
    "invert_no": ("No", "否"),
    "results": ("Results", "结果"),
    "empty": ("Results appear here. Press Run.", "结果会显示在这里。请点击“运行”。"),
    "seen": ("Model's view", "模型所见"),
    "result": ("Result", "结果"),
    "film": ("The chain of each picture as it moved", "每张图片的链如何移动"),
    "film_some": ("The chains of the first {number} pictures as they moved", "前 {number} 张图片的链如何移动"),
    "film_play": ("Play", "播放"),
    "film_pause": ("Pause", "暂停"),
    "film_step": ("Step", "步"),
    "heard": ("As the model heard it", "模型所听到的"),
    "take": ("Number of the result", "第几个结果"),
    "spectrogram": (
        "Mel spectrogram: low tones below, loud is bright",
        "梅尔频谱图：低音在下，越响越亮",
    ),
    "code_strip": (
        "{number} codes, {rate} a second; equal codes have equal colours",
        "{number} 个编码，每秒 {rate} 个；相同的编码颜色相同",
    ),
    "curve": ("the higher the line, the stranger", "曲线越高越异常"),
    "python": ("The same in Python", "用 Python 重现"),
    "restore": ("Restore from a result", "从结果恢复设置"),
    "restore_info": (
        "Drop a PNG that this app saved. Model, settings, seed and classes are read from it.",
        "拖入由此应用保存的 PNG，从中读取模型、设置、种子与类别。",
    ),
    "preparing": ("Getting ready: loading, or waiting for a turn", "准备中：正在加载或排队"),
    "waits_one": ("1 run before yours", "前面还有 1 个任务"),
    "waits": ("{before} runs before yours", "前面还有 {before} 个任务"),
    "waits_time": ("about {time}", "约 {time}"),
    "shares_one": ("in turn with 1 other run", "与另外 1 个任务轮流计算"),
    "shares": ("in turn with {others} other runs", "与另外 {others} 个任务轮流计算"),
    "together_one": ("in one batch with 1 other run", "与另外 1 个任务同批计算"),
    "together": ("in one batch with {together} other runs", "与另外 {together} 个任务同批计算"),
    "shares_time": ("about {time} left", "约剩 {time}"),
    "running": ("Step {step} of {total}", "第 {step} / {total} 步"),
    "done": ("Done in {seconds} on {device}, {dtype}", "完成，用时 {seconds}（{device}，{dtype}）"),
    "made_seed": ("seed {seed}", "种子 {seed}"),
    "made_seeds": ("seeds #{first} to #{last}", "种子 #{first} 至 #{last}"),
    "changed": (
        "The settings have changed since. Press Run for a new result.",
        "此后设置已更改。点击“运行”可得到新结果。",
    ),
    "history": ("Made in this browser", "此浏览器中的作品"),
    "pin": ("Pin", "置顶"),
    "forget": ("Forget all but the pinned", "清除未置顶的"),
    "download": ("Download", "下载"),
    "send": ("Send to", "发送到"),
    "evaluations": ("network evaluations for each sample: {number}", "每个样本的网络计算次数：{number}"),
    "stopped": ("Stopped.", "已停止。"),
    "failed": ("The app has failed. Its log says why.", "应用出错，原因见应用日志。"),
    "linked": (
        "The settings are those of the link. Add your own material and press Run.",
        "设置已按链接恢复。请添加你的素材后运行。",
    ),
    "link_note": (
        "The address of this page now is a link to this result. It opens with the same model, seed and settings.",
        "当前网址即为此结果的链接，打开后模型、种子与设置相同。",
    ),
    "restored": ("Settings restored from {name}.", "已从 {name} 恢复设置。"),
    "intro_hub": (
        "Try a model from the Hugging Face Hub. The app downloads its weights, but no code.",
        "试用 Hugging Face Hub 上的模型。应用只下载权重，不下载代码。",
    ),
    "hub_address": ("Repository", "仓库"),
    "hub_address_info": (
        "user/name, or user/name@revision with a branch, a tag or a commit",
        "用户/名称，或 用户/名称@版本（分支、标签或提交）",
    ),
    "look": ("Look", "查看"),
    "load": ("Load", "加载"),
    "hub_asking": ("Asking the Hub", "正在询问 Hub"),
    "hub_downloading": ("{done} of {total}", "已下载 {done} / {total}"),
    "hub_loading": ("Reading the weights", "正在读取权重"),
    "hub_can": ("This app can use it. Press Load to download {size}.", "此应用可以使用它。点击“加载”下载 {size}。"),
    "hub_loaded": (
        "{name} is ready, for you only, on these tabs:",
        "{name} 已就绪，仅供你使用，位于以下标签页：",
    ),
    "hub_class": ("Class", "类"),
    "hub_no_family": ("none", "无"),
    "hub_files": ("Files to download", "待下载文件"),
    "license": ("Licence", "许可证"),
    "hub_no_license": ("not stated", "未注明"),
    "revision": ("Revision", "版本"),
    "hub_foreign": (
        "No plugin knows this class. The operator of this app trusts remote code: Load runs the Python files of the "
        "repository on this machine.",
        "没有插件认识此类。应用的运营者选择信任远程代码：点击“加载”将在本机运行仓库中的 Python 文件。",
    ),
    "hub_about": (
        "The app downloads configurations and safetensors files, at most {limit} for a model. It deletes the models that were used "
        "least recently when it needs room. Other visitors do not see what you load. Known classes: {classes}.",
        "应用只下载配置与 safetensors 文件，每个模型最多 {limit}。空间不足时删除最久未用的模型。"
        "其他访客看不到你加载的内容。已知的类：{classes}。",
    ),
    "publish": ("Publish a checkpoint of this app", "发布此应用中的模型"),
    "publish_intro": (
        "For the owner of this Space. The app checks that the checkpoint loads with diffusers alone, then publishes it under your "
        "account.",
        "供此 Space 的所有者使用。应用先验证模型仅用 diffusers 就能加载，再发布到你的账户。",
    ),
    "sign_in": ("Sign in with Hugging Face", "使用 Hugging Face 登录"),
    "publish_name": ("Name of the repository", "仓库名称"),
    "publish_name_info": ("under your account; by default the checkpoint's name", "位于你的账户下；不填则用模型名"),
    "publish_private": ("Private", "私有"),
    "publish_now": ("Publish", "发布"),
    "publishing": ("Exporting, checking and uploading. This takes a few minutes", "正在导出、验证并上传，需要几分钟"),
    "published": ("Published:", "已发布："),
    "home": ("Home", "首页"),
    "families": ("Families", "模型家族"),
    "papers": ("Papers", "论文"),
    "can": ("Tasks", "任务"),
    "checkpoints": ("Checkpoints", "模型"),
    "broken": ("What could not be used", "无法使用的部分"),
    "broken_none": ("Every plugin and checkpoint that was found could be used.", "找到的插件与模型均可使用。"),
    "about": (
        "Every family of models is a plugin: a pipeline whose methods are its tasks, and a short declaration with its title and "
        "papers. A tab lists the models whose pipelines have its method. A result depends on model, settings, input and seed "
        "only, so you can make it again, here or in Python.",
        "每个模型家族都是一个插件：一个流水线，其方法即它能完成的任务；以及一段简短的声明，给出名称与论文。"
        "标签页列出流水线具有相应方法的模型。结果只取决于模型、设置、输入与种子，因此可以在这里或用 Python 重现。",
    ),
}

# What shows one language of a text sent in both. `gr.I18n` picks the entry, also when the visitor changes the language.
LANGUAGE_STYLE = ("<style>.in-zh{display:none!important}</style>", "<style>.in-en{display:none!important}</style>")


class Texts:
    """The texts of one app: those above, those of the tasks (`of`), and those that plugins bring (`add`)."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[str, str]] = {**TEXTS, "language_style": LANGUAGE_STYLE}
        self._tasks: dict[str, TaskTexts] = {}
        self._sent = False

    def __call__(self, key: str) -> I18nData:
        """Return a text for a component's label, info or value."""
        if key not in self._entries:
            raise KeyError(key)
        return I18nData(key)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def add(self, key: str, english: str, chinese: str | None = None) -> I18nData | str:
        """Take in a text that is not in `TEXTS`, such as a control's label.

        Once the browser has its texts, a new one can no longer be translated there, and stays English.
        """
        if self._sent and key not in self._entries:
            return english
        self._entries[key] = (english, chinese or english)
        return I18nData(key)

    def of(self, task: Task) -> TaskTexts:
        """Return the texts as the panels of a task ask for them."""
        if task.name not in self._tasks:
            self._tasks[task.name] = TaskTexts(self, task)
        return self._tasks[task.name]

    def i18n(self) -> gr.I18n:
        """Return the texts for `launch`. Gradio has its own zh-CN and zh-TW, which do not fall back to zh."""
        self._sent = True
        english = {key: en for key, (en, _) in self._entries.items()}
        chinese = {key: zh for key, (_, zh) in self._entries.items()}
        return gr.I18n(**{"en": english, "zh": chinese, "zh-CN": chinese, "zh-TW": chinese})

    def name_pages(self, names: dict[str, str]) -> None:
        """Give the links at the top of the page their Chinese names.

        Gradio translates the names of components only, so the style that shows Chinese writes over the links.

        Args:
            names: the Chinese name of each page by its address; the first page's address is "".
        """
        rules = ""
        for address, name in names.items():
            link = f""".nav-holder nav a{f'[href$="/{address}"]' if address else ":first-child"}"""
            rules += f"{link}{{font-size:0}}"
            rules += f"{link}::after{{content:{json.dumps(name, ensure_ascii=False)};font-size:1rem}}"
        english, chinese = LANGUAGE_STYLE
        self.add("language_style", english, chinese.replace("</style>", rules + "</style>"))

    @staticmethod
    def both(key: str, **values: Any) -> str:
        """Return a text with values as HTML in both languages. Texts of this module may hold markup, values may not."""
        return _fill(TEXTS[key], values)


class TaskTexts:
    """The texts of one task: those of its texts.yaml, and where it has none of a name, the app's.

    Args:
        texts: of the app, which learns the task's texts.
        task: whose folder may hold a texts.yaml. Without one, or without its `tab`, the task is called by its name.
    """

    def __init__(self, texts: Texts, task: Task):
        self._texts, self._name = texts, task.name
        self._own = {"tab": (task.name.replace("_", " ").capitalize(),) * 2, "intro": ("", "")}
        self._own |= {key: (text["en"], text.get("zh", text["en"])) for key, text in task.texts().items()}
        for key, (english, chinese) in self._own.items():
            texts.add(self._key(key), english, chinese)

    def __call__(self, key: str) -> I18nData:
        """Return a text for a component's label, info or value."""
        return self._texts(self._key(key) if key in self._own else key)

    def __contains__(self, key: str) -> bool:
        return key in self._own or key in self._texts

    def add(self, key: str, english: str, chinese: str | None = None) -> I18nData | str:
        """Take in a text that is in no file, such as a control's label."""
        return self._texts.add(key, english, chinese)

    def both(self, key: str, **values: Any) -> str:
        """Return a text with values as HTML in both languages. The texts may hold markup, values may not."""
        return _fill(self._own[key], values) if key in self._own else Texts.both(key, **values)

    def plain(self, key: str, language: str = "en") -> str:
        """Return a text in one language, where HTML and translation by the browser are not to be had."""
        return self._own[key][language == "zh"]

    def _key(self, key: str) -> str:
        return f"task_{self._name}_{key}"


def _fill(pair: tuple[str, str], values: Mapping[str, Any]) -> str:
    safe = {name: html.escape(v) if isinstance(v, str) else v for name, v in values.items()}
    english, chinese = (text.format(**safe) for text in pair)
    return in_both(english, chinese)


def markup(content: str | I18nData, **options: Any) -> gr.HTML:
    """Return HTML styled by the app's own sheet alone."""
    return gr.HTML(content, apply_default_css=False, padding=False, **options)


def in_both(english: str, chinese: str) -> str:
    """Return HTML in both languages, of which the page shows one."""
    return f'<span class="in-en" lang="en">{english}</span><span class="in-zh" lang="zh">{chinese}</span>'


def in_both_of(texts: Mapping[str, str]) -> str:
    """Return a plugin's text by language, as escaped HTML."""
    english = html.escape(texts["en"])
    return in_both(english, html.escape(texts["zh"]) if "zh" in texts else english)


def class_name(name: str) -> str:
    """Return the name of a class as escaped HTML: in both languages if class_names.yaml has it, otherwise as it is."""
    chinese = class_names().get(_plain_name(name))
    return html.escape(name) if chinese is None else in_both(html.escape(name), html.escape(chinese))


@functools.cache
def class_names() -> dict[str, str]:
    """Return the Chinese of names of classes, by the names without spaces and capitals."""
    text = Path(__file__).with_name("class_names.yaml").read_text(encoding="utf-8")
    return {_plain_name(name): chinese for name, chinese in parse_yaml(text).items()}


def _plain_name(name: str) -> str:
    """Return a name without spaces and capitals: copies of one data set differ in these."""
    return "".join(name.split()).casefold()
