"""All that talks to the Hub when something is published: one atomic commit that makes a repository mirror a folder.

What is there already is compared first, by the hashes that the Hub keeps, so the same folder published twice
changes nothing the second time. The card is sent with the repository's name where its code and metadata have the
folder's (see `names.py`). Files that the folder no longer holds are removed (git on the Hub keeps them in
its history); `.gitattributes` belongs to the Hub and stays.
"""

import subprocess
import sys
import warnings
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import geograph_types
from geograph_types.cli import CommandError, progress, say
from geograph_types.files import ROOT, sha256_of, temporary_folder
from geograph_types.hub import checks
from geograph_types.hub.errors import hub_errors
from geograph_types.hub.names import names_on_the_hub
from geograph_types.hub.run_files import NEVER_PUBLISHED, NEVER_PUBLISHED_IN, OF_A_RUN
from names_geograph import MODEL_NAME

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# What stands before USER/NAME in a page's address.
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}

# Written and kept by the Hub itself.
KEPT_ON_THE_HUB = {".gitattributes"}

WHAT = {"model": "Geograph type classifier", "dataset": "Geograph types dataset", "space": "Geograph types demo"}


@dataclass(frozen=True)
class RemoteState:
    """A repository as it is now: the newest commit, each file's hash, and the tags' commits."""

    commit: str
    files: dict[str, tuple[str, str]]  # path → ("sha256" of an LFS file, or "git" for a blob's SHA-1; the hash)
    tags: dict[str, str]
    private: bool


@dataclass(frozen=True)
class Changes:
    """Paths in the repository, sorted."""

    added: list[str]
    changed: list[str]
    same: list[str]
    removed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def publish_folder(
    path: str | Path,
    repo_id: str,
    repo_type: str,
    *,
    message: str | None = None,
    tag: str | None = None,
    private: bool = False,
    create_pr: bool = False,
    dry_run: bool = False,
    allow_synthetic: bool = False,
) -> str:
    """Checks a folder, then makes `repo_id` on the Hub mirror it in one commit; returns the page's address.

    Args:
        path: a model, dataset or Space folder, laid out as its repository shall be.
        repo_id: USER/NAME; NAME alone means the token's own user, as in `TrainingArguments`.
        repo_type: "model", "dataset" or "space".
        message: the commit's first line; by default what it is and from which version of this code.
        tag: a name for the published version, such as "v1.0". The same tag on the same version is no error.
        private: of a repository that this creates; an existing public one is refused.
        create_pr: proposes the changes as a pull request.
        dry_run: prints the files, their sizes and what would happen to each; sends nothing.
        allow_synthetic: lets what comes from made-up rows through.

    Raises:
        CommandError: one line: a check that failed, or what the Hub or the network refused. Nothing is
            half-published: either the one commit was made or it was not.
    """
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # retries are its own business; what is final becomes our one line
    path = Path(path)
    if repo_type not in PREFIX:
        raise ValueError(f"repo_type must be one of {', '.join(PREFIX)}, got {repo_type!r}")
    repo_id = repo_id if "/" in repo_id else f"{_user(repo_id)}/{repo_id}"
    check_repo_id(repo_id)
    if tag and create_pr:
        raise ValueError("a tag names a published version, and a pull request is none yet: leave one of them out")
    files = files_to_publish(path, repo_type)
    with temporary_folder("card") as scratch:
        if "README.md" in files:
            card = names_on_the_hub(files["README.md"].read_text(encoding="utf-8"), repo_id, repo_type)
            files["README.md"] = scratch / "README.md"
            files["README.md"].write_text(card, encoding="utf-8")
        checks.check(files, repo_type, path, allow_synthetic=allow_synthetic)
        if dry_run:
            return _dry_run(files, repo_id, repo_type)
        return _publish(
            files, repo_id, repo_type, message or default_message(repo_type),
            tag=tag, private=private, create_pr=create_pr,
        )  # fmt: skip


