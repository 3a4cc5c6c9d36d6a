"""Vectors of a Parquet file read where they lie, without a look at each number.

This project's writer leaves vectors as they are: neither compressed nor encoded, none of them null. Their pages
(https://parquet.apache.org/docs/file-format/data-pages) are then a header, how lists repeat, what is null, and the
numbers.
"""

from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PLAIN = {"PLAIN", "RLE"}  # how numbers and levels are encoded; a dictionary would be named, too
LONGEST_HEADER = 256  # bytes
MOST_AT_ONCE = 64 << 20  # bytes of a row group's vectors; our own groups have 8 MB
# A header is a struct of Thrift's compact protocol. It begins with the kind of page (0: of data) and its size, each
# after a byte that says "the next field, an int32".
FIELD, DATA_PAGE = 0x15, 0
INTEGERS, BOOLEANS, BYTE, BINARY, STRUCT = (4, 5, 6), (1, 2), 3, 8, 12


def read_vectors(file: BinaryIO, group: pq.RowGroupMetaData, column: int, out: np.ndarray) -> bool:
    """Reads a row group's vectors into `out`, float32 [rows, dim]; False where they do not lie there as they are.

    Args:
        file: opened without a buffer. column: the place of the vectors, see `vector_column`.
    """
    told, numbers, filled = group.column(column), memoryview(out).cast("B"), 0
    plain = told.compression == "UNCOMPRESSED" and PLAIN.issuperset(told.encodings) and told.physical_type == "FLOAT"
    if not plain or told.num_values != out.size:
        return False
    place = told.data_page_offset
    while filled < len(numbers):
        file.seek(place)
        head = file.read(LONGEST_HEADER)
        header, size = _header_of(head)
        repeated = 4 + int.from_bytes(head[header : header + 4], "little")
        file.seek(place + header + repeated)
        levels = repeated + 4 + int.from_bytes(file.read(4), "little")
        if not header or not 0 < size - levels <= len(numbers) - filled:
            return False
        file.seek(place + header + levels)
        if file.readinto(numbers[filled : filled + size - levels]) != size - levels:
            return False
        filled, place = filled + size - levels, place + header + size
    return place == told.data_page_offset + told.total_compressed_size  # fewer numbers where some are null


def vectors_of_group(
    file: BinaryIO, metadata: pq.FileMetaData, place: int, field: pa.Field, dim: int
) -> np.ndarray | None:
    """A row group's vectors, float32 [rows, dim]; None where they do not lie so, or are too many to hold."""
    kind, group = field.type, metadata.row_group(place)
    plain = pa.types.is_fixed_size_list(kind) and pa.types.is_float32(kind.value_type) and kind.list_size == dim
    if not plain or 4 * dim * group.num_rows > MOST_AT_ONCE:
        return None
    vectors = np.empty((group.num_rows, dim), np.float32)
    return vectors if read_vectors(file, group, vector_column(metadata, field.name), vectors) else None


def vector_column(metadata: pq.FileMetaData, name: str) -> int:
    """The place of a column of lists among a file's columns as Parquet counts them."""
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    return next(place for place, path in enumerate(paths) if path.split(".")[0] == name)


def _header_of(head: bytes) -> tuple[int, int]:
    """The length of a page's header and of its content; 0, 0 where this is no page of data."""
    if head[:3] != bytes([FIELD, DATA_PAGE, FIELD]):
        return 0, 0
    try:
        return _end_of_struct(head, 0), _integer(head, 3)[0] >> 1  # zigzag, of a number that is not negative
    except (IndexError, ValueError):
        return 0, 0


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def _end_of_struct(data: bytes, at: int) -> int:
    while byte := data[at]:
        kind, at = byte & 0x0F, at + 1
        if not byte >> 4:  # the field's number is not the next one, and follows
            at = _integer(data, at)[1]
        if kind in INTEGERS:
            at = _integer(data, at)[1]
        elif kind == BINARY:
            length, at = _integer(data, at)
            at += length
        elif kind == STRUCT:
            at = _end_of_struct(data, at)
        elif kind == BYTE:
            at += 1
        elif kind not in BOOLEANS:
            raise ValueError(f"a field of kind {kind}")
    return at + 1
