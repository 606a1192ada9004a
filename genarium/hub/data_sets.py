"""Data sets of the Hub as pictures of somebody's own: what a repository holds, and the part of it that is fetched.

    offer = look("user/name", Limits(), token=False)
    fetch(offer, Path("pictures"))

Only files of pictures are fetched: Parquet tables, or pictures, or archives of them. Code of a data set is neither fetched nor run, and an
address that a table names is never asked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2  # huggingface_hub's own HTTP client
import numpy as np
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from genarium.data.own.entries import MIB, TABLE, Limits, shown
from genarium.data.own.found import LEAST, LeftOut
from genarium.data.own.sources import training_part
from genarium.data.own.words import Refused
from genarium.errors import HubError, InputError
from genarium.files import remove_tree
from genarium.hub.download import RemoteFile, download, visitor_errors
from genarium.hub.offer import AtCommit, license_of, matching, parse_address, remote_file
from genarium.media.decoding import PICTURES

MOST_FILES = 1000  # to fetch; each costs two requests, however small it is
SPARE = 2**30  # bytes of disk that stay free
KIND = "dataset"
KEYS: dict[tuple[type[BaseException], ...], str] = {
    (RevisionNotFoundError,): "hub_revision",
    (RepositoryNotFoundError,): "hub_closed",  # of which GatedRepoError is a kind
    (OfflineModeIsEnabled,): "hub_offline",
    (httpx2.ConnectError,): "hub_unreached",
    (httpx2.TimeoutException,): "hub_slow",
    (httpx2.TransportError, ConnectionError): "hub_cut",
}


@dataclass(frozen=True)
class DataSetOffer(AtCommit):
    """A data set at one commit, and what would be fetched of it.

    Args:
        repo_id, commit: of the data set.
        license: as its card says.
        files: to fetch.
        left_out: the other files of pictures.
        token: with which the Hub was asked.
    """

    repo_id: str
    commit: str
    license: str
    files: tuple[RemoteFile, ...]
    left_out: tuple[LeftOut, ...]
    token: str | bool | None


def parse_id(address: str) -> tuple[str, str | None]:
    """Return repository id and revision (or None) of a data set's address.

    Raises:
        Refused: it is none.
    """
    text = address.strip()
    for host in ("https://huggingface.co/", "huggingface.co/", "https://hf.co/", "hf.co/"):
        text = text.replace(f"{host}datasets/", host, 1) if text.startswith(host) else text
    try:
        return parse_address(text.removeprefix("datasets/"))
    except InputError as error:
        raise Refused("no_id", name=shown(address.strip())[:100] or "–") from error


def look(address: str, limits: Limits, token: str | bool | None = None) -> DataSetOffer:
    """Ask the Hub what a data set holds. Nothing is downloaded.

    Args:
        address: "user/name" or "user/name@revision".
        limits: how much may be brought.
        token: None is this machine's own; False is none, as for a visitor.

    Raises:
        Refused: no address, no pictures in it, or even its smallest file is too large; without a token also the following.
        HubError: missing, private or gated, or the Hub cannot be asked.
    """
    repo_id, revision = parse_id(address)
    with _words_for(repo_id, token), visitor_errors(repo_id, token):
        info = HfApi().dataset_info(repo_id, revision=revision, files_metadata=True, token=token)
        files = {sibling.rfilename: remote_file(sibling) for sibling in info.siblings or ()}
        commit, license = matching(r"[0-9a-f]{40,64}", info.sha or ""), license_of(info)
    chosen, left_out = choose(repo_id, files, limits)
    return DataSetOffer(repo_id, commit, license, tuple(chosen), tuple(left_out), token)


@contextlib.contextmanager
def _words_for(repo_id: str, token: str | bool | None) -> Iterator[None]:
    """Say what goes wrong in both languages where the Hub is asked for a visitor, without a token.

    Raises:
        Refused: in place of a HubError.
    """
    try:
        yield
    except HubError as error:
        if token is not False:
            raise
        raise Refused(_key_of(error), name=repo_id, reason=str(error)) from error


def _key_of(error: HubError) -> str:
    """Return the key of `words.WORDS` for what went wrong, by the first error in the chain that has one."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, HfHubHTTPError) and link.response.status_code == 429:
            return "hub_slow"
        for kinds, key in KEYS.items():
            if isinstance(link, kinds):
                return key
        link = link.__cause__ or link.__context__
    return "hub_trouble"


