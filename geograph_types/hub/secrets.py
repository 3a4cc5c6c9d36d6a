"""What must not leave this machine: keys, tokens, passwords, and in what programs wrote, paths of its disk."""

import re
from pathlib import Path

# Kinds of secrets, by the form that their issuers gave them.
SECRETS = {
    "a Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "an AWS key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"
    r"|(?i:aws)[\w\s.\"'-]{0,30}(?i:secret|access|key)[\w\s.\"'-]{0,20}[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY|PuTTY-User-Key-File-\d",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}|\bya29\.[\w-]{20,}",
    "an Azure key": r"\bAccountKey=[A-Za-z0-9+/]{40,}|[?&]sig=[\w%+/-]{30,}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w+",
    "an API key": r"\bsk-[A-Za-z0-9_-]{32,}|\b[rs]k_(?:live|test)_[0-9A-Za-z]{20,}|\bSG\.[\w-]{20,}\.[\w-]{20,}",
    "a package registry's token": r"\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[\w-]{50,}",
    "a Kaggle key": r"[\"']?key[\"']?\s*[:=]\s*[\"'][0-9a-f]{32}[\"']",
    "a signed token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password in an address": r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>`]*:(?!(?i:\*+|x+|\.+|password|passwd|secret|"
    r"token)@)[^\s/@\"'<>`$\{\[]+@[\w\[]",
    "a key in an address": r"(?i)[?&](?:access_?token|auth_?token|token|api_?key|password|passwd|secret|signature"
    r"|x-amz-signature|x-amz-credential)=(?!(?-i:[A-Z_<{$\[.*]+)(?:[\s\"'&)`,;]|$))[^\s&\"'<>`)]{6,}",
    "a login": r"(?i)\bauthorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)\s+[\w.~+/-]{16,}",
    "a secret": r"(?i)(?:password|passwd|secret|api_?key|access_?key|auth_?token|access_?token|_token)[\"']?\s*[:=]\s*"
    r"[\"']?(?=[\w/+.-]*\d)(?=[\w/+.-]*[a-z])[\w/+-]{20,}",
}

# A file on someone's machine: it means nothing to others, and tells them a name.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~$}+-])/(?:home|Users|root|tmp|mnt|media|opt|srv|var|work|workspace|content|kaggle)/[\w.@+-]+[^\s\"'`)<>]*"
    r"|\b[A-Za-z]:\\{1,2}[\w.-]+\\[^\s\"'`)<>]*"
    r"|file:///[^\s\"'`)<>]+"
)
# In what a person wrote, a path such as /tmp/report is an example; somebody's home is not, unless it is nobody's.
HOME = re.compile(r"(?:^|[/\\])(?:home|Users)[/\\]{1,2}(?!(?:user|username|you|me|name|someone|somebody)\b)\w", re.I)
PROSE = {".md", ".markdown", ".rst", ".cff"}

# These may be large, and tell their text at the ends: safetensors' header first, Parquet's metadata last.
LARGE = {".safetensors", ".parquet", ".onnx"}
ENDS = 1 << 20


def find_secret(path: Path) -> tuple[str, str] | None:
    """(kind, its first letters) of the first secret in a file, or None."""
    text, _ = _text_of(path)
    text += (
        "\n" + text.replace('\\"', '"').replace("\\/", "/") if "\\" in text else ""
    )  # JSON in JSON, as notebooks have
    for kind, pattern in SECRETS.items():
        if found := re.search(pattern, text):
            return kind, found[0][:6]
    return None


def find_path(path: Path) -> str | None:
    """An absolute path of somebody's machine in a text file; in prose only one that tells whose it is."""
    text, is_text = _text_of(path)
    if is_text:
        for found in ABSOLUTE_PATH.finditer(text):
            if path.suffix.lower() not in PROSE or HOME.search(found[0]):
                return found[0]
    return None


def _text_of(path: Path) -> tuple[str, bool]:
    """What can be read of a file, and whether it is text as a whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if path.suffix.lower() in LARGE and size > 2 * ENDS:
            head = file.read(ENDS)
            file.seek(size - ENDS)
            return _strings(head + b"\n" + file.read()), False
        content = file.read()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace"), True
    if b"\0" not in content[:4096]:
        try:
            return content.decode("utf-8"), True
        except UnicodeDecodeError:
            pass
    wide = content.replace(b"\0", b"") if b"\0" in content else b""  # text in two bytes a letter, without its mark
    return f"{_strings(content)}\n{_strings(wide)}", False


def _strings(content: bytes) -> str:
    """What can be read in a binary file, a line a piece: the rest would only cost time."""
    return b"\n".join(re.findall(rb"[\t\x20-\x7e]{12,}", content)).decode("ascii")
