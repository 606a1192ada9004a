"""What goes wrong between here and the Hub, in sentences that say what to do.

    with hub_errors("user/model", "write"):
        api.create_commit("user/model", ...)

huggingface_hub raises errors of its own, of httpx2 and of the operating system, often one wrapped in another. The first in
the chain that has a meaning for the user decides. An error without one passes as it is, because it is ours to mend.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Literal

import httpx2  # huggingface_hub's own HTTP client
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_token, parse_ratelimit_headers, validate_repo_id

from genarium.errors import GenariumError, HubError

Action = Literal["read", "write"]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
VALID = "write it as user/name, at most 96 letters, digits, dots, - and _"
LOG_IN = "run `hf auth login`, or set HF_TOKEN to a token of https://huggingface.co/settings/tokens"


@contextlib.contextmanager
def hub_errors(repo_id: str, action: Action = "read") -> Iterator[None]:
    """Turn what goes wrong inside into a HubError.

    Args:
        repo_id: of the repository in question, for the message.
        action: what was tried with it.

    Raises:
        HubError: with a sentence that says what to do. Other errors pass as they are.
    """
    try:
        yield
    except GenariumError:  # says what to do already
        raise
    except Exception as error:
        reason = explain(error, repo_id, action)
        if reason is None:
            raise
        raise HubError(reason) from error


def check_repo_id(repo_id: str) -> str:
    """Return the id, if it is one that can be written to.

    Raises:
        HubError: it is no user/name.
    """
    try:
        validate_repo_id(repo_id)
        valid = "/" in repo_id
    except HFValidationError:
        valid = False
    if not valid:
        raise HubError(f"{repo_id!r} is no Hub id to write to: {VALID}.")
    return repo_id


def explain(error: BaseException, repo_id: str, action: Action = "read") -> str | None:
    """Return the sentence for an error, by the first in its chain that means something; None: it is no matter of the Hub's."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    for link in chain:
        reason = _explain_one(link, repo_id, action)
        if reason:
            return reason
    if any(isinstance(link, LocalEntryNotFoundError) for link in chain):
        return f"{repo_id}: not all of it is on this machine, and the Hub cannot be asked. Connect and try again."
    return None


def _explain_one(error: BaseException, repo_id: str, action: Action) -> str | None:
    if isinstance(error, OSError) and error.errno in FULL:
        where = f" ({error.filename})" if error.filename else ""
        return (
            f"{repo_id}: the disk is full{where}, or a file grew over a limit. Make room, or point HF_HOME to another "
            "disk, and run the same again: what is complete is kept."
        )
    if isinstance(error, OSError) and error.errno in READ_ONLY:
        return (
            f"{repo_id}: the folder for downloads cannot be written: {error.strerror}. Mend its permissions, or point HF_HOME "
            "to another."
        )
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo_id}: the Hub was not asked, because HF_HUB_OFFLINE is set. Unset it and try again."
    if isinstance(error, LocalTokenNotFoundError):
        return f"{repo_id}: you are not logged in to the Hub: {LOG_IN}."
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} is no valid Hub id: {VALID}."
    if isinstance(error, HfHubHTTPError):
        return _explain_answer(error, repo_id, action)
    if isinstance(error, httpx2.ConnectError):
        return f"The Hub at {constants.ENDPOINT} cannot be reached. Check the network (and HF_ENDPOINT) and try again."
    if isinstance(error, httpx2.TimeoutException):
        return f"{repo_id}: the Hub takes too long to answer. Try again; what is complete is kept."
    if isinstance(error, (httpx2.TransportError, ConnectionError)):
        done = "was uploaded" if action == "write" else "is complete"
        return f"{repo_id}: the connection to the Hub was cut. Run the same again: what {done} is kept."
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return f"{repo_id}: a file did not arrive whole. Try again; what is complete is kept."
    if isinstance(error, ValueError) and "Invalid metadata in README.md" in str(error):
        return (
            f"{repo_id}: the Hub refuses the card: {str(error).removeprefix('Invalid metadata in README.md.').strip()}"
        )
    return None


def _explain_answer(error: HfHubHTTPError, repo_id: str, action: Action) -> str:
    """Return a sentence about an answer of the Hub that is an error."""
    response = error.response
    status = response.status_code
    said = (error.server_message or response.headers.get("X-Error-Message") or "").strip()
    quoted = f" The Hub says: {said}" if said else ""
    if isinstance(error, GatedRepoError):
        return (
            f"{repo_id} is gated. Ask for access at {constants.ENDPOINT}/{repo_id}, then {LOG_IN}, of the account that "
            "was let in."
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{repo_id} has no such revision. Name a branch, a tag or a commit that is there, or leave it out.{quoted}"
        )
    if isinstance(error, EntryNotFoundError):
        return f"{repo_id} lacks a file that was asked for: {response.url.path.rsplit('/', 1)[-1]}."
    if status == 401 and get_token() is None:
        wish = f"writing to {repo_id}" if action == "write" else f"{repo_id} is not there for everybody: reading it"
        return f"You are not logged in to the Hub, and {wish} needs that. Check the name; then {LOG_IN}."
    if status == 401:
        return (
            "The Hub does not accept your token: it may be mistyped, expired or revoked. Run `hf auth login --force`; where "
            "HF_TOKEN is set, it goes before that, so renew or unset it."
        )
    if isinstance(error, RepositoryNotFoundError) or (status == 404 and action == "read"):
        return f"There is no {repo_id} on the Hub, or your account may not see it. Check the name and the account."
    if status == 403 and action == "write":
        return (
            f"You have no right to write to {repo_id}. Use a token whose role is `write`, and a name under your own account "
            f"or an organisation of yours.{quoted}"
        )
    if status == 403:
        return (
            f"You have no right to read {repo_id}. Check the account you are logged in with (`hf auth whoami`).{quoted}"
        )
    if status in (409, 412):
        return (
            f"{repo_id} was changed by someone else at the same time. Look what is there now, then run the same again."
        )
    if status == 429:
        return f"The Hub asks to wait: too many requests. Run the same again {_pause(response)}."
    if status >= 500:
        return f"The Hub has trouble of its own ({status}). Try again in a few minutes; what is complete is kept."
    return f"{repo_id}: the Hub refused ({status}).{quoted or f' {str(error).strip()}'}"


def _pause(response: httpx2.Response) -> str:
    limit = parse_ratelimit_headers(response.headers)
    seconds = str(limit.reset_in_seconds) if limit else response.headers.get("Retry-After", "")
    return f"in {seconds} seconds" if seconds.isdigit() else "in a few minutes"
