"""What a result's file remembers of how it was made, read from files that anybody may have written.

A reader looks at as little of a file as it can, and each step has a bound: no pixel and no sample is decoded.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, BinaryIO

KEY = "genarium"  # of the entry in a file's metadata
MAX_TEXT = 256 * 1024  # bytes of the entry; a request of 10,000 classes takes 60,000
MAX_CHUNKS = 20_000  # of a PNG; a file of 64 MB has 8,000 when it is written in the usual pieces
PNG = b"\x89PNG\r\n\x1a\n"


def read_png_text(path: str | Path) -> bytes | None:
    """Return the entry of a PNG, or None where it has none.

    The chunks of the file are walked over by their lengths (PNG specification, sections 5.3 and 11.3.3).

    Raises:
        ValueError: the file is no PNG, is damaged, or holds more than `MAX_TEXT` or `MAX_CHUNKS`.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(len(PNG)) != PNG:
            raise ValueError("no PNG")
        for _ in range(MAX_CHUNKS):
            head = file.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(head) < 8 or kind == b"IEND":
                return None
            if kind in (b"tEXt", b"zTXt", b"iTXt") and (text := _entry(file, kind, length)) is not None:
                return text
            file.seek(length + 4, 1)  # the data, and their checksum
    raise ValueError("too many chunks")


def _entry(file: BinaryIO, kind: bytes, length: int) -> bytes | None:
    """Return the text of a chunk if it is ours; otherwise leave the file where the chunk's data begin."""
    name = KEY.encode() + b"\0"
    start = file.tell()
    if file.read(len(name)) != name:
        file.seek(start)
        return None
    if length > MAX_TEXT:
        raise ValueError("too much text")
    data = file.read(length - len(name))
    if kind == b"tEXt":
        return data
    if kind == b"zTXt":
        return _inflated(data[1:])
    packed = data[:1] == b"\1"
    text = data[2:].split(b"\0", 2)[2:]  # after the language and the translated keyword
    if not text:
        raise ValueError("damaged text")
    return _inflated(text[0]) if packed else text[0]


def _inflated(data: bytes) -> bytes:
    """Return decompressed bytes; a few kilobytes can hold gigabytes, so it ends at the bound."""
    try:
        text = zlib.decompressobj().decompress(data, MAX_TEXT + 1)
    except zlib.error as error:
        raise ValueError("damaged text") from error
    if len(text) > MAX_TEXT:
        raise ValueError("too much text")
    return text


def parse_request(text: str | bytes) -> Any:
    """Return the values that an entry holds.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or is longer than `MAX_TEXT`.
    """
    if len(text) > MAX_TEXT:
        raise ValueError("too much text")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
