"""Hostile inputs as hypothesis draws them: arguments, bodies, files, entries of results, requests of any route."""

from __future__ import annotations

import io
import json
import struct
import zlib
from urllib.parse import urlencode

import numpy as np
import PIL.Image
import soundfile
from hypothesis import strategies as st

from genarium.media import metadata

# ---- values ----

HUGE = {"@huge": "9" * 5000, "@large": "1" + "0" * 400, "@float": "1e999", "@deep": "[" * 900 + "]" * 900}
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.sampled_from(
        ["", "any", "cycle", "class 3", "1,2", "<img src=x onerror=alert(1)>", "../../etc/passwd", "\ud800"]
    ),
    st.builds(
        lambda text, times: text * times, st.sampled_from(["a", "1,", "\ud800", "é"]), st.sampled_from([101, 5000])
    ),
    st.sampled_from(list(HUGE)),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**300, 1e308, -0.0, 2.0]),
    texts,
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
parameter_names = (
    st.sampled_from(["num_inference_steps", "sampler", "eta", "guidance_scale", "temperature", "x"]) | texts
)
parameters = st.one_of(values, st.dictionaries(parameter_names, scalars, max_size=3))
file_data = st.fixed_dictionaries(
    {},
    optional={
        "path": texts | st.sampled_from(["/etc/passwd", "http://127.0.0.1:1/a.png", "", "."]),
        "url": texts,
        "size": scalars,
        "orig_name": texts,
        "mime_type": texts,
        "is_stream": scalars,
        "meta": st.just({"_type": "gradio.FileData"}) | values,
    },
)
files = values | file_data
checkpoints = st.sampled_from(["tiny-vae", "tiny-vae", "tiny-vqgan", "tiny-rbm", "tiny-word-ae", "none"]) | values
codes = st.one_of(
    st.lists(st.lists(st.floats(-3, 3), min_size=8, max_size=8), min_size=1, max_size=3),  # of tiny-vae
    st.lists(st.lists(scalars, max_size=9), max_size=3),
    st.lists(st.sampled_from(["red cat", "", "nobody"]) | texts, max_size=3),
    values,
)
COMPARED = ["generate", "reconstruct", "interpolate", "anomaly"]
others = st.lists(st.sampled_from(["tiny-ddpm", "tiny-vqgan", "tiny-gan", "none"]), max_size=3) | values
columns = st.sampled_from(["seed", "class", "num_inference_steps", "temperature"]) | values
CALLS = {
    "generate": (checkpoints, st.integers(1, 3) | values, values, values, parameters),
    "reconstruct": (checkpoints, files, values, values, parameters),
    "interpolate": (checkpoints, files, files, values, parameters),
    "swap_style": (checkpoints, files, files, values, parameters),
    "anomaly_score": (checkpoints, files, values, values, parameters),
    "encode": (checkpoints, files, values, values, parameters),
    "decode": (checkpoints, codes, values, values, parameters),
    "compare": (
        *(checkpoints, others, st.sampled_from(COMPARED) | values, files, files, columns, values),
        *(st.integers(1, 4) | values, texts | values, values, parameters),
    ),
}
calls = st.sampled_from(list(CALLS)).flatmap(lambda name: st.tuples(st.just(name), st.tuples(*CALLS[name])))


def encoded(body: object) -> bytes:
    """JSON, in which the marks of `HUGE` become what Python itself would not write."""
    text = json.dumps(body)
    for mark, literal in HUGE.items():
        text = text.replace(json.dumps(mark), literal)
    return text.encode()


def address(query: dict[str, str]) -> str:
    """The part of an address after the question mark."""
    return urlencode(query, errors="replace")


# ---- files ----


def picture(form: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 8, 3), np.uint8)
    data = io.BytesIO()
    PIL.Image.fromarray(pixels).save(data, form)
    return data.getvalue()


def sound(form: str, subtype: str) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, np.sin(np.arange(900) / 9), 16_000, format=form, subtype=subtype)
    return data.getvalue()


PIL.Image.init()  # else `SAVE` is empty until something is saved
PICTURES = [
    picture(form) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF") if form in PIL.Image.SAVE
]
SOUNDS = [
    sound("WAV", "PCM_16"),
    sound("FLAC", "PCM_16"),
    sound("OGG", "VORBIS"),
    sound("WAV", "FLOAT"),
    sound("AIFF", "PCM_16"),
]
changes = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=6)


def damaged(whole: bytes, drawn: list[tuple[float, bytes]], keep: float) -> bytes:
    """Bytes overwritten at some places, more often near the beginning, and the end cut off."""
    data = bytearray(whole)
    for place, new in drawn:
        at = round(place**2 * (len(data) - 1))
        data[at : at + len(new)] = new
    return bytes(data[: round(keep * len(data))])


shares = st.just(1.0) | st.floats(0, 1)


# ---- entries of results ----


def with_entry(text: bytes, kind: bytes) -> bytes:
    """A PNG of one pixel with an entry of ours."""
    packed = {b"tEXt": text, b"zTXt": b"\0" + zlib.compress(text), b"iTXt": b"\0\0\0\0" + text}[kind]
    data = metadata.KEY.encode() + b"\0" + packed
    start = picture("PNG")[:33]  # signature and header
    return start + struct.pack(">I", len(data)) + kind + data + b"\0" * 4 + picture("PNG")[33:]