def _user(name: str) -> str:
    """Whose token this is."""
    from huggingface_hub import whoami

    _check_token()
    with hub_errors(name, "nothing was published"):
        return whoami()["name"]


def _check_token() -> None:
    from huggingface_hub import constants, get_token

    if get_token() is None:
        raise CommandError(
            f"no Hub token: run `hf auth login`, or set HF_TOKEN ({constants.ENDPOINT}/settings/tokens)"
        )


def check_repo_id(repo_id: str) -> None:
    """Refuses with a ValueError what cannot be a repository's name: it must be USER/NAME."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if repo_id.count("/") != 1:
        raise ValueError(f"a repository is called USER/NAME, got {repo_id!r}")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} cannot be a repository's name: {error}") from error


def files_to_publish(folder: Path, repo_type: str = "model", *, quiet: bool = False) -> dict[str, Path]:
    """Path in the repository → file, sorted; without hidden files and what is never published, which is said.

    Raises:
        CommandError: no such folder, nothing in it, or a link that leads out of it.
    """
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder")
    never = (*NEVER_PUBLISHED, *NEVER_PUBLISHED_IN.get(repo_type, ()))
    files, left = {}, []
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        parts = [
            *(f"{part}/" for part in relative.parts[:-1]),
            f"{relative.name}/" if file.is_dir() else relative.name,
        ]
        if any(part.startswith(".") for part in parts):
            continue
        if any(fnmatchcase(part, pattern) for part in parts for pattern in never):
            if not any(fnmatchcase(part, pattern) for part in parts for pattern in OF_A_RUN):
                left.append(relative.as_posix())
            continue
        if file.is_symlink() and (file.is_dir() or not file.resolve().is_relative_to(folder.resolve())):
            raise CommandError(
                f"{file}: a link to {file.readlink()}; put a copy in its place if it is to be published, or remove it"
            )
        if file.is_file():
            files[relative.as_posix()] = file
    if not files:
        raise CommandError(f"{folder}: nothing to publish in it")
    if left and not quiet:
        say(f"left out, as no part of a {repo_type}'s page: {', '.join(left[:10])}{' …' if len(left) > 10 else ''}")
    return files


def default_message(repo_type: str) -> str:
    """What is published, and by which version of this code: "…, made with NAME 1.0.0 (abc1234)"."""
    version = f"{MODEL_NAME} {geograph_types.__version__}"
    if (ROOT / ".git").exists():
        described = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        )
        if described.returncode == 0:
            version += f" ({described.stdout.strip()})"
    return f"{WHAT[repo_type]}, made with {version}"


def _publish(files, repo_id, repo_type, message, *, tag, private, create_pr) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
    from huggingface_hub.utils import disable_progress_bars

    _check_token()
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    with hub_errors(repo_id, "nothing was published"):
        remote = remote_state(api, repo_id, repo_type)
        if remote is None:
            sdk = "gradio" if repo_type == "space" else None
            api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk)
            remote = remote_state(api, repo_id, repo_type)
            if remote is None:
                raise CommandError(f"{repo_id}: the Hub made it but does not show it; try again in a minute")
        elif private and not remote.private:
            raise CommandError(f"{repo_id} is public: make it private in its settings first, or leave --private out")
        changes = compare(files, remote)
        _check_tag(tag, repo_id, remote, changes)
        commit, url = remote.commit, f"{constants.ENDPOINT}/{PREFIX[repo_type]}{repo_id}"
        if changes:
            operations = [CommitOperationAdd(name, files[name]) for name in changes.added + changes.changed]
            operations += [CommitOperationDelete(name, is_folder=False) for name in changes.removed]
            with warnings.catch_warnings(record=True) as caught:
                info = api.create_commit(
                    repo_id,
                    operations,
                    commit_message=message,
                    repo_type=repo_type,
                    parent_commit=remote.commit,
                    create_pr=create_pr,
                )
            for warning in caught:
                say(" ".join(str(warning.message).split()))
            commit, url = info.oid, info.pr_url or url
            _say_what_changed(changes, repo_id, commit, create_pr)
        else:
            say(f"{repo_id} is up to date: nothing to send")
    if tag and tag not in remote.tags:
        with hub_errors(repo_id, f"the files are published but {tag!r} is not set: run the same command again"):
            api.create_tag(repo_id, tag=tag, revision=commit, repo_type=repo_type)
        say(f"tagged {tag}")
    return url


def _check_tag(tag: str | None, repo_id: str, remote: RemoteState, changes: Changes) -> None:
    if tag in remote.tags and (changes or remote.tags[tag] != remote.commit):
        raise CommandError(
            f"{repo_id}: tag {tag!r} names another version ({remote.tags[tag][:7]}) already; take a new one"
        )


def _say_what_changed(changes: Changes, repo_id: str, commit: str, create_pr: bool) -> None:
    for name in changes.removed:
        say(f"removed {name}, which the folder no longer has")
    say(
        f"{repo_id}: {'proposed' if create_pr else 'published'} {len(changes.added)} new and {len(changes.changed)} "
        f"changed files, removed {len(changes.removed)}, left {len(changes.same)} as they were (commit {commit[:7]})"
    )


def _dry_run(files: dict[str, Path], repo_id: str, repo_type: str) -> str:
    from huggingface_hub import HfApi, constants

    remote, note = None, f"{repo_id} would be created"
    try:
        with hub_errors(repo_id, "so whether files changed is not known"):
            remote = remote_state(HfApi(), repo_id, repo_type)
    except CommandError as error:
        note = str(error)
    changes = compare(files, remote)
    verb = {name: verb for verb, names in vars(changes).items() for name in names}
    for name in sorted([*files, *changes.removed]):
        size = f"{files[name].stat().st_size:>13,}" if name in files else f"{'':>13}"
        print(f"{verb[name]:<8}{size}  {name}")
    print(f"{'total':<8}{sum(file.stat().st_size for file in files.values()):>13,}  bytes in {len(files)} files")
    if remote is None:
        say(note)
    say("dry run: nothing was sent")
    return f"{constants.ENDPOINT}/{PREFIX[repo_type]}{repo_id}"


def remote_state(api: "HfApi", repo_id: str, repo_type: str) -> RemoteState | None:
    """The repository's newest version on the Hub, or None where there is no such repository (or none to see)."""
    from huggingface_hub import RepoFile
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.repo_info(repo_id, repo_type=repo_type)
    except RepositoryNotFoundError:
        return None
    tree = api.list_repo_tree(repo_id, recursive=True, revision=info.sha, repo_type=repo_type)
    files = {
        entry.path: ("sha256", entry.lfs.sha256) if entry.lfs else ("git", entry.blob_id)
        for entry in tree
        if isinstance(entry, RepoFile)
    }
    refs = api.list_repo_refs(repo_id, repo_type=repo_type)
    return RemoteState(info.sha, files, {ref.name: ref.target_commit for ref in refs.tags}, bool(info.private))


def compare(files: dict[str, Path], remote: RemoteState | None) -> Changes:
    """What one commit has to do so that the repository mirrors `files`."""
    there = {} if remote is None else {k: v for k, v in remote.files.items() if k not in KEPT_ON_THE_HUB}
    common = progress(sorted(files.keys() & there.keys()), unit="file", description="comparing")
    same = {name for name in common if _hash(files[name], there[name][0]) == there[name][1]}
    return Changes(
        added=sorted(files.keys() - there.keys()),
        changed=sorted((files.keys() & there.keys()) - same),
        same=sorted(same),
        removed=sorted(there.keys() - files.keys()),
    )


def _hash(file: Path, kind: str) -> str:
    from huggingface_hub.utils.sha import git_hash

    return sha256_of(file) if kind == "sha256" else git_hash(file.read_bytes())
