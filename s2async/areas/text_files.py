"""Decodes the text of area files: which encoding applies, and what is unusual about the result.

The encoding is determined, not guessed, in this order: the ``encoding`` of the configuration, a byte order mark,
UTF-8 if the bytes are valid UTF-8, the encoding that the file declares (a .cpg, an XML declaration). If none of
these applies, the file is refused.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import numpy as np

from s2async.errors import AreaError
from s2async.events import Notice
from s2async.text import one_line

_MARKS: Final = (  # UTF-32 first, because its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ODD: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
"""Control characters except tab and line ends, and the character that replaces a lost one."""
_RARE: Final = (b"\x7f", b"\xc2", "\ufffd".encode())
"""Bytes of which UTF-8 contains at least one for each character of `_ODD` from DEL on."""
_ADVICE: Final = 'if letters look wrong, set encoding, such as encoding = "cp1252", or save the file as UTF-8'
_STRETCH: Final = 1 << 20
"""Number of characters that are searched at once. Between them, other threads get the interpreter lock."""
_DECLARATION: Final = re.compile(rb"""\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([\w.:-]{1,40})["']""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """The decoded text of a file."""

    text: str
    """The text without byte order mark."""
    encoding: str
    """Python's name of the encoding."""
    notices: tuple[Notice, ...] = ()
    """What the user should check, such as control characters."""


def read_text(path: Path, encoding: str | None = None, declared: str | None = None) -> Text:
    """Read a text file.

    Args:
        path: the file.
        encoding: encoding that the configuration sets; None to determine it from the file.
        declared: encoding that the file, or a file that belongs to it, declares.

    Raises:
        AreaError: the file cannot be read, the encoding is unknown, or the text is not in it.
    """
    file = one_line(path, 200)
    return decoded(read_bytes(path), file, encoding, declared)


def read_bytes(path: Traversable) -> bytes:
    """Read a file.

    Raises:
        AreaError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise AreaError(
            f"{one_line(path, 200)}: cannot be read ({error.strerror or error}); name a readable file"
        ) from None


def decoded(raw: bytes, file: str, encoding: str | None = None, declared: str | None = None) -> Text:
    """Decode the bytes of a file.

    Args:
        raw: all bytes of the file.
        file: its name for messages.
        encoding: encoding that the configuration sets; None to determine it from the file.
        declared: encoding that the file, or a file that belongs to it, declares.

    Raises:
        AreaError: the encoding is unknown, or the text is not in it.
    """
    name = chosen(raw, file, encoding, declared)
    if name == "utf-8" and raw.startswith(codecs.BOM_UTF8):
        name = "utf-8-sig"
    try:
        text = raw.decode(name)
    except UnicodeError as error:
        raise AreaError(f"{_place(raw, file, error)}: {_misfit(name, error)}") from None
    text = text.removeprefix("\ufeff")
    notices = () if name.startswith("utf-8") and _is_plain(raw) else tuple(_notices(text, file))
    return Text(text=text, encoding=name, notices=notices)


def chosen(raw: bytes, file: str, encoding: str | None = None, declared: str | None = None) -> str:
    """Choose the encoding of bytes, and return Python's name of it.

    Args:
        raw: the bytes.
        file: where they are from, for messages.
        encoding: encoding that the configuration sets; None to determine it from the bytes.
        declared: encoding that the file declares.

    Raises:
        AreaError: the encoding is unknown, or the bytes are not UTF-8 and nothing is declared.
    """
    if encoding is not None:
        return known_encoding(encoding, "encoding")
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name
    if (wide := _wide(raw)) is not None:
        raise AreaError(f'{file}: every second byte is zero; set encoding = "{wide}", or save the file as UTF-8')
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if declared:
            return known_encoding(declared, f"{file}: its declared encoding")
        raise AreaError(f"{_place(raw, file, error)}: {_misfit('utf-8', error)}") from None
    return "utf-8"


def known_encoding(name: str, where: str) -> str:
    """Return Python's name of a text encoding.

    Args:
        name: name as written by a person or in a file, such as ``UTF-8``, ``latin1``, ``1252`` or ``ANSI 1252``.
        where: setting or file, for messages.

    Raises:
        AreaError: the encoding is unknown.
    """
    plain = name.strip()
    for candidate in (plain, *_code_pages(plain)):
        try:
            b"a".decode(candidate)  # this refuses codecs that are not for text, such as base64
        except UnicodeError:  # such as half a character of UTF-16
            pass
        except (LookupError, ValueError):
            continue
        return codecs.lookup(candidate).name
    raise AreaError(
        f'{where}: "{one_line(name)}" is not a known encoding; write one such as "utf-8", "cp1252" or "latin-1"'
    )


def xml_declaration(raw: bytes) -> str | None:
    """Return the encoding that an XML file declares in its first line; None if it declares none."""
    match = _DECLARATION.match(raw[:1000])
    return match[1].decode("ascii", "replace") if match else None


def _code_pages(name: str) -> Iterator[str]:
    """Yield Python's names for the names that Windows and ESRI programs write into .cpg files."""
    match = re.fullmatch(r"(?:ansi|oem|windows|cp|ms)?[ _-]*([0-9]{3,6})", name, re.IGNORECASE)
    if match:
        number = match[1]
        yield {"65001": "utf-8", "28591": "latin-1"}.get(number, f"cp{number}")
        if number.startswith("8859"):
            yield f"iso8859-{number[4:]}"
    match = re.fullmatch(r"(?:iso[ _-]?)?8859[ _-]?([0-9]{1,2})", name, re.IGNORECASE)
    if match:
        yield f"iso8859-{match[1]}"


def _wide(raw: bytes) -> str | None:
    """Return the name of UTF-16 without a byte order mark; such bytes may be valid UTF-8 with NUL characters."""
    start = raw[:4]
    if len(start) == 4 and start[1] == start[3] == 0 and start[0] and start[2]:
        return "utf-16-le"
    if len(start) == 4 and start[0] == start[2] == 0 and start[1] and start[3]:
        return "utf-16-be"
    return None


def _place(raw: bytes, file: str, error: UnicodeError) -> str:
    """Return the file, and the line of the first byte that cannot be decoded."""
    if not isinstance(error, UnicodeDecodeError):
        return file
    line = raw.count(b"\n", 0, error.start) + 1
    return f"{file}:{line}"


def _misfit(name: str, error: UnicodeError) -> str:
    shown = "UTF-8" if name in ("utf-8", "utf-8-sig") else name
    what = ""
    if isinstance(error, UnicodeDecodeError) and error.start < len(error.object):
        what = f" (byte {error.object[error.start]:#04x})"
    return f'not {shown}{what}; save the file as UTF-8, or set encoding, such as encoding = "cp1252"'


def _is_plain(raw: bytes) -> bool:
    """Return whether UTF-8 certainly has no character of `_ODD`: six times as fast as searching all characters."""
    if any(rare in raw for rare in _RARE):
        return False
    control = 0
    for start in range(0, len(raw), _STRETCH):
        control += int(np.count_nonzero(np.frombuffer(raw, np.uint8)[start : start + _STRETCH] < ord(" ")))
    return control == sum(map(raw.count, (b"\t", b"\n", b"\r")))


def _notices(text: str, file: str) -> Iterator[Notice]:
    first, count = -1, 0
    for start in range(0, len(text), _STRETCH):
        found = [match.start() for match in _ODD.finditer(text, start, start + _STRETCH)]
        count += len(found)
        if first < 0 and found:
            first = found[0]
    if first < 0:
        return
    line = text.count("\n", 0, first) + 1
    what = "a control character" if count == 1 else f"{count:,} control characters, the first"
    yield Notice(text=f"{file}:{line}: {what} (U+{ord(text[first]):04X}); {_ADVICE}")


def column_notices(columns: Mapping[str, Sequence[Any]], file: str) -> list[Notice]:
    """Return a notice for each column whose text has control characters, which suggest a wrong encoding.

    Args:
        columns: values by column; only columns with text are searched.
        file: the file, for the notices.
    """
    found = []
    for name, values in columns.items():
        for number, value in enumerate(values, start=1):
            # The first test is quick, and few of the values that fail it pass the second.
            if isinstance(value, str) and not value.isprintable() and (match := _ODD.search(value)):
                found.append(
                    Notice(
                        text=f'{file}: feature {number}: column "{one_line(name)}" has a control character '
                        f"(U+{ord(match[0]):04X}); {_ADVICE}"
                    )
                )
                break
    return found


# ---- the tables of Shapefiles -------------------------------------------------------------------------------

_DRIVERS: Final = {
    # Language driver to code page, as in GDAL (ogr/ogrsf_frmts/shape/ogrshapelayer.cpp, ConvertCodePage).
    **dict.fromkeys((1, 11, 13, 15, 17, 21, 24, 25, 27), "cp437"),
    **dict.fromkeys((2, 10, 14, 16, 18, 20, 22, 26, 29, 37, 55), "cp850"),
    **dict.fromkeys((3, 88, 89), "cp1252"),
    **dict.fromkeys((8, 23, 102), "cp865"),
    **dict.fromkeys((19, 123), "cp932"),
    **dict.fromkeys((28, 108), "cp863"),
    **dict.fromkeys((31, 34, 35, 64, 100, 135), "cp852"),
    36: "cp860",
    **dict.fromkeys((38, 101), "cp866"),
    **dict.fromkeys((77, 122), "cp936"),
    **dict.fromkeys((78, 121), "cp949"),
    **dict.fromkeys((79, 120), "cp950"),
    **dict.fromkeys((80, 124), "cp874"),
    87: "iso8859-1",
    103: "cp861",
    **dict.fromkeys((106, 134), "cp737"),
    **dict.fromkeys((107, 136), "cp857"),
    200: "cp1250",
    201: "cp1251",
    202: "cp1254",
    203: "cp1253",
    204: "cp1257",
}


def dbf_encoding(folder: Traversable, name: str, encoding: str | None = None) -> str:
    """Choose the encoding of a Shapefile's attributes, for pyogrio.

    The rule is that of other text: the configuration; UTF-8 if all text in the .dbf is valid UTF-8; the .cpg; the
    language driver in the header of the .dbf.

    Args:
        folder: folder of the Shapefile, which may be in a zip archive.
        name: name of its files without suffix.
        encoding: encoding that the configuration sets; None to determine it from the file.

    Returns:
        Python's name of the encoding; ``utf-8`` if there is no .dbf.

    Raises:
        AreaError: an encoding is unknown, or the text is not UTF-8 and nothing is declared.
    """
    if encoding is not None:
        return known_encoding(encoding, "encoding")
    table = _file(folder, name, ".dbf")
    if table is None:
        return "utf-8"
    raw = read_bytes(table)
    text = _dbf_text(raw)
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        declared, where = _cpg(folder, name)
        if declared:
            return known_encoding(declared, where)
        if len(raw) > 29 and (driver := _DRIVERS.get(raw[29])):
            return driver
        start = text.rfind(b"\n", 0, error.start) + 1
        cell = one_line(text[start:].split(b"\n", 1)[0].decode("latin-1").strip(), 30)
        raise AreaError(
            f'{one_line(table, 200)}: its text is not UTF-8 (such as "{cell}" if it is latin-1), and no .cpg says '
            'its encoding; set encoding, such as encoding = "cp1252"'
        ) from None
    return "utf-8"


def _file(folder: Traversable, name: str, suffix: str) -> Traversable | None:
    """Return the file of a Shapefile with this suffix, in upper or lower case."""
    for wanted in (suffix, suffix.upper()):
        if (file := folder / f"{name}{wanted}").is_file():
            return file
    return None


def _cpg(folder: Traversable, name: str) -> tuple[str, str]:
    """Return the encoding that a .cpg declares, and the file's name for messages; empty if there is no .cpg."""
    file = _file(folder, name, ".cpg")
    if file is None:
        return "", ""
    # Names of encodings are ASCII, but the file may contain anything.
    return read_bytes(file)[:100].decode("ascii", "replace").strip("\ufffd \r\n\t\0"), one_line(file, 200)


def _dbf_text(raw: bytes) -> bytes:
    """Return the names and cells of the text columns of a dBASE table, each on its own line.

    Format: dBASE III to 7 as used by Shapefiles: a header of 32 bytes (number of records at 4, sizes of header and
    record at 8 and 10), 32 bytes for each column (name, type at 11, width at 16), a byte 0x0d; then records, each
    after a byte that marks it as deleted. Numbers and dates are ASCII.
    """
    if len(raw) < 32:
        return b""
    count, start, width = struct.unpack_from("<IHH", raw, 4)
    lines: list[bytes] = []
    columns: list[slice] = []
    offset = 1
    for at in range(32, min(start, len(raw)) - 31, 32):
        if raw[at] == 0x0D:
            break
        lines.append(raw[at : at + 11].split(b"\0", 1)[0])
        size = raw[at + 16] + (raw[at + 17] << 8 if raw[at + 11 : at + 12] == b"C" else 0)
        if raw[at + 11 : at + 12] == b"C":
            columns.append(slice(offset, offset + size))
        offset += size
    body = raw[start : start + count * width] if width else b""
    if not body.isascii():
        lines += [
            body[at + column.start : at + column.stop] for column in columns for at in range(0, len(body), width)
        ]
    return b"\n".join(lines)
