"""What a file is, by its first bytes; its name counts only where these do not say. The one list of suffixes, too."""

from pathlib import PurePath

# Tables by suffix → what stands between their cells.
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t"}
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")
DATA_SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES, *PARQUET_SUFFIXES)

# Files that hold one other: by suffix, and by their first bytes.
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}

PARQUET_MAGIC = b"PAR1"

# How much is looked at.
HEAD_BYTES = 1 << 16

# What people name by mistake: how it begins → what it is and what to do.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"PARE", "an encrypted Parquet file; decrypt it first"),
    (b"ARROW1", "an Arrow (Feather) file; save it as Parquet"),
    (b"FEA1", "a Feather file; save it as Parquet"),
    (b"\x93NUMPY", "a NumPy array without ids and types; put the vectors into Parquet or JSONL rows"),
    (b"\x89HDF", "an HDF5 file; save it as Parquet"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"ORC", "an ORC file; save it as Parquet"),
    (b"Obj\x01", "an Avro file; save it as Parquet"),
    (b"%PDF", "a PDF document"),
    (b"\xff\xd8\xff", "a photo (JPEG); name its folder, or a table of photos"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"),
    (b"PK\x05\x06", "an empty zip"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"\x7fELF", "a program"),
    *(
        (b"\x80" + bytes([protocol]), "a pickle, which is not opened: it can run code; save it as Parquet")
        for protocol in range(2, 6)
    ),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<error")


def what_else(head: bytes) -> str | None:
    """What a file that is none of ours is, in words; None where nothing is known against it."""
    for magic, words in _OTHERS:
        if head.startswith(magic):
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a picture (WebP)"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 30:
        return "a safetensors file; put the vectors into Parquet or JSONL rows"
    start = head[:2048].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_MARKUP):
        return "a web page (HTML or XML), perhaps a server's error; fetch the file itself"
    if start[:2] == b"bm" and head[6:10] == bytes(4):
        return "a picture (BMP)"
    if head[:2] not in (b"\xff\xfe", b"\xfe\xff") and b"\0" in head[:4096]:
        return "binary data that is neither Parquet nor a known compression; is it whole?"
    return None


def compression_of(head: bytes) -> str | None:
    """ "gzip", "bzip2", "xz", "zstd", "zip", or None."""
    return next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)


def suffix_of(name: str) -> str:
    """The suffix that says what a file holds, in small letters, without its compression's: rows.csv.gz → .csv."""
    suffixes = [suffix.lower() for suffix in PurePath(name.split("?")[0]).suffixes]
    while suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_data(name: str) -> bool:
    """Whether a file's name says that it holds rows or a table of them."""
    return suffix_of(name) in DATA_SUFFIXES


def delimiter_of(name: str, head: bytes) -> str | None:
    """What stands between a table's cells; None where the file is no table.

    The heading decides: it has one of the columns that are known, and no JSON begins there.
    """
    line = head.lstrip(b"\xef\xbb\xbf\r\n").partition(b"\n")[0].decode("utf-8", "replace").strip()
    if line[:1] in ("{", "[", ""):
        return None
    by_name = TABLE_SUFFIXES.get(suffix_of(name))
    for delimiter in dict.fromkeys((by_name or ",", ",", "\t", ";")):
        cells = {cell.strip().strip('"').strip() for cell in line.split(delimiter)}
        if cells & {"gridimage_id", "path", "embeddings", "embedding"} and (by_name or len(cells) > 1):
            return delimiter
    return by_name


def as_utf8(head: bytes) -> bytes:
    """A text's beginning as UTF-8, where a byte order mark says that it is UTF-16."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return head[2:].decode(encoding, "ignore").encode()
    return head
