"""Addresses that a catalogue or a redirect might name to reach what it must not: another server, or a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOOPBACK: Final = (
    "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.1", "127.0.1", "2130706433", "0x7f000001",
    "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.01", "127.0.0.1.", "127.0.0.2", "127.255.255.254",
    "0.0.0.0", "0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[::1%25lo]", "%31%32%37.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①",
    "\uff11\uff12\uff17.0.0.1", "loc%61lhost", "ⓛocalhost", "inside.test", "inside6.test", "mapped.test",
)  # fmt: skip
"""This machine, as URLs may write it; the last three are names that the test's name server answers for."""

ELSEWHERE: Final = (
    "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "metadata.test", "10.0.0.1", "192.168.0.1", "172.16.0.1",
    "100.64.0.1", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe", "metadata.google.internal", "evil.test",
    "xn--pple-43d.test", "\u0430pple.test",
)  # fmt: skip
"""Metadata services, private networks, and strangers."""

NAMES: Final = {
    "inside.test": "127.0.0.1",
    "inside6.test": "::1",
    "mapped.test": "::ffff:127.0.0.1",
    "metadata.test": "169.254.169.254",
}
"""Names that the user allowed, and what they stand for all the same."""


def hostile(good: str, bad: str, file: Path, secret: str) -> Iterator[str]:
    """Addresses that must lead nowhere.

    Args:
        good: ``host:port`` that may be asked.
        bad: ``host:port`` of a server that must see nobody, on a loopback address.
        file: a readable raster on this machine that nobody must open.
        secret: stands where passwords and signatures stand; must not be shown.
    """
    port = bad.rpartition(":")[2]
    for host in LOOPBACK:
        yield f"http://{host}:{port}/a.tif"
    for host in ("127.0.0.1", "[::1]", "2130706433", "localhost"):
        yield f"https://{host}:{port}/a.tif"
        yield f"HTTP://user:{secret}@{host}:{port}/a.tif"
    for host in ELSEWHERE:
        yield f"http://{host}/latest/meta-data/a.tif?sig={secret}"
    yield from _confusing(good, bad)
    yield from _other_schemes(bad)
    yield from _files(bad, file)


def _confusing(good: str, bad: str) -> Iterator[str]:
    """What one parser takes for one host, and another for another."""
    for joint in (
        "@",
        ":80@",
        "\\@",
        "%40",
        "#@",
        "?@",
        ";@",
        "%2f@",
        "/@",
        "\t@",
        " @",
        "%00@",
        "\x00@",
        "%0d%0a@",
    ):
        yield f"http://{good}{joint}{bad}/a.tif"
    for ending in ("\\", "\\\\", "/\\", "%5c"):
        yield f"http:{ending}{bad}/a.tif"
    yield f"//{bad}/a.tif"
    yield f"///{bad}/a.tif"
    yield f"/\\{bad}/a.tif"
    yield f"\\\\{bad}\\share\\a.tif"
    yield f"http:{bad}/a.tif"
    yield f"http:/{bad}/a.tif"
    yield f"http:///{bad}/a.tif"
    yield f"ht\ntp://{bad}/a.tif"
    yield f" http://{bad}/a.tif"
    yield f"\x01http://{bad}/a.tif"
    yield f"http://{bad}\r\nHost: {good}/a.tif"
    yield f"http://{good}\r\nX-Evil: 1\r\n\r\nGET http://{bad}/a.tif"
    yield f"http://{bad}%23.{good}/a.tif"
    yield f"http://{good}.evil.test/a.tif"
    yield f"http://{good}%2eevil.test/a.tif"
    yield f"http://[{bad}]/a.tif"
    yield f"http://[::ffff:{good}]@{bad}/a.tif"
    yield f"http://{good}:99999/a.tif"
    yield f"http://{good}:-1/a.tif"
    yield "http://" + "a" * 5000 + ".test/a.tif"
    yield "http://" + "a." * 200 + "test/a.tif"


def _other_schemes(bad: str) -> Iterator[str]:
    for scheme in (
        "ftp", "gopher", "dict", "ldap", "ws", "wss", "s3", "gs", "az", "swift", "hdfs", "jar:http", "zip+http",
        "zip+https", "http+unix", "view-source:http", "blob:http", "data",
    ):  # fmt: skip
        yield f"{scheme}://{bad}/a.tif"
    yield "javascript:alert(1)//a.tif"
    yield "data:image/tiff;base64,SUkqAAgAAAA=#a.tif"


def _files(bad: str, file: Path) -> Iterator[str]:
    """This machine's files, and what GDAL takes for addresses and drivers."""
    for prefix in (
        "",
        "file:",
        "file://",
        "file://localhost",
        "FILE://",
        "file:\\\\",
        "/../../../../../../../../../..",
    ):
        yield f"{prefix}{file}"
    yield f"{file}\x00.tif"
    for prefix in (
        "/vsicurl/", "/vsicurl_streaming/", "/vsicurl?url=", "/vsizip//vsicurl/", "/vsis3/", "/vsitar/",
        "/vsigzip/", "vrt://", "vrt:///vsicurl/", "GTIFF_DIR:1:/vsicurl/", "COG:/vsicurl/", "WMS:", "WCS:",
        "HTTP:", "DAAS:",
    ):  # fmt: skip
        yield f"{prefix}http://{bad}/a.tif"
    for prefix in (
        "/vsifile",
        "/vsisubfile/0_100,",
        "vrt://",
        "GTIFF_DIR:1:",
        "GTIFF_RAW:",
        "COG:",
        "PNG:",
        "/vsistdin?",
    ):
        yield f"{prefix}{file}"
    yield f"<VRTDataset><SimpleSource><SourceFilename>{file}</SourceFilename></SimpleSource></VRTDataset>.tif"
    yield f"<GDAL_WMS><Service><ServerUrl>http://{bad}/a.tif</ServerUrl></Service></GDAL_WMS>.tif"
    yield "/etc/passwd"
    yield "file:///etc/passwd"
    yield "file:///proc/self/environ"
    yield "/dev/stdin"
    yield "../../../../etc/passwd.tif"
    yield "C:\\Windows\\win.ini"
    yield "\\\\?\\C:\\a.tif"