def choose(repo_id: str, files: dict[str, RemoteFile], limits: Limits) -> tuple[list[RemoteFile], list[LeftOut]]:
    """Return the files to fetch in order of their paths, and the files of pictures that are left out.

    Raises:
        Refused: there are none, or even the smallest is too large.
    """
    tables = [path for path in files if path.endswith(TABLE)]
    pictures = [path for path in files if Path(path).suffix.lower() in PICTURES]
    archives = [path for path in files if path.lower().endswith(".zip")]
    known = tables or (pictures if len(pictures) >= LEAST else []) or archives
    if not known:
        raise Refused("hub_nothing", name=repo_id)
    part = training_part(sorted(known), by_folder=known is tables)
    most = min(limits.pictures, MOST_FILES)
    taken = _within([files[path] for path in part], limits.bytes, most)
    if not taken:
        size = min(files[path].size for path in part)
        raise Refused("hub_large", name=repo_id, size=-(-size // MIB), most=limits.bytes // MIB)
    paths, used = {file.path for file in taken}, set(part)
    left = [
        LeftOut(shown(path), "not_fetched", {"most": f"{limits.bytes // MIB} MB / {most}"})
        if path in used
        else LeftOut(shown(path), "other_part")
        for path in sorted(known)
        if path not in paths
    ]
    return sorted(taken, key=lambda file: file.path), left


def _within(files: Sequence[RemoteFile], size: int, number: int) -> list[RemoteFile]:
    """Return as many files as fit, chosen at random by a fixed seed, so that each class has its share."""
    taken: list[RemoteFile] = []
    total = 0
    for i in np.random.default_rng(0).permutation(len(files)):
        if len(taken) < number and total + files[i].size <= size:
            taken.append(files[i])
            total += files[i].size
    return taken


def fetch(
    offer: DataSetOffer, folder: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[str, Path]]:
    """Download what an offer names into a folder, every byte checked. What is there already is not fetched again.

    Args:
        offer: of the data set.
        folder: of the files, and of nothing else. Files of other commits in it are deleted.
        report: called with (bytes that are here, bytes in all).

    Returns:
        The name and the path of each file, as `look_through` takes them.

    Raises:
        Refused: the disk has no room; without a token also the following.
        HubError: the connection was cut, the disk is full, a file arrived damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = offer.commit[:16]
    targets = [
        folder / f"{mark}-{number:06d}{Path(file.path).suffix.lower()}" for number, file in enumerate(offer.files)
    ]
    for path in folder.iterdir():
        if path.is_file() and path not in targets:
            path.unlink()
    here = [path.is_file() and path.stat().st_size == file.size for path, file in zip(targets, offer.files)]
    missing = sum(file.size for file, is_here in zip(offer.files, here) if not is_here)
    if missing and shutil.disk_usage(folder).free < missing + SPARE:
        raise Refused("hub_disk", name=offer.repo_id, size=missing // MIB)
    cache, done = folder / "coming", 0
    for file, target, is_here in zip(offer.files, targets, here):
        if not is_here:

            def came(size: int, done: int = done, file: RemoteFile = file) -> None:
                report(done + min(size, file.size), offer.size)

            with _words_for(offer.repo_id, offer.token):
                path = Path(download(offer.repo_id, offer.commit, offer.token, file, cache, came, KIND))
            os.replace(path.resolve(), target)
        done += file.size
        report(done, offer.size)
    remove_tree(cache)
    return [(shown(file.path), path) for file, path in zip(offer.files, targets)]
