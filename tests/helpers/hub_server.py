"""A Hugging Face Hub in a thread: what huggingface_hub 2.4 asks over HTTP, answered from memory, with faults on demand.

    with HubServer() as hub:
        hub.add_repo("someone/model", {"model_index.json": b"{}"})
        hub.fail("GET", r"/resolve/", status=500, times=2)
        api = HfApi(endpoint=hub.endpoint, token="hf_user")

Answers follow the real Hub where clients depend on them: a repository that is missing or private gives 401 to a stranger
and 404 to a user, both with X-Error-Code RepoNotFound; weights and other binary files go through LFS; a commit is atomic;
a file's ETag is its git hash or, of an LFS file, its SHA-256. The Xet protocol is not spoken: set HF_HUB_DISABLE_XET.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

NOW = "2026-01-01T00:00:00.000Z"
GIT_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
LFS_SUFFIXES = (".safetensors", ".bin", ".npy", ".npz", ".ckpt", ".pt", ".h5", ".gif", ".parquet")
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "cc0-1.0", "bsd-3-clause", "openrail", "other", "unknown"}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


@dataclass
class User:
    """Who a token stands for, and where that token may write."""

    name: str
    orgs: tuple[str, ...] = ()
    can_write: bool = True


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    """`gated`: False, "auto" or "manual"; then only those in `readers` get its files."""

    type: str
    id: str
    private: bool = False
    gated: bool | str = False
    readers: set[str] = field(default_factory=set)
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    sdk: str | None = None
    hardware: str = "cpu-basic"
    downloads: int = 0

    @property
    def files(self) -> dict[str, bytes]:
        """Content by path, at the head of the main branch."""
        return self.commits[-1].files

    @property
    def sha(self) -> str:
        return self.commits[-1].oid

    def commit(self, files: dict[str, bytes], title: str) -> Commit:
        oid = hashlib.sha1(f"{self.type} {self.id} {len(self.commits)} {title}".encode()).hexdigest()
        self.commits.append(Commit(oid, title, files))
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        if revision in ("main", "refs/heads/main"):
            return self.commits[-1]
        oid = self.tags.get(revision, revision)
        return next((c for c in self.commits if c.oid == oid), None)


@dataclass
class Fault:
    method: str
    path: re.Pattern
    times: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    cut_after: int | None = None
    corrupt: bool = False
    content: bytes | None = None
    more: int = 0


class Refused(Exception):
    """An answer other than 200, raised from anywhere in a handler."""

    def __init__(self, status: int, message: str, code: str = "", body: dict | None = None, **headers: str):
        super().__init__(message)
        self.status, self.body = status, body or {"error": message}
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_lfs(path: str, head: bytes, size: int) -> bool:
    return size > 0 and (path.endswith(LFS_SUFFIXES) or b"\0" in head[:512] or size > 10_000_000)


def front_matter(readme: bytes | str) -> dict | None:
    """The YAML on top of a README.md: {} where there is none, None where it is no mapping."""
    text = readme.decode(errors="replace") if isinstance(readme, bytes) else readme
    found = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    if not found:
        return {}
    try:
        values = yaml.safe_load(found.group(1))
    except yaml.YAMLError:
        return None
    return values if isinstance(values, dict) else None


def metadata_errors(content: str, repo_type: str) -> list[str]:
    """What the real Hub would refuse, as far as this project can get it wrong."""
    values = front_matter(content)
    if values is None:
        return ["The YAML metadata is not a mapping"]
    errors = []
    licenses = values.get("license", "unknown")
    for one in licenses if isinstance(licenses, list) else [licenses]:
        if one not in LICENSES:
            errors.append(f'"license" must be one of {sorted(LICENSES)}')
    if repo_type == "space":
        if values.get("sdk") not in ("gradio", "docker", "static", "streamlit"):
            errors.append('"sdk" must be one of [gradio, docker, static, streamlit]')
        if len(str(values.get("short_description", ""))) > 60:
            errors.append('"short_description" length must be less than or equal to 60 characters long')
        for key in ("colorFrom", "colorTo"):
            if key in values and values[key] not in COLOURS:
                errors.append(f'"{key}" must be one of {sorted(COLOURS)}')
    for model in values.get("model-index") or []:
        for result in model.get("results") or []:
            for part, keys in (("task", ["type"]), ("dataset", ["type", "name"])):
                errors += [
                    f'"model-index[0].results[0].{part}.{k}" is required'
                    for k in keys
                    if not (result.get(part) or {}).get(k)
                ]
            for metric in result.get("metrics") or []:
                if not metric.get("type") or metric.get("value") is None:
                    errors.append('"model-index[0].results[0].metrics[0]" needs type and value')
    return errors


class HubServer:
    """The server and its state; a context manager. Tokens: hf_user (user, of the organisation genarium), hf_read (the same,
    may only read), hf_other (other, of no organisation).

    `requests` is the list of (method, path with query) that came in, `shown` the set of tokens that came with them.
    """

    def __init__(self):
        self.tokens = {
            "hf_user": User("user", ("genarium",)),
            "hf_read": User("user", ("genarium",), can_write=False),
            "hf_other": User("other"),
        }
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by SHA-256, uploaded but perhaps not committed
        self.collections: dict[str, dict] = {}
        self.requests: deque[tuple[str, str]] = deque()
        self.shown: set[str] = set()
        self.faults: list[Fault] = []
        self.swollen = 0  # bytes that were sent beyond the end of files
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), name="hub", daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home, token: str | None = "hf_user") -> dict[str, str]:
        """Variables that make a child process use this Hub, with caches of its own under `home`."""
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(home),
            "HF_MODULES_CACHE": str(home / "modules"),
            "NO_PROXY": "127.0.0.1",
        }
        return variables | ({"HF_TOKEN": token} if token else {})

    # ---- what a test sets up ----

    def add_repo(
        self,
        repo_id: str,
        files: dict[str, bytes] | None = None,
        type: str = "model",
        private: bool = False,
        gated: bool | str = False,
    ) -> Repo:
        """A repository with one commit of these files, or without any but .gitattributes."""
        repo = Repo(type, repo_id, private=private, gated=gated)
        repo.commit({".gitattributes": GIT_ATTRIBUTES}, "initial commit")
        if files:
            repo.commit({**repo.files, **files}, "files")
        with self.lock:
            self.repos[type, repo_id] = repo
        return repo

    def add_folder(self, repo_id: str, folder, **options) -> Repo:
        """A repository with the files of a folder."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        return self.add_repo(repo_id, files, **options)

    def repo(self, repo_id: str, type: str = "model") -> Repo:
        return self.repos[type, repo_id]

    def fail(
        self, method: str, path: str, status: int, times: int = 1, message: str = "", code: str = "", **headers: str
    ) -> None:
        """Answer the next `times` requests of this method whose path matches (a regular expression) with an error.

        Args:
            code: of X-Error-Code, e.g. "GatedRepo".
            headers: more of them, with _ for -: `retry_after="30"`.
        """
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers |= ({"X-Error-Message": message} if message else {}) | ({"X-Error-Code": code} if code else {})
        self._add(Fault(method, re.compile(path), times, status, headers, message))

    def cut(self, method: str, path: str, after: int = 0, times: int = 1) -> None:
        """Cut the connection of the next `times` such requests after so many bytes of the file have gone over it."""
        self._add(Fault(method, re.compile(path), times, cut_after=after))

    def corrupt(self, path: str, times: int = 1) -> None:
        """Send other bytes than the file's, as many, to the next `times` such GET requests."""
        self._add(Fault("GET", re.compile(path), times, corrupt=True))

    def answer(self, method: str, path: str, content: bytes, times: int = 100, **headers: str) -> None:
        """Answer the next `times` such requests with status 200 and this content, whatever was asked."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._add(Fault(method, re.compile(path), times, headers=headers, content=content))

    def swell(self, path: str, more: int, times: int = 100) -> None:
        """Send a file of the next `times` such GET requests without a length, and so many zeros after it."""
        self._add(Fault("GET", re.compile(path), times, more=more))

    def heal(self) -> None:
        """Forget all faults."""
        with self.lock:
            self.faults.clear()

    def asked(self, method: str, path: str) -> int:
        """How many requests of this method matched this regular expression."""
        return sum(m == method and bool(re.search(path, p)) for m, p in list(self.requests))

    def _add(self, fault: Fault) -> None:
        with self.lock:
            self.faults.append(fault)

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.path.search(path):
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    """One request. `routes` says which method answers which path."""

    protocol_version = "HTTP/1.1"
    hub: HubServer
    routes = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("DELETE", r"/api/repos/delete", "delete"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("GET", r"/api/collections", "list_collections"),
        ("POST", r"/api/collections", "create_collection"),
        ("GET", r"/api/collections/(?P<slug>[^/]+/[^/]+)", "get_collection"),
        ("POST", r"/api/collections/(?P<slug>[^/]+/[^/]+)/items", "add_item"),
        ("GET", r"/api/(?P<type>model|dataset|space)s", "list_repos"),
        ("POST", r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
        ("GET", r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?",
         "tree"),
        ("POST", r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)", "paths_info"),
        ("GET", r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/refs", "refs"),
        ("GET", r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)", "info"),
        ("POST", r"/api/(?P<type>space)s/(?P<id>[^/]+/[^/]+)/hardware", "hardware"),
        ("GET", r"/api/(?P<type>space)s/(?P<id>[^/]+/[^/]+)/runtime", "runtime"),
        ("GET", r"/api/(?P<type>model|dataset|space)s/(?P<id>[^/]+/[^/]+)", "info"),
        ("POST", r"/(?:(?P<type>dataset|space)s/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
        ("POST", r"/lfs/(?P<oid>[0-9a-f]{64})/verify", "lfs_verify"),
        ("GET", r"/(?:(?P<type>dataset|space)s/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "file"),
    )  # fmt: skip

    def log_message(self, *_) -> None:
        pass

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.hub.requests.append((self.command, unquote(self.path)))
        if authorization := self.headers.get("Authorization"):
            self.hub.shown.add(authorization)
        fault = self.hub.take_fault(self.command, unquote(self.path))
        self.fault = fault
        try:
            body = self._read(fault)
            if body is None:
                return
            if fault and fault.status:
                raise Refused(fault.status, fault.message or f"fault {fault.status}", **fault.headers)
            if fault and fault.content is not None:
                self._answer(200, fault.content, fault.headers)
                return
            method = "GET" if self.command == "HEAD" else self.command
            for verb, pattern, name in self.routes:
                found = re.fullmatch(pattern, url.path)
                if found and verb == method:
                    with self.hub.lock:
                        answer = getattr(self, f"_{name}")(
                            body, **{k: v and unquote(v) for k, v in found.groupdict().items()}
                        )
                    break
            else:
                raise Refused(404, f"no such path: {self.command} {url.path}")
            status, content, headers = answer if isinstance(answer, tuple) else (200, answer, {})
        except Refused as refused:
            status, content, headers = refused.status, refused.body, refused.headers
        if not isinstance(content, bytes):
            headers = {"Content-Type": "application/json", **headers}
            content = json.dumps(content).encode()
        self._answer(status, content, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _read(self, fault: Fault | None) -> bytes | None:
        """The whole body; or None, with the connection cut after as many bytes as the fault says."""
        length = int(self.headers.get("Content-Length") or 0)
        cut = fault is not None and fault.cut_after is not None and self.command != "GET"
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            body = self.rfile.read(min(length, fault.cut_after) if cut else length)
        else:
            body = b""
            while (size := int(self.rfile.readline().split(b";")[0], 16)) and not (
                cut and len(body) >= fault.cut_after
            ):
                body += self.rfile.read(size)
                self.rfile.readline()
            if not cut:
                self.rfile.readline()
        if cut:
            self._hang_up()
            return None
        return body

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        fault = self.fault
        if fault and fault.corrupt:
            content = bytes(byte ^ 0x5A for byte in content)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value.encode("latin-1", "replace").decode("latin-1"))
        swollen = fault is not None and fault.more > 0
        if swollen:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if swollen:
            self._swell(content, fault.more)
            return
        if fault and fault.cut_after is not None:
            self.wfile.write(content[: fault.cut_after])
            self.wfile.flush()
            self._hang_up()
            return
        self.wfile.write(content)

    def _swell(self, content: bytes, more: int) -> None:
        """Send content and zeros in chunks, until the client hangs up; `hub.swollen` counts the zeros."""
        zeros = bytes(2**16)
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            for _ in range(more // len(zeros)):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(zeros), zeros))
                self.hub.swollen += len(zeros)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    # ---- who is asking, and for what ----

    def _user(self) -> User | None:
        authorization = self.headers.get("Authorization", "")
        if not authorization:
            return None
        user = self.hub.tokens.get(authorization.removeprefix("Bearer "))
        if user is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return user

    def _writer(self, namespace: str) -> User:
        user = self._user()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        if not user.can_write or namespace not in (user.name, *user.orgs):
            raise Refused(403, f'You don\'t have the rights to write under the namespace "{namespace}"')
        return user

    def _repo(self, type: str | None, id: str) -> Repo:
        user = self._user()
        repo = self.hub.repos.get((type or "model", id))
        mine = user is not None and id.split("/")[0] in (user.name, *user.orgs)
        if repo is None or (repo.private and not mine):
            raise Refused(401 if user is None else 404, "Repository not found", "RepoNotFound")
        return repo

    def _writable(self, type: str | None, id: str) -> Repo:
        repo = self._repo(type, id)
        self._writer(id.split("/")[0])
        return repo

    @staticmethod
    def _at(repo: Repo, revision: str | None) -> Commit:
        commit = repo.at(revision or "main")
        if commit is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # ---- accounts and repositories ----

    def _whoami(self, body):
        user = self._user()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        role = "write" if user.can_write else "read"
        token = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in user.orgs]
        return {
            "type": "user",
            "id": user.name,
            "name": user.name,
            "fullname": user.name,
            "avatarUrl": "",
            "orgs": orgs,
            "auth": token,
        }

    def _create(self, body):
        values = json.loads(body)
        user = self._user()
        namespace = values.get("organization") or (user.name if user else "")
        self._writer(namespace)
        type, id = values.get("type") or "model", f"{namespace}/{values['name']}"
        url = f"{self.hub.endpoint}/{'' if type == 'model' else type + 's/'}{id}"
        if (type, id) in self.hub.repos:
            raise Refused(409, f"You already created this {type} repo", body={"error": "exists", "url": url})
        private = values.get("visibility") == "private" or bool(values.get("private"))
        repo = self.hub.add_repo(id, type=type, private=private)
        repo.sdk, repo.hardware = values.get("sdk"), values.get("hardware") or "cpu-basic"
        if type == "space":
            repo.commit({**repo.files, "README.md": f"---\nsdk: {repo.sdk}\n---\n".encode()}, "initial commit")
        return {"url": url, "name": id, "id": id}

    def _delete(self, body):
        values = json.loads(body)
        user = self._user()
        namespace = values.get("organization") or (user.name if user else "")
        key = values.get("type") or "model", f"{namespace}/{values['name']}"
        self._writable(*key)
        del self.hub.repos[key]
        return {}

    def _list_repos(self, body, type):
        search = self.query.get("search", [""])[0].lower()
        author, tags = self.query.get("author", [""])[0], set(self.query.get("filter", []))
        found = [
            self._describe(repo, repo.commits[-1])
            for (kind, id), repo in sorted(self.hub.repos.items())
            if kind == type
            and search in id.lower()
            and (not author or id.startswith(f"{author}/"))
            and not repo.private
        ]
        found = [one for one in found if tags <= set(one["tags"])]
        return found[: int(self.query.get("limit", [len(found)])[0])]

    def _info(self, body, type, id, revision=None):
        repo = self._repo(type, id)
        return self._describe(repo, self._at(repo, revision))

    def _describe(self, repo: Repo, commit: Commit) -> dict:
        card = front_matter(commit.files.get("README.md", b"")) or {}
        values = {
            "author": repo.id.split("/")[0],
            "sha": commit.oid,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": False,
            "downloads": repo.downloads,
            "likes": 0,
            "lastModified": NOW,
            "createdAt": NOW,
            "cardData": card,
            "usedStorage": sum(map(len, commit.files.values())),
        }
        tags = [card["library_name"]] if "library_name" in card else []
        values["tags"] = tags + list(card.get("tags") or [])
        if repo.type == "model":
            values |= {k: card[k] for k in ("library_name", "pipeline_tag") if k in card}
            values["config"] = {}
            if "model_index.json" in commit.files:
                try:
                    name = json.loads(commit.files["model_index.json"]).get("_class_name")
                except (ValueError, AttributeError, RecursionError):
                    name = None
                values["config"] = {"diffusers": {"_class_name": name}}
        if repo.type == "space":
            values["sdk"] = card.get("sdk", repo.sdk)
            values["runtime"] = self._runtime_of(repo)
        values["siblings"] = [self._sibling(path, content) for path, content in sorted(commit.files.items())]
        identity = {"_id": git_hash(repo.id.encode())[:24], "id": repo.id}
        if repo.type == "model":
            identity["modelId"] = repo.id
        if "expand" in self.query:
            return identity | {k: v for k, v in values.items() if k in self.query["expand"]}
        values.pop("usedStorage")
        return identity | values

    def _sibling(self, path: str, content: bytes) -> dict:
        sibling: dict = {"rfilename": path}
        if self.query.get("blobs", ["false"])[0] in ("1", "true", "True"):
            sibling |= {"size": len(content), "blobId": self._blob_id(path, content)}
            if is_lfs(path, content, len(content)):
                sibling["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 135}
        return sibling

    @staticmethod
    def _blob_id(path: str, content: bytes) -> str:
        if not is_lfs(path, content, len(content)):
            return git_hash(content)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content)}\nsize {len(content)}\n"
        return git_hash(pointer.encode())

    def _entry(self, path: str, content: bytes, commit: Commit, expand: bool) -> dict:
        entry: dict = {"type": "file", "path": path, "size": len(content), "oid": self._blob_id(path, content)}
        if is_lfs(path, content, len(content)):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 135}
        if expand:
            entry["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": NOW}
            entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
        return entry

    def _tree(self, body, type, id, revision, path=None):
        repo = self._repo(type, id)
        commit = self._at(repo, revision)
        recursive, expand = (self.query.get(k, ["false"])[0].lower() == "true" for k in ("recursive", "expand"))
        prefix = f"{path}/" if path else ""
        entries, folders = [], set()
        for name, content in sorted(commit.files.items()):
            if not name.startswith(prefix):
                continue
            parents = name[len(prefix) :].split("/")[:-1]
            folders |= {
                prefix + "/".join(parents[: i + 1]) for i in range(len(parents) if recursive else min(1, len(parents)))
            }
            if recursive or not parents:
                entries.append(self._entry(name, content, commit, expand))
        if prefix and not entries and not folders:
            raise Refused(404, f"{path} does not exist on {revision}", "EntryNotFound")
        return [
            {"type": "directory", "path": f, "size": 0, "oid": git_hash(f.encode())} for f in sorted(folders)
        ] + entries

    def _paths_info(self, body, type, id, revision):
        commit = self._at(self._repo(type, id), revision)
        values = parse_qs(body.decode())
        expand = values.get("expand", ["false"])[0].lower() == "true"
        return [self._entry(p, commit.files[p], commit, expand) for p in values.get("paths", []) if p in commit.files]

    def _refs(self, body, type, id):
        repo = self._repo(type, id)
        tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repo.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.sha}
        return {"branches": [main], "converts": [], "tags": tags}

    def _hardware(self, body, type, id):
        repo = self._writable(type, id)
        repo.hardware = json.loads(body)["flavor"]
        return self._runtime_of(repo)

    def _runtime(self, body, type, id):
        return self._runtime_of(self._repo(type, id))

    @staticmethod
    def _runtime_of(repo: Repo) -> dict:
        return {"stage": "RUNNING", "hardware": {"current": "cpu-basic", "requested": repo.hardware}, "gcTimeout": None}

    # ---- the way up ----

    def _validate(self, body):
        values = json.loads(body)
        errors = metadata_errors(values["content"], values.get("repoType") or "model")
        if errors and "text/plain" in self.headers.get("Accept", ""):
            return 400, "\n".join(errors).encode(), {}
        described = {"errors": [{"message": e} for e in errors], "warnings": []}
        return 400 if errors else 200, described, {}

    def _preupload(self, body, type, id, revision):
        repo = self._writable(type, id)
        files = self._at(repo, revision).files
        values = json.loads(body)
        ignored = [line.strip() for line in values.get("gitIgnore", "").splitlines() if line.strip() and line[0] != "#"]
        answers = []
        for file in values["files"]:
            path = file["path"]
            lfs = is_lfs(path, base64.b64decode(file["sample"]), file["size"])
            oid = None
            if path in files:
                oid = sha256(files[path]) if lfs else git_hash(files[path])
            name = path.rsplit("/", 1)[-1]
            ignore = any(fnmatch.fnmatch(path, p.lstrip("/")) or fnmatch.fnmatch(name, p) for p in ignored)
            mode = "lfs" if lfs else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": ignore, "oid": oid})
        return {"files": answers}

    def _lfs_batch(self, body, type, id):
        self._writable(type, id)
        answers = []
        for wanted in json.loads(body)["objects"]:
            answer = dict(wanted)
            if wanted["oid"] not in self.hub.objects:
                url = f"{self.hub.endpoint}/lfs/{wanted['oid']}"
                answer["actions"] = {"upload": {"href": url}, "verify": {"href": f"{url}/verify"}}
            answers.append(answer)
        return {"transfer": "basic", "objects": answers}

    def _lfs_put(self, body, oid):
        if sha256(body) != oid:
            raise Refused(400, "The content does not have the hash that was announced")
        self.hub.objects[oid] = body
        return b""

    def _lfs_verify(self, body, oid):
        if oid not in self.hub.objects or len(self.hub.objects[oid]) != json.loads(body)["size"]:
            raise Refused(404, "This object was not uploaded")
        return {}

    def _commit(self, body, type, id, revision):
        repo = self._writable(type, id)
        files = dict(self._at(repo, revision).files)
        title = ""
        for line in body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, repo.sha):
                    raise Refused(412, "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refused(400, f"LFS object of {value['path']} is missing")
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
            elif key == "deletedFolder":
                files = {p: c for p, c in files.items() if not p.startswith(value["path"].rstrip("/") + "/")}
        errors = metadata_errors(files.get("README.md", b"").decode(), repo.type)
        if errors and b"README.md" in body:
            raise Refused(400, "; ".join(errors))
        commit = repo.commit(files, title)
        url = f"{self.hub.endpoint}/{'' if type == 'model' else type + 's/'}{id}/commit/{commit.oid}"
        return {"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": ""}

    # ---- the way down ----

    def _file(self, body, id, revision, path, type=None):
        repo = self._repo(type, id)
        commit = self._at(repo, revision)
        user = self._user()
        if repo.gated and not (user and (user.name in repo.readers or id.startswith(f"{user.name}/"))):
            message = f"Access to model {id} is restricted."
            raise Refused(403 if user else 401, message, "GatedRepo", **{"X-Repo-Commit": commit.oid})
        if path not in commit.files:
            raise Refused(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit.oid})
        content = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{git_hash(content)}"', "Accept-Ranges": "bytes"}
        headers["Content-Type"] = "application/octet-stream"
        if is_lfs(path, content, len(content)):
            digest = sha256(content)
            headers |= {"ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not found:
            return 200, content, headers
        start, end = int(found.group(1)), int(found.group(2) or len(content) - 1)
        if start >= len(content):
            raise Refused(416, "Range not satisfiable", **{"Content-Range": f"bytes */{len(content)}"})
        part = content[start : end + 1]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        return 206, part, headers

    # ---- collections ----

    def _list_collections(self, body):
        owners = self.query.get("owner")
        return [c for c in self.hub.collections.values() if not owners or c["owner"]["name"] in owners]

    def _create_collection(self, body):
        values = json.loads(body)
        self._writer(values["namespace"])
        name = re.sub(r"[^a-z0-9]+", "-", values["title"].lower()).strip("-")
        slug = f"{values['namespace']}/{name}-{git_hash(name.encode())[:24]}"
        if slug in self.hub.collections:
            raise Refused(409, "This collection exists", body={"error": "exists", "slug": slug})
        self.hub.collections[slug] = {
            "slug": slug,
            "title": values["title"],
            "description": values.get("description"),
            "owner": {"name": values["namespace"], "type": "user"},
            "items": [],
            "lastUpdated": NOW,
            "position": 0,
            "private": values.get("private", False),
            "theme": "green",
            "upvotes": 0,
        }
        return self.hub.collections[slug]

    def _get_collection(self, body, slug):
        if slug not in self.hub.collections:
            raise Refused(404, "Collection not found")
        return self.hub.collections[slug]

    def _add_item(self, body, slug):
        collection = self._get_collection(body, slug)
        self._writer(slug.split("/")[0])
        values = json.loads(body)
        item = values["item"]
        if (item["type"], item["id"]) not in self.hub.repos:
            raise Refused(404, "Item not found")
        if any(one["id"] == item["id"] and one["type"] == item["type"] for one in collection["items"]):
            raise Refused(409, "This item is in the collection already")
        position = len(collection["items"])
        identity = git_hash(f"{item['type']} {item['id']}".encode())[:24]
        note = {"text": values["note"]} if values.get("note") else None
        collection["items"].append({"_id": identity, **item, "position": position, "note": note})
        return collection
