"""From the Hub to this machine: what a repository holds, told before anything heavy is fetched; then exactly that.

    offer = look("google/ddpm-cifar10-32", discover())
    print(offer.class_name, offer.family.title, offer.size)
    folder = fetch(offer)

Of a repository only what the loader reads is fetched: configurations, safetensors, the card with its pictures. No code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2  # huggingface_hub's own HTTP client
from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_download, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound, GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from tqdm import tqdm

from genarium import foreign
from genarium.errors import CheckpointError, HubError, InputError, Stopped
from genarium.families import Families, Family, class_of
from genarium.hub.errors import hub_errors

MAX_DOWNLOAD_GB = 1.0  # of one checkpoint; GENARIUM_MAX_DOWNLOAD_GB sets another limit
MAX_TEXT = 2 * 10**6  # bytes of a configuration or a card; the longest here have a tenth of it
MAX_PICTURES = 8  # of a card
SPARE = 2**28  # bytes of disk that stay free

MODEL_INDEX = "model_index.json"
MODEL_CONFIG = "config.json"
WEIGHTS = re.compile(r"diffusion_pytorch_model(-\d{5}-of-\d{5})?\.safetensors")
SHARDS = "diffusion_pytorch_model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

Report = Callable[[int, int], None]  # bytes that are here, bytes in all


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository. `sha256` of large files, `git_hash` of all others: what the bytes must add up to."""

    path: str
    size: int
    sha256: str | None
    git_hash: str | None


@dataclass(frozen=True)
class Offer:
    """What a repository holds at one commit, and what of it would be fetched.

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

    @property
    def name(self) -> str:
        """The checkpoint's name here, which means the same for ever."""
        return f"{self.repo_id}@{self.commit}"

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files)


def parse_address(address: str) -> tuple[str, str | None]:
    """ "user/name", "user/name@revision" or the address of its page -> (repo id, revision or None).

    Raises:
        InputError: none of these.
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
    """Bytes that one download may have.

    Raises:
        InputError: GENARIUM_MAX_DOWNLOAD_GB is no number.
    """
    value = os.environ.get("GENARIUM_MAX_DOWNLOAD_GB") or MAX_DOWNLOAD_GB
    try:
        return int(float(value) * 10**9)
    except ValueError:
        raise InputError(f"GENARIUM_MAX_DOWNLOAD_GB: takes a number such as 2.5, not {value!r}.") from None


def look(
    address: str,
    families: Families,
    token: str | bool | None = None,
    cache: Path | None = None,
    trust_remote_code: bool = False,
) -> Offer:
    """Ask the Hub what is at an address. Fetches a few kilobytes: the model_index.json, or of a single model the config.json.

    Args:
        address: "user/name" or "user/name@revision".
        families: one of them may take it.
        token: None is this machine's own; False is none, as for a visitor, who shall see no more than everybody.
        cache: folder to fetch into; huggingface_hub's own unless told.
        trust_remote_code: a class that no family knows is no problem; its code is among the files to fetch.

    Raises:
        InputError: no address.
        HubError: missing, private or gated, or the Hub cannot be asked.
    """
    repo_id, revision = parse_address(address)
    with _telling(repo_id, token):
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True, token=token)
    files = {
        s.rfilename: RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None, None if s.lfs else s.blob_id)
        for s in info.siblings or ()
    }
    common = {
        "repo_id": repo_id,
        "revision": revision,
        "commit": info.sha,
        "license": _license(info),
        "token": token,
    }
    offer = Offer(**common, class_name="", family=None, files=())
    alone = MODEL_INDEX not in files  # a single model, with no pipeline around it
    told = MODEL_CONFIG if alone else MODEL_INDEX
    if told not in files:
        return replace(offer, problem=_no_pipeline(repo_id, families))
    try:
        index = _read_json(offer, files[told], cache)
        class_name = class_of(index)
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
    if alone:
        index = family.index_of_model(class_name)
    trusted = family is None and trust_remote_code
    chosen, problem = _choose(repo_id, index, files, everything=trusted)
    if family is None and not trusted:
        problem = (
            f"{repo_id}: no installed plugin knows the pipeline class {class_name!r}, and code from the Hub is not run "
            f"here. Known: {families.known_classes()}."
        )
    offer = Offer(**common, class_name=class_name, family=family, files=tuple(chosen), problem=problem)
    if not problem and offer.size > max_download():
        problem = (
            f"{repo_id} has {offer.size / 1e9:.2f} GB to fetch, more than the {max_download() / 1e9:g} GB allowed here. "
            "Whoever runs this can set GENARIUM_MAX_DOWNLOAD_GB."
        )
        return replace(offer, problem=problem)
    return offer


def fetch(
    offer: Offer,
    report: Report | None = None,
    stop: threading.Event | None = None,
    cache: Path | None = None,
) -> Path:
    """Download what an offer names, or take it from the cache; check every byte.

    Args:
        report: called with (bytes that are here, bytes in all) as they come.
        stop: set it to stop at the next piece; what is complete stays for the next time.
        cache: as for `look`.

    Returns:
        The folder of the snapshot.

    Raises:
        CheckpointError: the offer has a problem.
        HubError: the connection was cut, the disk is full, a file arrived damaged. Nothing half-fetched is kept.
        Stopped: `stop` was set.
    """
    if offer.problem:
        raise CheckpointError(offer.problem)
    _check_space(offer, cache)
    done = 0
    for file in offer.files:
        if stop is not None and stop.is_set():
            raise Stopped("Stopped.")

        def came(size: int, done: int = done, file: RemoteFile = file) -> None:
            if stop is not None and stop.is_set():
                raise Stopped("Stopped.")
            if report is not None:
                report(done + min(size, file.size), offer.size)

        path = _download(offer, file, cache, came)
        done += file.size
        came(0, done)
    return Path(path).parents[len(Path(file.path).parts) - 1]


def fetch_address(address: str, families: Families) -> Path:
    """Look and fetch with this machine's own token; without a connection, what was fetched before is good enough.

    Returns:
        The folder of the snapshot.

    Raises:
        CheckpointError, HubError, InputError: as `look` and `fetch`.
    """
    try:
        offer = look(address, families, trust_remote_code=foreign.trusted())
    except HubError as error:
        folder = _fetched_before(*parse_address(address))
        if folder is None or not isinstance(error.__cause__, (OfflineModeIsEnabled, httpx2.TransportError)):
            raise
        return folder
    return fetch(offer)


def make_room(cache: Path, size: int, budget: int, keep: set[str]) -> None:
    """Delete the least recently used snapshots in a cache of ours until `size` more bytes fit into the budget.

    Args:
        keep: commits that are in use.
    """
    try:
        revisions = [(repo, revision) for repo in scan_cache_dir(cache).repos for revision in repo.revisions]
    except CacheNotFound:  # nothing was fetched yet
        return
    total = sum(revision.size_on_disk for _, revision in revisions)
    for _, revision in sorted(revisions, key=lambda pair: pair[0].last_accessed):
        if total + size <= budget:
            return
        if revision.commit_hash not in keep:
            scan_cache_dir(cache).delete_revisions(revision.commit_hash).execute()
            total -= revision.size_on_disk


# ---- what is there ----


def _license(info: ModelInfo) -> str:
    value = info.card_data.get("license") if info.card_data else None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _read_json(offer: Offer, file: RemoteFile, cache: Path | None) -> Any:
    """
    Raises:
        ValueError: too long, or no JSON.
        HubError: cannot be had.
    """
    if file.size > MAX_TEXT:
        raise ValueError(f"{file.path} has {file.size} bytes")
    return json.loads(Path(_download(offer, file, cache)).read_text(encoding="utf-8"))


def _no_pipeline(repo_id: str, families: Families) -> str:
    """That a repository with neither a pipeline nor a model of diffusers is of no use here."""
    return f"{repo_id} has no {MODEL_INDEX}: it is no diffusers pipeline. Known: {families.known_classes()}."


def _choose(
    repo_id: str, index: Mapping[str, Any], files: Mapping[str, RemoteFile], everything: bool
) -> tuple[list[RemoteFile], str]:
    """The files that the loader will read, and what is wrong with them.

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
    for component, value in index.items():
        if component.startswith("_") or not isinstance(value, list) or [type(v) for v in value] != [str, str]:
            continue
        inside = {p.removeprefix(f"{component}/"): f for p, f in files.items() if p.startswith(f"{component}/")}
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


