"""What a Hub repository holds, known before anything heavy is fetched: its class, its size, its licence, what is wrong.

Of a repository only what the loader reads is chosen: configurations, safetensors, the card with its pictures. No code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetInfo, HfApi, ModelInfo
from huggingface_hub.utils import validate_repo_id

from genarium.environment import gigabytes
from genarium.errors import InputError
from genarium.families import Families, Family, class_of
from genarium.files import read_json
from genarium.hub.download import RemoteFile, download, visitor_errors

MAX_DOWNLOAD_GB = 1.0  # of one checkpoint; GENARIUM_MAX_DOWNLOAD_GB sets another limit
MAX_TEXT = 2 * 10**6  # bytes of a configuration or a card; the longest here have a tenth of it
MAX_PICTURES = 8  # of a card
MAX_FILES = 256  # to fetch for one checkpoint; each costs a request, however small it is

MODEL_INDEX = "model_index.json"
MODEL_CONFIG = "config.json"
WEIGHTS = re.compile(r"diffusion_pytorch_model(-\d{5}-of-\d{5})?\.safetensors")
SHARDS = "diffusion_pytorch_model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class AtCommit:
    """What a repository holds at one commit: a base class of offers."""

    repo_id: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def name(self) -> str:
        """The name here of what the repository holds, which means the same for ever."""
        return f"{self.repo_id}@{self.commit}"

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Offer(AtCommit):
    """The content of a repository at one commit, and the part of it that would be fetched.

    `problem` says in a sentence why it cannot be used; it is empty where it can. `family` is the one that takes it, None
    where none does. `revision` is what was asked for, `commit` what that means today.
    """

    repo_id: str
    revision: str | None
    commit: str
    class_name: str
    family: Family | None
    files: tuple[RemoteFile, ...]
    license: str = ""
    problem: str = ""
    token: str | bool | None = None


def parse_address(address: str) -> tuple[str, str | None]:
    """Return repository id and revision (or None) of "user/name", "user/name@revision" or the address of a page.

    Raises:
        InputError: the text is none of these.
    """
    text = address.strip()
    page = re.fullmatch(
        r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(.+?)(?:/(?:tree|blob|commit)/([^/]+).*)?/?", text
    )
    repo_id, _, revision = text.partition("@")
    if page:
        repo_id, revision = page.group(1), page.group(2) or ""
    try:
        validate_repo_id(repo_id)
    except ValueError:  # of which huggingface_hub's own error is a kind
        repo_id = ""
    if (
        repo_id.count("/") != 1
        or ("@" in text and not page and not revision)
        or not re.fullmatch(r"[\w./-]*", revision)
    ):
        raise InputError(
            f"{address.strip()[:100]!r} is no Hub id: write it as user/name or user/name@revision, where the revision is a "
            "branch, a tag or a commit."
        )
    return repo_id, revision or None


def max_download() -> int:
    """Return the bytes that one download may have.

    Raises:
        InputError: GENARIUM_MAX_DOWNLOAD_GB is no number.
    """
    value = os.environ.get("GENARIUM_MAX_DOWNLOAD_GB") or MAX_DOWNLOAD_GB
    return round(gigabytes("GENARIUM_MAX_DOWNLOAD_GB", value) * 10**9)


def look(
    address: str,
    families: Families,
    token: str | bool | None = None,
    cache: Path | None = None,
    trust_remote_code: bool = False,
) -> Offer:
    """Ask the Hub what is at an address. Only model_index.json, or config.json of a single model, is downloaded.

    Args:
        address: "user/name" or "user/name@revision".
        families: one of them may take it.
        token: None is this machine's own; False is none, as for a visitor, who shall see no more than everybody.
        cache: folder to fetch into; by default huggingface_hub's own.
        trust_remote_code: a class that no family knows is no problem; its code is among the files to fetch.

    Raises:
        InputError: no address.
        HubError: missing, private or gated, or the Hub cannot be asked.
    """
    repo_id, revision = parse_address(address)
    with visitor_errors(repo_id, token):
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True, token=token)
        files = {sibling.rfilename: remote_file(sibling) for sibling in info.siblings or ()}
        commit = matching(r"[0-9a-f]{40,64}", info.sha or "")
        license = license_of(info)
    common: dict[str, Any] = {
        "repo_id": repo_id,
        "revision": revision,
        "commit": commit,
        "license": license,
        "token": token,
    }
    offer = Offer(**common, class_name="", family=None, files=())
    alone = MODEL_INDEX not in files  # a single model, with no pipeline around it
    described_in = MODEL_CONFIG if alone else MODEL_INDEX
    if described_in not in files:
        return replace(offer, problem=_no_pipeline(repo_id, families))
    try:
        index = _read_json(offer, files[described_in], cache)
        class_name = class_of(index)[:100]
    except (ValueError, KeyError, TypeError, IndexError):
        unread = f"{repo_id}: its {MODEL_INDEX} cannot be read; this is no diffusers pipeline."
        return replace(offer, problem=_no_pipeline(repo_id, families) if alone else unread)
    family = families.taking_model(class_name) if alone else families.taking(class_name)
    if alone and family is None:
        problem = (
            f"{repo_id} is a single model of the class {class_name!r}, not a whole pipeline, and no installed plugin takes "
            f"it alone. Known: {families.known_classes()}."
        )
        return replace(offer, class_name=class_name, problem=problem)
    if alone and family is not None:
        index = family.index_of_model(class_name)
    trusted = family is None and trust_remote_code
    chosen, problem = _choose(repo_id, index, files, everything=trusted)
    if family is None and not trusted:
        problem = (
            f"{repo_id}: no installed plugin knows the pipeline class {class_name!r}, and code from the Hub is not run "
            f"here. Known: {families.known_classes()}."
        )
    offer = Offer(**common, class_name=class_name, family=family, files=tuple(chosen), problem=problem)
    if not problem and len(chosen) > MAX_FILES:
        problem = f"{repo_id} has {len(chosen)} files to fetch, more than the {MAX_FILES} allowed here."
        return replace(offer, files=(), problem=problem)
    if not problem and offer.size > max_download():
        problem = (
            f"{repo_id} has {offer.size / 1e9:.2f} GB to fetch, more than the {max_download() / 1e9:g} GB allowed here. "
            "Whoever runs this can set GENARIUM_MAX_DOWNLOAD_GB."
        )
        return replace(offer, problem=problem)
    return offer


def remote_file(sibling: Any) -> RemoteFile:
    """Return one file as the Hub describes it.

    Raises:
        TypeError, ValueError, AttributeError: the description is of another form, or the path leads elsewhere.
    """
    path, size, lfs = sibling.rfilename, sibling.size or 0, sibling.lfs
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"size {size!r}")
    if path.startswith("/") or ".." in path.split("/") or "\\" in path or "\0" in path:
        raise ValueError(f"path {path!r}")
    if lfs:
        return RemoteFile(path, size, matching(r"[0-9a-f]{64}", lfs.sha256), None)
    return RemoteFile(path, size, None, sibling.blob_id and matching(r"[0-9a-f]{40,64}", sibling.blob_id))


def matching(pattern: str, text: str) -> str:
    """Return a text that has a form.

    Raises:
        TypeError, ValueError: it has another.
    """
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{text[:100]!r} is not {pattern}")
    return text


def license_of(info: ModelInfo | DatasetInfo) -> str:
    value = info.card_data.get("license") if info.card_data else None
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value or ""))[:100]


def _read_json(offer: Offer, file: RemoteFile, cache: Path | None) -> Any:
    """Download and read a file of JSON.

    Raises:
        ValueError: it is too long, or no JSON.
        HubError: the Hub does not give it.
    """
    if file.size > MAX_TEXT:
        raise ValueError(f"{file.path} has {file.size} bytes")
    return read_json(download(offer.repo_id, offer.commit, offer.token, file, cache))


def _no_pipeline(repo_id: str, families: Families) -> str:
    """Return the message about a repository that holds neither a pipeline nor a model of diffusers."""
    return f"{repo_id} has no {MODEL_INDEX}: it is no diffusers pipeline. Known: {families.known_classes()}."


def _choose(
    repo_id: str, index: Mapping[str, Any], files: Mapping[str, RemoteFile], everything: bool
) -> tuple[list[RemoteFile], str]:
    """Return the files that the loader will read, and what is wrong with them.

    Args:
        everything: with the code and whatever texts lie beside the weights, for a class that is not installed.
    """
    texts = (MODEL_INDEX, "README.md", "evaluation.json")
    chosen = [files[name] for name in texts if name in files and files[name].size <= MAX_TEXT]
    beside = {p: f for p, f in files.items() if "/" not in p}
    root = {
        p: f
        for p, f in beside.items()
        if p in (MODEL_CONFIG, "scheduler_config.json", SHARDS) or p.endswith((".safetensors", *PICKLED))
    }
    pictures = [f for p, f in beside.items() if p.endswith(".png") and f.size <= MAX_TEXT]
    chosen += pictures[:MAX_PICTURES]
    if everything:
        chosen += [f for p, f in beside.items() if p.endswith(".py")]
    folders: dict[str, dict[str, RemoteFile]] = {}
    for path, file in files.items():
        folder, _, name = path.partition("/")
        folders.setdefault(folder, {})[name] = file
    for component, value in index.items():
        if component.startswith("_") or not isinstance(value, list) or [type(v) for v in value] != [str, str]:
            continue
        if len(chosen) > MAX_FILES:
            break
        inside = {name: file for name, file in folders.get(component, {}).items() if name}
        inside = inside or root  # a single model; or of the time before folders, as google/ddpm-cifar10-32
        weights = [name for name in inside if name.endswith(".safetensors") and (everything or WEIGHTS.fullmatch(name))]
        if everything:
            weights = [name for name in weights if name.count(".") == 1]  # no model.fp16.safetensors
        if SHARDS in inside:  # diffusers reads the parts then, whatever else lies there
            weights = [name for name in weights if "-of-" in name]
        endings = (".json", ".txt", ".model", ".py") if everything else (".json",)
        for name, file in inside.items():
            plain = "/" not in name and name.endswith(endings) and (name == SHARDS or ".safetensors.index." not in name)
            if name in weights or (plain and (file.size <= MAX_TEXT or everything)):
                chosen.append(file)
        if MODEL_CONFIG in inside and not weights and not everything:
            return chosen, _no_weights(repo_id, component, list(inside))
    return list(dict.fromkeys(chosen)), ""


def _no_weights(repo_id: str, component: str, names: list[str]) -> str:
    variants = sorted({n.split(".")[1] for n in names if n.endswith(".safetensors") and n.count(".") == 2})
    if variants:
        return (
            f"{repo_id}: {component} has weights of the variant {', '.join(variants)} only; the plain ones are needed."
        )
    if any(n.endswith(PICKLED) for n in names):
        return (
            f"{repo_id}: the weights of {component} are pickled ({', '.join(n for n in names if n.endswith(PICKLED))}). "
            "Unpickling can run any program, so only safetensors are loaded. Ask its author for these; "
            "https://huggingface.co/spaces/safetensors/convert makes them."
        )
    return f"{repo_id}: there are no weights of {component}."
