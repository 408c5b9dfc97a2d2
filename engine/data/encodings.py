"""From the bytes of a text file to its characters: byte order marks, UTF-8, UTF-16 and the older code pages."""

import re

from charset_normalizer import from_bytes

from engine.errors import DataError

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig", "UTF-8 with a byte order mark"),
    (b"\xff\xfe\x00\x00", "utf-32", "UTF-32"),
    (b"\x00\x00\xfe\xff", "utf-32", "UTF-32"),
    (b"\xff\xfe", "utf-16", "UTF-16 LE"),
    (b"\xfe\xff", "utf-16", "UTF-16 BE"),
)
_SAMPLE = 64_000
_CODE_PAGES = [
    "cp1252", "cp1251", "cp1253", "cp1255", "cp1256", "koi8_r",
    "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr",
]  # fmt: skip
# Letters of cp1250 that cp1252 would turn into signs in the middle of a word, such as the Polish l with a stroke.
_CENTRAL_EUROPEAN = re.compile(rb"[a-z][\xb3\xb9\xbf\xbe]|[\xb3\xbf\xbe][a-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1e]")


def decode(data: bytes, name: str) -> tuple[str, str | None]:
    """The characters of a text file, and a remark where it was anything but plain UTF-8.

    Raises DataError where the bytes are no text in any encoding that can be recognised.
    """
    text, remark = _decode(data, name)
    if "\x00" in text or len(_CONTROL.findall(text[:_SAMPLE])) > 0.005 * len(text[:_SAMPLE]):
        raise not_text(name)
    return text, remark


def not_text(name: str) -> DataError:
    """The fault of a file whose bytes are no table of any kind that can be read."""
    return DataError(
        f"{name} holds binary data that is no table: export it again as CSV (UTF-8), Excel .xlsx, JSONL or Parquet."
    )


def _decode(data: bytes, name: str) -> tuple[str, str | None]:
    for mark, codec, words in _MARKS:
        if data.startswith(mark):
            return _strictly(data, codec, words, name), f"Read as {words}."
    codec_without_mark = _utf16_without_mark(data)
    if codec_without_mark:
        words = "UTF-16 LE" if codec_without_mark == "utf-16-le" else "UTF-16 BE"
        return _strictly(data, codec_without_mark, words, name), f"Read as {words} (it has no byte order mark)."
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as fault:
        return _mended_utf8(data, fault.start) or _code_page(data, name)


def _strictly(data: bytes, codec: str, words: str, name: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        raise DataError(
            f"{name} begins like {words} but breaks off inside a character: export it again as CSV (UTF-8)."
        ) from None


def _utf16_without_mark(data: bytes) -> str | None:
    head = data[:4096]
    if len(head) < 8 or b"\x00" not in head:
        return None
    half = len(head) // 2
    zeros_even, zeros_odd = head[::2].count(0) / half, head[1::2].count(0) / half
    if zeros_odd > 0.4 and zeros_even < 0.05:
        return "utf-16-le"
    return "utf-16-be" if zeros_even > 0.4 and zeros_odd < 0.05 else None


def _mended_utf8(data: bytes, first_fault: int) -> tuple[str, str] | None:
    """UTF-8 with a few broken bytes, which a code page would turn into nonsense everywhere else."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    beyond_ascii = sum(len(run) for run in re.findall(r"[^\x00-\x7f]+", text))
    if broken > 0.1 * beyond_ascii:
        return None
    line = data.count(b"\n", 0, first_fault) + 1
    return text, f"Read as UTF-8; {broken:,} broken characters, the first in line {line:,}, were replaced by \ufffd."


def _code_page(data: bytes, name: str) -> tuple[str, str]:
    telling = b"\n".join(line for line in data[: 50 * _SAMPLE].splitlines() if not line.isascii())[:_SAMPLE]
    codec = _other_script(telling) or ("cp1250" if _CENTRAL_EUROPEAN.search(telling) else "cp1252")
    try:
        return data.decode(codec), f"Read as {codec}, since it is not UTF-8; check the accents."
    except UnicodeDecodeError:
        raise not_text(name) from None


def _other_script(telling: bytes) -> str | None:
    """The code page of a text in another script than Latin, where most letters lie beyond ASCII."""
    beyond = sum(byte > 127 for byte in telling)
    if beyond < sum(bytes((byte,)).isalpha() for byte in telling):
        return None
    best = from_bytes(telling, cp_isolation=_CODE_PAGES).best()
    return best.encoding if best else None
