"""One file from the Hub: into the cache, whole, with the Hub's own checksum; and errors in words for a visitor."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2  # huggingface_hub's own HTTP client
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import FileMetadataError, GatedRepoError, RepositoryNotFoundError
from tqdm import tqdm

from genarium.errors import HubError
from genarium.hub.answers import bound_answers
from genarium.hub.errors import explain, hub_errors

# What reading an answer of another form raises. None of these is a fault of the network or of the disk.
ANSWER_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    *(FileMetadataError, httpx2.HTTPError, httpx2.InvalidURL),
)


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository. `sha256` of large files, `git_hash` of all others: what the bytes must add up to."""

    path: str
    size: int
    sha256: str | None
    git_hash: str | None


@contextlib.contextmanager
def visitor_errors(repo_id: str, token: str | bool | None) -> Iterator[None]:
    """Turn errors into `HubError`, as `hub_errors` does, with words for a visitor if the Hub is asked without a token.

    Raises:
        HubError: the Hub refuses, or its answer has another form than huggingface_hub expects.
    """
    bound_answers()
    with hub_errors(repo_id):
        try:
            yield
        except RepositoryNotFoundError as error:  # of which GatedRepoError is a kind
            if token is not False:
                raise
            state = "is gated" if isinstance(error, GatedRepoError) else "is not on the Hub, or is private"
            raise HubError(
                f"{repo_id} {state}. Visitors can load public repositories only. Whoever runs this app can set "
                "GENARIUM_HUB_TOKEN to a token that may read more."
            ) from error
        except ANSWER_ERRORS as error:
            if explain(error, repo_id):
                raise
            raise HubError(
                f"{repo_id}: the answer of {constants.ENDPOINT} cannot be understood ({type(error).__name__}). Check "
                "HF_ENDPOINT; if it is right, try again later."
            ) from error


def download(
    repo_id: str,
    commit: str,
    token: str | bool | None,
    file: RemoteFile,
    cache: Path | None,
    came: Callable[[int], None] | None = None,
    kind: str | None = None,
) -> str:
    """Download a file into the cache, check it against the Hub's checksum, and return its path.

    Args:
        came: called with the bytes that are here.
        kind: "dataset" where the repository is one; None: a model.
    """

    class Meter(tqdm):
        """A progress bar that counts bytes and shows nothing."""

        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "disable": True})
            self.size = 0

        def update(self, n=1):
            self.size += n
            if self.size > file.size:  # the size that was declared is what the limits and the disk were checked for
                raise HubError(f"{repo_id}: {file.path} is longer than the Hub declared, so it was thrown away.")
            if came is not None:
                came(self.size)

    with visitor_errors(repo_id, token):
        path = hf_hub_download(
            repo_id,
            file.path,
            revision=commit,
            repo_type=kind,
            cache_dir=cache,
            token=token,
            tqdm_class=Meter,
        )
        if not _is_whole(Path(path), file):
            for damaged in (Path(path).resolve(), Path(path)):
                damaged.unlink(missing_ok=True)
            raise HubError(f"{repo_id}: {file.path} arrived damaged and was thrown away. Try again.")
    return path


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    with path.open("rb") as stream:
        if file.sha256:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
        start = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        return not file.git_hash or hashlib.file_digest(stream, lambda: start).hexdigest() == file.git_hash