# ---- one file ----


@contextlib.contextmanager
def _telling(repo_id: str, token: str | bool | None) -> Iterator[None]:
    """`hub_errors`, in words for a visitor where the Hub is asked without a token."""
    with hub_errors(repo_id):
        try:
            yield
        except RepositoryNotFoundError as error:  # of which GatedRepoError is a kind
            if token is not False:
                raise
            state = "is gated" if isinstance(error, GatedRepoError) else "is not on the Hub, or is private"
            raise HubError(
                f"{repo_id} {state}. Visitors of this app get what everybody gets; whoever runs it can give it a token that "
                "may read more, as GENARIUM_HUB_TOKEN."
            ) from error


def _download(offer: Offer, file: RemoteFile, cache: Path | None, came: Callable[[int], None] | None = None) -> str:
    """A file in the cache, whole and with the Hub's own checksum -> its path."""

    class Meter(tqdm):
        """Counts bytes and shows nothing."""

        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "disable": True})
            self.size = 0

        def update(self, n=1):
            self.size += n
            if came is not None:
                came(self.size)

    with _telling(offer.repo_id, offer.token):
        path = hf_hub_download(
            offer.repo_id,
            file.path,
            revision=offer.commit,
            cache_dir=cache,
            token=offer.token,
            tqdm_class=Meter,
        )
        if not _is_whole(Path(path), file):
            for damaged in (Path(path).resolve(), Path(path)):
                damaged.unlink(missing_ok=True)
            raise HubError(f"{offer.repo_id}: {file.path} arrived damaged and was thrown away. Try again.")
    return path


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    with path.open("rb") as stream:
        if file.sha256:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
        start = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        return not file.git_hash or hashlib.file_digest(stream, lambda: start).hexdigest() == file.git_hash


def _check_space(offer: Offer, cache: Path | None) -> None:
    """
    Raises:
        HubError: less room on the disk than what is not here yet needs.
    """
    place = Path(cache or constants.HF_HUB_CACHE).absolute()
    while not place.exists():
        place = place.parent
    here = partial(try_to_load_from_cache, offer.repo_id, cache_dir=cache, revision=offer.commit)
    missing = sum(file.size for file in offer.files if not isinstance(here(file.path), str))
    free = shutil.disk_usage(place).free
    if missing and free < missing + SPARE:
        raise HubError(
            f"{offer.repo_id} has {missing / 1e6:.0f} MB to fetch, and the disk of {place} has {free / 1e6:.0f} MB left. "
            "Make room, or point HF_HOME to another disk."
        )


def _fetched_before(repo_id: str, revision: str | None) -> Path | None:
    """The newest snapshot of an earlier download that has weights."""
    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return None
    found = [r for repo in repos if (repo.repo_id, repo.repo_type) == (repo_id, "model") for r in repo.revisions]
    found = [r for r in found if revision is None or revision == r.commit_hash or revision in r.refs]
    found = [r for r in found if any(file.file_name.endswith(".safetensors") for file in r.files)]
    return max(found, key=lambda r: r.last_modified).snapshot_path if found else None
