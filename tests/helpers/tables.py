"""Parquet files of pictures, as the Hub's library writes them."""

import io
import json

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq


def drawing(seed: int, size: int = 28) -> bytes:
    """The bytes of a PNG of a bar among noise, unlike that of any other seed."""
    values = np.random.default_rng(seed).integers(0, 20, (size, size)).astype(np.uint8)
    values[:, 3 + seed % 20 : 8 + seed % 20] = 200
    file = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(values if seed % 2 else values.T)).save(file, "PNG")
    return file.getvalue()


def parquet(
    pictures: list[bytes | None],
    labels: list | None = None,
    names: tuple[str, ...] = (),
    image: str = "image",
    **options,
) -> bytes:
    """A table with a struct of bytes and path for each picture, and perhaps labels that `names` name."""
    columns = {image: pa.array([{"bytes": one, "path": f"{i}.png"} for i, one in enumerate(pictures)])}
    features: dict = {image: {"_type": "Image"}}
    if labels is not None:
        columns["label"] = pa.array(labels)
        features["label"] = {"names": list(names), "_type": "ClassLabel"} if names else {"_type": "Value"}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()
