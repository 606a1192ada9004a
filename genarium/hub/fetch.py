"""From the Hub to this machine: exactly what an offer names, every byte checked.

offer = look("google/ddpm-cifar10-32", discover())
print(offer.class_name, offer.family.title, offer.size)
folder = fetch(offer)
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx2  # huggingface_hub's own HTTP client
from huggingface_hub import constants, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound, OfflineModeIsEnabled

from genarium import trust
from genarium.errors import CheckpointError, HubError, InputError, Stopped
from genarium.families import Families
from genarium.files import check_writable, is_empty
from genarium.hub.download import RemoteFile, download
from genarium.hub.offer import Offer, look, parse_address

MARK = ".genarium-cache"  # a file in a cache that is ours
SPARE = 2**28  # bytes of disk that stay free

Report = Callable[[int, int], None]  # bytes that are here, bytes in all


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

        path = download(offer.repo_id, offer.commit, offer.token, file, cache, came)
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
        offer = look(address, families, trust_remote_code=trust.trusted())
    except HubError as error:
        folder = _fetched_before(*parse_address(address))
        if folder is None or not isinstance(error.__cause__, (OfflineModeIsEnabled, httpx2.TransportError)):
            raise
        return folder
    return fetch(offer)


def own_cache(cache: Path) -> Path:
    """Make a cache in which `make_room` may delete, and mark it as ours.

    Raises:
        InputError: the folder is not empty and not marked, such as huggingface_hub's own cache with models of the user's.
    """
    elsewhere = os.environ.get("GENARIUM_HUB_CACHE")  # otherwise it lies in a folder of our name
    if elsewhere and not is_empty(cache) and not (cache / MARK).exists():
        raise InputError(
            f"GENARIUM_HUB_CACHE: {cache} is not empty and not a cache of this app, which deletes what is least used in it. Name an "
            "empty or a new folder."
        )
    check_writable(cache)
    (cache / MARK).touch()
    return cache


def make_room(cache: Path, size: int, budget: int, keep: set[str]) -> None:
    """Delete the least recently used snapshots in a cache of ours until `size` more bytes fit into the budget.

    Args:
        cache: made by `own_cache`; in another nothing is deleted.
        keep: commits that are in use.
    """
    if not (cache / MARK).exists():
        return
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


def _check_space(offer: Offer, cache: Path | None) -> None:
    """Check that the disk has room for the files that are not in the cache yet.

    Raises:
        HubError: it has not.
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
    """Return the newest snapshot of an earlier download that has weights."""
    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return None
    found = [r for repo in repos if (repo.repo_id, repo.repo_type) == (repo_id, "model") for r in repo.revisions]
    found = [r for r in found if revision is None or revision == r.commit_hash or revision in r.refs]
    found = [r for r in found if any(file.file_name.endswith(".safetensors") for file in r.files)]
    return max(found, key=lambda r: r.last_modified).snapshot_path if found else None
