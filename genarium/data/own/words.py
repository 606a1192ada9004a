"""What is said of the files that people bring, in English and Chinese."""

from __future__ import annotations

from typing import Any

from genarium.errors import InputError

# key: (English, Chinese)
WORDS = {
    # ---- all that was brought is refused ----
    "nothing": (
        "There is no picture in what was given. Give a .zip of pictures, pictures, or a folder of them.",
        "给出的内容中没有图片。请提供图片的 .zip、图片文件，或图片文件夹。",
    ),
    "too_few": (
        "Only {usable} usable pictures are left; at least {least} are needed.",
        "只剩 {usable} 张可用的图片，至少需要 {least} 张。",
    ),
    "missing": ("There is no file or folder {name}.", "没有文件或文件夹 {name}。"),
    "no_zip": (
        "{name} is no .zip that can be read: it is damaged, or another kind of file. Make it anew.",
        "{name} 不是可读取的 .zip：文件已损坏，或为其他类型。请重新制作。",
    ),
    "archive_kind": (
        "{name} is an archive of a kind that is not taken. Pack the pictures as a .zip.",
        "{name} 是不支持的压缩格式。请把图片打包为 .zip。",
    ),
    "entries": (
        "{name} has more than {most} entries, which is too many. Split it.",
        "{name} 的条目超过 {most} 个，过多。请拆分。",
    ),
    "encrypted": (
        "{name} is locked by a password. Pack it without one.",
        "{name} 设有密码。请不设密码重新打包。",
    ),
    "path": (
        "{name} holds an entry whose path leads out of the archive: {entry}. It is refused as a whole.",
        "{name} 中有条目的路径指向压缩包之外：{entry}。整个文件被拒绝。",
    ),
    "odd_name": (
        "{name} holds an entry whose name no file system takes: {entry}. It is refused as a whole.",
        "{name} 中有条目的名称无效：{entry}。整个文件被拒绝。",
    ),
    "link": (
        "{name} holds a link or a special file: {entry}. Pack the pictures themselves.",
        "{name} 中有链接或特殊文件：{entry}。请打包图片本身。",
    ),
    "twice": (
        "{name} holds two entries of one name: {entry}. Pack it anew.",
        "{name} 中有两个同名条目：{entry}。请重新打包。",
    ),
    "overlap": (
        "{name} holds entries that share their bytes, as archives do that unpack without end. It is refused.",
        "{name} 中的条目共用数据，这是解压炸弹的特征。已拒绝。",
    ),
    "bomb": (
        "{name} would unpack to {ratio} times its size, which no pictures do. It is refused.",
        "{name} 解压后是原大小的 {ratio} 倍，图片不会如此。已拒绝。",
    ),
    "bytes": (
        "{name} holds more than {most} MB of files. Give fewer pictures, or smaller ones.",
        "{name} 中的文件超过 {most} MB。请减少图片，或使用更小的图片。",
    ),
    "nested": (
        "{name} holds another archive: {entry}. Pack the pictures without archives among them.",
        "{name} 中含有另一个压缩包：{entry}。请直接打包图片。",
    ),
    "method": (
        "{name} is packed by a method that is not taken ({entry}). Pack it as an ordinary .zip.",
        "{name} 使用了不支持的压缩方法（{entry}）。请打包为普通 .zip。",
    ),
    "pictures": (
        "More than {most} pictures were given. Give fewer.",
        "图片超过 {most} 张。请减少数量。",
    ),
    "pixels": (
        "The pictures have more than {most} megapixels together. Make them smaller first.",
        "所有图片合计超过 {most} 百万像素。请先缩小。",
    ),
    "classes": (
        "There are {found} folders, each taken for a class; at most {most} classes are taken.",
        "共有 {found} 个文件夹（每个视为一类），最多 {most} 类。",
    ),
    "no_table": (
        "{name} is no Parquet file that can be read: it is damaged, or another kind of file.",
        "{name} 不是可读取的 Parquet 文件：文件已损坏，或为其他类型。",
    ),
    "no_pictures": (
        "{name} has no column of pictures.",
        "{name} 中没有图片列。",
    ),
    # ---- a data set of the Hub ----
    "no_id": (
        "{name} is no id of a data set. Write it as user/name or user/name@revision.",
        "{name} 不是数据集的 ID。请写成 user/name 或 user/name@revision。",
    ),
    "hub_nothing": (
        "{name} holds no pictures that can be read: no Parquet files, no pictures and no .zip. A program that would load them "
        "is not run here.",
        "{name} 中没有可读取的图片：既无 Parquet 文件，也无图片或 .zip。此处不会运行用于加载数据的程序。",
    ),
    "hub_closed": (
        "{name} is not on the Hub, or is private or gated. Only what everybody may read is fetched here.",
        "{name} 不在 Hub 上，或是私有、受限的。此处只下载所有人都可读取的数据集。",
    ),
    "hub_revision": (
        "{name} has no such revision. Name a branch, a tag or a commit that is there, or leave it out.",
        "{name} 没有该版本。请写出存在的分支、标签或提交，或不写版本。",
    ),
    "hub_offline": (
        "The Hub was not asked for {name}, because HF_HUB_OFFLINE is set. Whoever runs this app can unset it.",
        "未向 Hub 查询 {name}，因为设置了 HF_HUB_OFFLINE。运营者可取消该设置。",
    ),
    "hub_unreached": (
        "The Hub cannot be reached, so {name} was not fetched. Try again later.",
        "无法连接 Hub，未下载 {name}。请稍后再试。",
    ),
    "hub_cut": (
        "The connection to the Hub was cut while {name} was fetched. Try again; what is complete is kept.",
        "下载 {name} 时与 Hub 的连接中断。请重试，已完成的文件会保留。",
    ),
    "hub_slow": (
        "The Hub takes too long to answer about {name}, or asks to wait. Try again in a few minutes.",
        "Hub 对 {name} 的响应过慢或要求等待。请几分钟后再试。",
    ),
    "hub_trouble": (
        "{name} could not be fetched: {reason}",
        "无法下载 {name}：{reason}",
    ),
    "hub_large": (
        "Even the smallest file of {name} has {size} MB, more than the {most} MB that are fetched here.",
        "{name} 中最小的文件也有 {size} MB，超过此处允许下载的 {most} MB。",
    ),
    "hub_disk": (
        "The disk has no room for the {size} MB of {name}.",
        "磁盘空间不足，无法存放 {name} 的 {size} MB。",
    ),
    # ---- a file is left out, the others are used ----
    "beyond": (
        "{number} rows more than the {most} pictures that are taken here, which were chosen at random",
        "多出 {number} 行，超过此处采用的 {most} 张；采用的行随机选取",
    ),
    "row_empty": ("the table names the picture but does not hold it", "表中只有图片的名称，没有图片本身"),
    "other_part": (
        "of another part of the data set, such as its test split",
        "属于数据集的其他部分，例如测试集",
    ),
    "not_fetched": ("not fetched: more than the {most} taken here", "未下载：超过此处采用的 {most}"),
    "not_picture": ("no picture, by its ending", "从扩展名看不是图片"),
    "of_system": ("a file of the operating system", "操作系统的文件"),
    "is_archive": ("an archive under the name of a picture", "冒充图片的压缩包"),
    "is_link": ("a link or a special file", "链接或特殊文件"),
    "file_bytes": ("a file of more than {most} MB", "文件超过 {most} MB"),
    "unreadable": ("it cannot be read: {reason}", "无法读取：{reason}"),
    "of_archive": ("damaged inside the .zip", "在 .zip 中已损坏"),
    "of_table": ("damaged inside the table", "在表中已损坏"),
    "tiny": ("only {width} x {height} pixels", "仅 {width} x {height} 像素"),
    "copy": ("the same picture as {other}", "与 {other} 是同一张图片"),
    "copy_elsewhere": (
        "the same picture as {other}, which is in another folder",
        "与另一个文件夹中的 {other} 是同一张图片",
    ),
}

# Reasons that name something, without it: for the number of files of each reason.
BRIEFLY = {
    "file_bytes": ("too large a file", "文件过大"),
    "unreadable": ("unreadable", "无法读取"),
    "tiny": ("too small", "尺寸过小"),
    "beyond": ("rows more than are taken here", "超出此处采用数量的行"),
    "not_fetched": ("not fetched, as too many", "过多，未下载"),
    "copy": ("the same picture again", "重复的图片"),
    "copy_elsewhere": ("the same picture in another folder", "另一文件夹中的同一图片"),
}


def said(key: str, language: str = "en", **values: Any) -> str:
    """Return a sentence, or the reason for which a file is left out."""
    return WORDS[key][language == "zh"].format(**values)


class Refused(InputError):
    """What somebody brought is not used at all.

    Args:
        key: of `WORDS`.
        values: that its text names.
    """

    def __init__(self, key: str, **values: Any):
        super().__init__(said(key, **values))
        self.key, self.values = key, values

    def __reduce__(self) -> Any:
        return _refused, (self.key, self.values)


def _refused(key: str, values: dict[str, Any]) -> Refused:
    return Refused(key, **values)
