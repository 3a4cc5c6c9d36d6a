"""The repositories behind `hub_server.py`: files, commits and refs, with the hashes that the Hub gives them."""

import hashlib
from dataclasses import dataclass, field


class Refusal(Exception):
    """An answer that is an error, with the headers that tell the client which."""

    def __init__(self, status: int, message: str, code: str | None = None, body: dict | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body or {"error": message}


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class File:
    content: bytes
    lfs: bool

    def entry(self, path: str) -> dict:
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": git_hash(self.content)}
        if self.lfs:
            sha256 = hashlib.sha256(self.content).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {entry['size']}\n"
            lfs = {"oid": sha256, "size": entry["size"], "pointerSize": len(pointer)}
            entry |= {"oid": git_hash(pointer.encode()), "lfs": lfs}
        return entry

    @property
    def etag(self) -> str:
        return hashlib.sha256(self.content).hexdigest() if self.lfs else git_hash(self.content)


@dataclass
class Repo:
    private: bool
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)  # "refs/heads/main", "refs/tags/v1.0", "refs/pr/1"

    def commit(self, files: dict[str, File], message: str, ref: str = "refs/heads/main") -> str:
        parts = [f"{path} {file.etag}" for path, file in sorted(files.items())]
        oid = hashlib.sha1("\n".join([str(len(self.commits)), *parts]).encode(), usedforsecurity=False).hexdigest()
        self.commits[oid], self.refs[ref] = files, oid
        self.messages.append(message)
        return oid

    def resolve(self, revision: str) -> str:
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in self.refs:
                return self.refs[name]
        if revision in self.commits:
            return revision
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    @property
    def files(self) -> dict[str, File]:
        return self.commits[self.refs["refs/heads/main"]]
