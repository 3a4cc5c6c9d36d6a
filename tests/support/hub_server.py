"""A small Hub on loopback: real HTTP, real git and LFS hashes, enough for huggingface_hub, transformers and datasets.

It is as strict as the Hub about what reaches it: an LFS object must have the size and SHA-256 that were announced,
a commit may only name objects that arrived, a parent commit must be the newest one. `fail` makes it misbehave.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.support.hub_repos import File, Refusal, Repo, git_hash

LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".png", ".jpg", ".webp")
DATE = "2026-01-01T00:00:00.000Z"
PREFIX = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


@dataclass
class Fault:
    method: str
    path: str  # a regular expression, searched in the address
    status: int | None  # None cuts the connection
    message: str
    times: int | None


class HubServer(ThreadingHTTPServer):
    """`with HubServer() as hub:` serves on `hub.url`; `hub.repos`, `hub.requests` and `hub.fail` are for tests.

    `tokens` maps each token to its user, who may write under that name alone.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, tokens: dict[str, str] | None = None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tokens = tokens or {"hf_test": "user"}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[tuple[str, str], bytes] = {}  # (repository, SHA-256) → content
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()

    def fail(self, method: str, path: str, status: int | None, message: str = "a fault", times: int | None = None):
        """From now on (`times` times) requests that match get this status, or a cut connection where it is None."""
        self.faults.append(Fault(method, path, status, message, times))

    def put(self, kind: str, repo_id: str, folder: Path, commit: str | None = None):
        """Serves a folder as a repository ("models", "datasets" or "spaces"), its one version under a given name."""
        files = {
            path.relative_to(folder).as_posix(): File(path.read_bytes(), path.suffix in LFS_SUFFIXES)
            for path in folder.rglob("*")
            if path.is_file()
        }
        repo = self.repos[kind, repo_id] = Repo(private=False)
        oid = repo.commit(files, "put")
        if commit is not None:
            repo.commits[commit] = repo.commits.pop(oid)
            repo.refs["refs/heads/main"] = commit

    def asked(self, method: str, path: str) -> int:
        """How many requests of this kind came."""
        return sum(m == method and re.search(path, p) is not None for m, p in self.requests)

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that go away are none of a test's business."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self):
        url = urlsplit(self.path)
        # Revisions such as refs/pr/1 arrive quoted: split first, unquote after.
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = parse_qs(url.query)
        try:
            with self.server.lock:
                self.server.requests.append((self.command, self.path))
                fault = next((f for f in self.server.faults if self._matches(f)), None)
                if fault and fault.times is not None:
                    fault.times -= 1
            if fault and fault.status is None:
                self._cut()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self._read_chunks()
            if fault:
                body = {"error": fault.message, "errors": [{"message": fault.message}]}
                raise Refusal(fault.status, fault.message, body=body)
            with self.server.lock:
                answer = self._route(parts, query, body)
            if isinstance(answer, tuple):
                self._send_file(*answer)
            else:
                self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self._send(refusal.status, json.dumps(refusal.body).encode(), headers)

    def _matches(self, fault: Fault) -> bool:
        return fault.method == self.command and fault.times != 0 and re.search(fault.path, self.path) is not None

    def _cut(self):
        """Half of what the client sends is read, then the line is dead."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)
        self.connection.close()

    def _read_chunks(self) -> bytes:
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, status: int, content: bytes, headers: dict[str, str]):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_file(self, file: File, commit: str):
        headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        content, status = file.content, 200
        if wanted := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            first, last = wanted.groups()
            start = int(first) if first else max(0, len(content) - int(last))
            stop = min(int(last) + 1 if first and last else len(content), len(content))
            if start >= len(content):
                raise Refusal(416, "Range Not Satisfiable")
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            content, status = content[start:stop], 206
        self._send(status, content, headers)

    # Who asks, and for what

    def _user(self) -> str | None:
        header = self.headers.get("Authorization", "")
        if not header:
            return None
        user = self.server.tokens.get(header.removeprefix("Bearer "))
        if user is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return user

    def _repo(self, kind: str, repo_id: str, *, write: bool = False) -> Repo:
        user = self._user()
        repo = self.server.repos.get((kind, repo_id))
        if repo is None or (repo.private and user != repo_id.split("/")[0]):
            raise Refusal(401 if user is None else 404, "Repository not found", "RepoNotFound")
        if write and user is None:
            raise Refusal(401, "Invalid username or password.")
        if write and user != repo_id.split("/")[0]:
            raise Refusal(403, "You don't have the rights to write to this repository")
        return repo

    def _route(self, parts: list[str], query: dict, body: bytes):
        match [self.command, *parts]:
            case ["GET", "api", "whoami-v2"]:
                user = self._user()
                if user is None:
                    raise Refusal(401, "Invalid username or password.")
                return {"type": "user", "name": user, "orgs": [], "auth": {"accessToken": {"role": "write"}}}
            case ["POST", "api", "validate-yaml"]:
                return self._validate_yaml(json.loads(body)["content"])
            case ["POST", "api", "repos", "create"]:
                return self._create(json.loads(body))
            case ["PUT", "lfs-upload", *repo, oid, size]:
                return self._store("/".join(repo), oid, int(size), body)
            case ["POST", *repo, "info", "lfs", "objects", "batch"] if repo[-1].endswith(".git"):
                return self._lfs_batch("/".join(repo).removesuffix(".git"), json.loads(body))
            case [_, "api", ("models" | "datasets" | "spaces") as kind, user, name, *rest]:
                return self._api(kind, f"{user}/{name}", rest, query, body)
            case ["GET" | "HEAD", ("datasets" | "spaces") as kind, user, name, "resolve", revision, *path]:
                return self._resolve(kind, f"{user}/{name}", revision, "/".join(path))
            case ["GET" | "HEAD", user, name, "resolve", revision, *path]:
                return self._resolve("models", f"{user}/{name}", revision, "/".join(path))
        raise Refusal(404, f"no such page: {self.command} {self.path}")

    def _api(self, kind: str, repo_id: str, rest: list[str], query: dict, body: bytes):
        match [self.command, *rest]:
            case ["GET"]:
                return self._info(kind, repo_id, "main")
            case ["GET", "revision", revision]:
                return self._info(kind, repo_id, revision)
            case ["GET", "refs"]:
                return self._refs(self._repo(kind, repo_id))
            case ["GET", "tree", revision, *path]:
                recursive = query.get("recursive", ["false"])[0].lower() == "true"
                return self._tree(self._repo(kind, repo_id), revision, "/".join(path), recursive)
            case ["POST", "paths-info", revision]:
                return self._paths_info(self._repo(kind, repo_id), revision, body)
            case ["POST", "preupload", revision]:
                return self._preupload(self._repo(kind, repo_id, write="create_pr" not in query), revision, body)
            case ["POST", "commit", revision]:
                return self._commit(kind, repo_id, revision, "create_pr" in query, body)
            case ["POST", "tag", revision]:
                return self._tag(self._repo(kind, repo_id, write=True), revision, json.loads(body)["tag"])
        raise Refusal(404, f"no such page: {self.command} {self.path}")

    # Reading

    def _info(self, kind: str, repo_id: str, revision: str) -> dict:
        repo = self._repo(kind, repo_id)
        sha = repo.resolve(revision)
        return {
            "_id": "0", "id": repo_id, "modelId": repo_id, "author": repo_id.split("/")[0], "sha": sha,
            "private": repo.private, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [],
            "createdAt": DATE, "lastModified": DATE,
            "siblings": [{"rfilename": path} for path in sorted(repo.commits[sha])],
        }  # fmt: skip

    def _refs(self, repo: Repo) -> dict:
        def under(prefix):
            named = {ref: oid for ref, oid in sorted(repo.refs.items()) if ref.startswith(prefix)}
            return [{"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid} for ref, oid in named.items()]

        return {"branches": under("refs/heads/"), "tags": under("refs/tags/"), "converts": []}

    def _tree(self, repo: Repo, revision: str, under: str, recursive: bool) -> list[dict]:
        files = repo.commits[repo.resolve(revision)]
        base = PurePosixPath(under)
        entries: dict[str, dict] = {}
        for path, file in sorted(files.items()):
            if under and base not in PurePosixPath(path).parents:
                continue
            relative = PurePosixPath(path).relative_to(base) if under else PurePosixPath(path)
            for folder in list(relative.parents)[-2::-1]:
                name = str(base / folder) if under else str(folder)
                if recursive or "/" not in str(folder):
                    entries[name] = {"type": "directory", "path": name, "size": 0, "oid": git_hash(name.encode())}
            if recursive or len(relative.parts) == 1:
                entries[path] = file.entry(path)
        if under and not entries:
            raise Refusal(404, f"{under} does not exist", "EntryNotFound")
        return list(entries.values())

    def _paths_info(self, repo: Repo, revision: str, body: bytes) -> list[dict]:
        everything = {entry["path"]: entry for entry in self._tree(repo, revision, "", True)}
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(body)["paths"]
        else:
            paths = parse_qs(body.decode())["paths"]
        return [everything[path] for path in paths if path in everything]

    def _resolve(self, kind: str, repo_id: str, revision: str, path: str) -> tuple[File, str]:
        repo = self._repo(kind, repo_id)
        commit = repo.resolve(revision)
        if path not in repo.commits[commit]:
            raise Refusal(404, f"{path} does not exist", "EntryNotFound")
        return repo.commits[commit][path], commit

    # Writing

    def _create(self, wanted: dict) -> dict:
        user = self._user()
        owner = wanted.get("organization") or user
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if owner != user:
            raise Refusal(403, f'You don\'t have the rights to create a repo under the namespace "{owner}"')
        kind, repo_id = wanted.get("type", "model") + "s", f"{owner}/{wanted['name']}"
        url = f"{self.server.url}/{PREFIX[kind]}{repo_id}"
        if (kind, repo_id) in self.server.repos:
            message = f"You already created this {kind[:-1]} repo"
            raise Refusal(409, message, body={"error": message, "url": url})
        if kind == "spaces" and not wanted.get("sdk"):
            raise Refusal(400, "a Space needs an sdk")
        repo = self.server.repos[kind, repo_id] = Repo(
            private=wanted.get("visibility") == "private" or bool(wanted.get("private"))
        )
        repo.commit({".gitattributes": File(b"*.safetensors filter=lfs\n", False)}, "initial commit")
        return {"url": url, "name": repo_id, "id": "0"}

    def _validate_yaml(self, content: str) -> dict:
        match = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", content, re.DOTALL)
        try:
            data = yaml.safe_load(match[1]) if match else None
        except yaml.YAMLError as error:
            raise Refusal(400, "bad YAML", body={"errors": [{"message": str(error)}]}) from error
        return {"errors": [], "warnings": [] if data else [{"message": "empty or missing yaml metadata"}]}

    def _preupload(self, repo: Repo, revision: str, body: bytes) -> dict:
        known = repo.commits[repo.resolve(revision)]
        files = []
        for wanted in json.loads(body)["files"]:
            lfs = wanted["path"].endswith(LFS_SUFFIXES) or wanted["size"] > 10_000_000
            file = {"path": wanted["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if wanted["path"] in known:
                file["oid"] = known[wanted["path"]].etag
            files.append(file)
        return {"files": files}

    def _lfs_batch(self, repo: str, wanted: dict) -> dict:
        if self._user() is None:
            raise Refusal(401, "Invalid username or password.")
        objects = []
        for item in wanted["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if (repo, item["oid"]) not in self.server.objects:
                href = f"{self.server.url}/lfs-upload/{repo}/{item['oid']}/{item['size']}"
                answer["actions"] = {"upload": {"href": href, "header": {}}}
            objects.append(answer)
        return {"transfer": "basic", "objects": objects}

    def _store(self, repo: str, oid: str, size: int, body: bytes) -> dict:
        if len(body) != size or hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, "the object is not what was announced: its size or SHA-256 differs")
        self.server.objects[repo, oid] = body
        return {}

    def _commit(self, kind: str, repo_id: str, revision: str, create_pr: bool, body: bytes) -> dict:
        repo = self._repo(kind, repo_id, write=not create_pr)
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        parent = repo.resolve(revision)
        if not create_pr and header.get("parentCommit") not in (None, parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[parent])
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = File(base64.b64decode(value["content"]), False)
                case "lfsFile":
                    content = self.server.objects.get((f"{PREFIX[kind]}{repo_id}", value["oid"]))
                    if content is None or len(content) != value.get("size", len(content)):
                        raise Refusal(400, f"LFS object of {value['path']} did not arrive as announced")
                    files[value["path"]] = File(content, True)
                case "deletedFile":
                    if value["path"] not in files:
                        raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
                    del files[value["path"]]
        number = sum(ref.startswith("refs/pr/") for ref in repo.refs) + 1
        oid = repo.commit(files, header["summary"], f"refs/pr/{number}" if create_pr else "refs/heads/main")
        page = f"{self.server.url}/{PREFIX[kind]}{repo_id}"
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}"}
        return answer | ({"pullRequestUrl": f"{page}/discussions/{number}"} if create_pr else {})

    def _tag(self, repo: Repo, revision: str, tag: str) -> dict:
        if f"refs/tags/{tag}" in repo.refs:
            raise Refusal(409, "Tag already exists")
        repo.refs[f"refs/tags/{tag}"] = repo.resolve(revision)
        return {}