requests = st.fixed_dictionaries(
    {"checkpoint": st.sampled_from(["tiny-ddpm", "none"]) | values, "task": st.just("generate") | values},
    optional={
        "seed": values,
        "batch_size": values,
        "class_labels": values | st.lists(st.integers(0, 9), max_size=70),
        "parameters": parameters,
        "invert": values,
        "others": values,
        "more": values,
    },
)

comparisons = st.fixed_dictionaries(
    {
        "comparison": st.fixed_dictionaries(
            {"checkpoints": others},
            optional={
                "task": st.sampled_from(COMPARED) | values,
                "columns": columns,
                "values": values,
                "number": values,
                "seed": values,
                "class_name": values,
                "parameters": parameters,
                "invert": values,
                "more": values,
            },
        )
        | values
    }
)


# ---- requests of any route, and events of the page ----

GETS = (  # of Gradio's routes; {} stands for what is drawn
    *(
        "config",
        "gradio_api/info",
        "gradio_api/openapi.json",
        "theme.css",
        "manifest.json",
        "robots.txt",
        "pwa_icon/{}",
    ),
    *(
        "gradio_api/file={}",
        "gradio_api/file/{}",
        "file={}",
        "gradio_api/proxy={}",
        "proxy={}",
        "static/{}",
        "assets/{}",
    ),
    *("svelte/{}", "gradio_api/custom_component/{}/{}/{}/{}", "gradio_api/heartbeat/{}", "gradio_api/queue/status"),
    *("gradio_api/queue/data?session_hash={}", "gradio_api/upload_progress?upload_id={}", "gradio_api/call/{}/{}"),
    *("gradio_api/deep_link?session_hash={}", "?deep_link={}", "gradio_api/runs", "gradio_api/run-history/{}"),
    *("gradio_api/stream/{}/{}/1/playlist.m3u8", "gradio_api/stream/{}/{}/1/{}.ts", "monitoring", "monitoring/{}"),
    *(
        "gradio_api/vibe-code",
        "gradio_api/profiling/traces",
        "gradio_api/dev/reload",
        "login/{}",
        "logout",
        "{}",
        "?{}={}",
    ),
    *("gradio_api/user", "gradio_api/token", "gradio_api/app_id", "gradio_api/login_check", "gradio_api/mcp/{}"),
)
POSTS = (
    *("gradio_api/call/{}", "gradio_api/call/v2/{}", "gradio_api/run/{}", "gradio_api/api/{}", "gradio_api/queue/join"),
    *("gradio_api/cancel", "gradio_api/reset", "gradio_api/component_server", "gradio_api/process_recording"),
    *("gradio_api/stream/{}", "gradio_api/stream/{}/close", "gradio_api/vibe-edit", "gradio_api/run-history/connect"),
    *("gradio_api/upload", "login", "{}", "gradio_api/mcp/", "gradio_api/profiling/clear"),
)
KEYS = (
    "data",
    "session_hash",
    "fn_index",
    "event_id",
    "trigger_id",
    "component_id",
    "fn_name",
    "event_data",
    "bucket_id",
)
bodies = st.one_of(
    st.binary(max_size=60),
    values.map(encoded),
    st.dictionaries(st.sampled_from(KEYS), values | st.integers(0, 200), max_size=5).map(encoded),
)
events = st.tuples(
    st.floats(0, 1, exclude_max=True), st.lists(st.tuples(st.floats(0, 1), files | parameters), max_size=3)
)
queries = st.dictionaries(
    st.sampled_from(["checkpoints", "task", "columns", "number", "values", "seed", "parameters", "x"]) | texts,
    texts | st.sampled_from(["tiny-vae,tiny-gan", "generate", "anomaly", "3", "[1, 2]", "[" * 3000, "NaN"]),
    max_size=4,
)


# ---- what the script of the Lab's page says ----

views = st.sampled_from(["samples", "code", "score", "flow"]) | values
sides = st.fixed_dictionaries(
    {},
    optional={
        "family": st.sampled_from(["flow-matching", "vae", "gan", "rbm"]) | values,
        "settings": parameters,
        "view": views,
        "options": parameters,
    },
)
experiments = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from(["moons", "drawn"]) | values,
        "seed": st.integers(0, 9) | values,
        "speed": st.integers(1, 50) | values,
        "sides": st.lists(sides, max_size=3) | values,
        "points": texts | values,
        "lesson": texts | values,
        "step": values,
    },
)
TICKET = "@ticket"  # stands for that of the room that was opened last
sayings = values | st.fixed_dictionaries(
    {
        "what": st.sampled_from(["start", "frames", "look", "step", "speed", "hold", "go", "leave", "points"]) | values,
        "ticket": st.just(TICKET) | values,
    },
    optional={
        "experiment": experiments | values,
        "exhibit": st.just("gradients") | values,
        "held": values,
        "after": st.just(0) | values,
        "state": texts | values,
        "speed": st.integers(1, 50) | values,
        "side": st.just(0) | values,
        "number": values,
        "view": views,
        "options": parameters,
        "show": values,
        "text": texts | st.just("1,2\n3,4\n") | values,
    },
)
