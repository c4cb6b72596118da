"""Small files made to cost much, and what decoding each takes: `python -m pathological_images`.

Each is of as many pixels as a server takes, or as many bytes, and asks for the most of its format.
"""

import io
import multiprocessing
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from headstart_server.backbones.preprocessing.images import MAX_PIXELS, ImageDecoder
from headstart_server.errors import HeadstartError

#: Height and width of a square of as many pixels as are taken.
SIDE = 8000
#: Seconds that making a file may take.
_MAKING_SECONDS = 600.0
#: Bytes of the largest input that is taken.
MOST_BYTES = 32 << 20

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def scans(count: int, side: int = SIDE) -> bytes:
    """A progressive JPEG, grey, of a scan of means and then of so many of details, all of which are 0."""
    blocks = ((side + 7) // 8) ** 2
    tables = segment(0xDB, b"\0" + b"\1" * 64)
    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    # One code of one bit: a difference of 0, and in the scans of details the end of 2^14 blocks and more.
    means = segment(0xC4, b"\x00" + b"\1" + b"\0" * 15 + b"\0")
    details = segment(0xC4, b"\x10" + b"\1" + b"\0" * 15 + b"\xe0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    # Each run: a bit of code, and 14 that add to its length of 16,384.
    runs = "".join("0" + "1" * 14 for _ in range(-(-blocks // 32767)))
    packed = int(runs.ljust(-(-len(runs) // 8) * 8, "1"), 2).to_bytes(-(-len(runs) // 8), "big")
    one = segment(0xDA, b"\1\1\0\1\x3f\0") + packed.replace(b"\xff", b"\xff\0")
    return _SOI + tables + frame + means + details + first + one * count + _EOI


def lossless(height: int, width: int) -> bytes:
    """Gray level 128 all over: each pixel is as predicted, which is one bit, 0 (ITU-T T.81, annex H)."""
    components = b"".join(bytes([name, 0x11, 0]) for name in b"RGB")
    frame = struct.pack(">BHHB", 8, height, width, 3) + components
    codes = bytes([0, 1, 1, *bytes(14), 0, 1])
    scan = bytes([3, *b"R\0G\0B\0", 1, 0, 0])
    bits = bytes(-(-3 * height * width // 8))
    return _SOI + segment(0xC3, frame) + segment(0xC4, codes) + segment(0xDA, scan) + bits + _EOI


def fill_bytes() -> bytes:
    """A JPEG of nothing but bytes that may stand before a marker."""
    return _SOI + b"\xff" * (MOST_BYTES - 2)


def small_segments() -> bytes:
    """A JPEG of comments without a word."""
    return _SOI + segment(0xFE, b"") * (MOST_BYTES // 4 - 1)


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes, side: int = SIDE, bits: int = 16, color: int = 6, interlaced: bool = False) -> bytes:
    """A PNG of some chunks after its header."""
    header = struct.pack(">IIBBBBB", side, side, bits, color, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND")


def bomb(*, interlaced: bool = False) -> bytes:
    """A PNG that unpacks to a thousand times its bytes, the most that one of these pixels has."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 8 * SIDE)
    packed = b"".join(packer.compress(row) for _ in range(2 * SIDE)) + packer.flush()
    return png(_chunk(b"IDAT", packed), interlaced=interlaced)


def empty_chunks(kind: bytes = b"IDAT") -> bytes:
    """A PNG of chunks without content."""
    packed = _chunk(b"IDAT", zlib.compress(bytes(65 * 9)))
    return png(_chunk(kind) * (MOST_BYTES // 12 - 10), packed, side=8, bits=8)


def profile() -> bytes:
    """A PNG whose color profile unpacks to a gigabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    return png(
        _chunk(b"iCCP", b"a\0\0" + packed), _chunk(b"IDAT", zlib.compress(bytes(65 * 9))), side=8, bits=8
    )


def comments(nbytes: int = MOST_BYTES) -> bytes:
    """A GIF of a comment in pieces of a byte each."""
    good = io.BytesIO()
    Image.new("P", (8, 8)).save(good, "GIF")
    content = good.getvalue()
    place = 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    return content[:place] + b"!\xfe" + b"\1a" * ((nbytes - 200) // 2) + b"\0" + content[place:]


def animation(kind: str, frames: int = 60) -> bytes:
    """Many frames of a size, all alike but for a dot."""
    images = []
    for place in range(frames):
        pixels = np.zeros((1000, 1000), np.uint8)
        pixels[place, place] = 255
        images.append(Image.fromarray(pixels))
    out = io.BytesIO()
    images[0].save(out, kind, save_all=True, append_images=images[1:], lossless=True, method=0)
    return out.getvalue()


def tiny_frames(count: int) -> bytes:
    """A WebP of frames of a pixel."""
    one = io.BytesIO()
    Image.new("RGB", (1, 1)).save(one, "WEBP", lossless=True)
    image = one.getvalue()[12:]
    frame = bytes(12) + bytes([0, 0, 0, 0]) + image
    chunk = b"ANMF" + struct.pack("<I", len(frame)) + frame
    extended = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + bytes(6)
    content = b"WEBP" + extended + b"ANIM" + struct.pack("<I", 6) + bytes(6) + chunk * count
    return b"RIFF" + struct.pack("<I", len(content)) + content


def runs(compression: int, content: bytes, width: int = SIDE, height: int = SIDE) -> bytes:
    """A BMP of run lengths."""
    bits = {1: 8, 2: 4}[compression]
    palette = bytes(4 * (1 << bits))
    start = 54 + len(palette)
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(content), 0, 0, 1 << bits, 0
    )
    return struct.pack("<2sIHHI", b"BM", start + len(content), 0, 0, start) + info + palette + content


def turned() -> bytes:
    """A JPEG whose EXIF has as many entries as one directory can, none of which states the orientation."""
    count = 5000
    tiff = b"II*\0" + struct.pack("<IH", 8, count) + struct.pack("<HHII", 1, 3, 1, 6) * count
    out = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(out, "JPEG", exif=b"Exif\0\0" + tiff)
    return out.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG, ordinary, 64 Mpixel": lambda: _plain("JPEG"),
    "JPEG, progressive, in color": lambda: _plain("JPEG", progressive=True, subsampling=0, quality=85),
    "JPEG, 10 scans": lambda: scans(10),
    "JPEG, 90 scans": lambda: scans(90),
    "JPEG, 5,000 scans": lambda: scans(5000),
    "JPEG, 32 MiB of fill bytes": fill_bytes,
    "JPEG, 8 million comments": small_segments,
    "JPEG, 5,000 entries of EXIF": turned,
    "PNG, ordinary, 64 Mpixel": lambda: _plain("PNG"),
    "PNG, twice its 512 MB of zeros": bomb,
    "PNG, the same, interlaced": lambda: bomb(interlaced=True),
    "PNG, 3 million empty IDAT": empty_chunks,
    "PNG, 3 million unknown chunks": lambda: empty_chunks(b"aaAa"),
    "PNG, profile of 1 GiB": profile,
    "GIF, comment in 100,000 pieces": lambda: comments(200_000),
    "GIF, comment in 16 million pieces": comments,
    "GIF, 60 frames": lambda: animation("GIF"),
    "WebP, ordinary, 64 Mpixel": lambda: _plain("WEBP"),
    "WebP, lossless, 64 Mpixel": lambda: _plain("WEBP", lossless=True, quality=0, method=0),
    "WebP, 60 frames": lambda: animation("WEBP"),
    "WebP, 400,000 frames": lambda: tiny_frames(400_000),
    "BMP, runs of one pixel": lambda: runs(1, b"\1\1" * (MOST_BYTES // 2 - 1000)),
    "BMP, an empty line of 64 Mpixel": lambda: runs(1, b"\1\1\0\0", width=SIDE * SIDE, height=1),
    "BMP, a step past the end": lambda: runs(1, b"\0\2\0\0\xff\xff" * 9, width=SIDE * SIDE // 64, height=64),
}


def _plain(kind: str, **settings: object) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((SIDE // 8, SIDE // 8), 30).resize((SIDE, SIDE)).convert("RGB").save(
        out, kind, **settings
    )
    return out.getvalue()


def measure(name: str, results: "multiprocessing.connection.Connection") -> None:
    """Decode one file, and send bytes, seconds of processor time, MiB of memory and what came of it."""
    content = FILES[name]()
    results.send(None)
    # What making it took is not counted.
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")
    before, began = _peak(), time.process_time()
    try:
        ImageDecoder(224, max_pixels=MAX_PIXELS).decode(content)
        outcome = "decoded"
    except HeadstartError as error:
        outcome = f"refused: {error.message}"
    results.send((len(content), time.process_time() - began, _peak() - before, outcome))


def _peak() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def main(part: str = "", seconds: float = 60.0) -> None:
    """Print the table; each file is decoded in a separate process, which is ended after some seconds.

    Args:
        part: of the names of files that are measured.
        seconds: the most that a decode may take.
    """
    context = multiprocessing.get_context("spawn")
    print(f"{'file':<36}{'KiB':>8}{'CPU s':>9}{'MiB':>8}  outcome")
    for name in (each for each in FILES if part in each):
        ours, theirs = context.Pipe()
        process = context.Process(target=measure, args=(name, theirs))
        process.start()
        theirs.close()
        if ours.poll(_MAKING_SECONDS) and ours.recv() is None and ours.poll(seconds):
            try:
                nbytes, took, grown, outcome = ours.recv()
                print(f"{name:<36}{nbytes / 1024:>8.0f}{took:>9.2f}{grown:>8.0f}  {outcome[:90]}", flush=True)
            except EOFError:
                print(f"{name:<36}  the process died", flush=True)
        else:
            print(f"{name:<36}  more than {seconds:.0f} s", flush=True)
            process.kill()
        process.join()


if __name__ == "__main__":
    main(*sys.argv[1:2])
