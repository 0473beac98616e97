"""List the content of an image folder: possible images, and files that other programs and systems have left behind."""

import os
import re
import unicodedata
from pathlib import Path

from labs.errors import UserError

# Image types that are read (the first frame of several); Pillow may lack the library for some.
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".qoi",
)  # fmt: skip
LIBRARIES = {".webp": "webp", ".avif": "avif", ".jp2": "jpg_2000", ".j2k": "jpg_2000"}
LEFT_BEHIND = {
    "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "$recycle.bin",
    "system volume information", "lost+found", "__pycache__", ".ds_store", "._.ds_store",
}  # fmt: skip
# Lock and swap files of office programs and editors, unfinished downloads, and backup copies.
TEMPORARY = re.compile(
    r"~\$.*|#.*#|.*(~|\.(part|partial|filepart|crdownload|opdownload|download|tmp|temp|sw[a-p]))", re.IGNORECASE | re.DOTALL
)


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, without hidden folders and files that systems leave behind.

    Hidden files with a suffix are included, so that they are counted, see `is_leftover`.

    Raises:
        UserError: if the folder cannot be read.
    """
    return sorted(_scan(folder), key=_by_name)


def folders(folder: Path | str, *, all_links: bool = False) -> list[os.DirEntry[str]]:
    """The folders in a folder, by name. Without `all_links` each is listed once, and links to folders above are left out."""
    every = sorted(filter(is_folder, _scan(folder)), key=_by_name)
    if all_links or not any(entry.is_symlink() for entry in every):
        return every
    real, met, found = os.path.realpath(folder), set[str](), []
    for entry in sorted(every, key=lambda entry: entry.is_symlink()):
        target = os.path.realpath(entry.path)
        if target not in met and os.path.commonpath([real, target]) != target:
            met.add(target)
            found.append(entry)
    return sorted(found, key=_by_name)


def _scan(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if _is_shown(entry)]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error


def _is_shown(entry: os.DirEntry[str]) -> bool:
    if entry.name.casefold() in LEFT_BEHIND:
        return False
    return not entry.name.startswith(".") or (os.path.splitext(entry.name)[1] != "" and not is_folder(entry))


def _by_name(entry: os.DirEntry[str]) -> tuple[str, str]:
    return normal(entry.name), entry.name


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    if entry.is_symlink():
        return os.path.isdir(entry.path)  # where a link leads to itself, entry.is_dir() raises
    return entry.is_dir()


def is_leftover(name: str) -> bool:
    """Whether a file of this name is hidden or temporary (`._cat.png`, `~$cat.png`), and not an image, whatever its suffix."""
    return name.startswith(".") or TEMPORARY.fullmatch(name) is not None


def holds_images(folder: str) -> bool:
    """Whether a file in this folder, or in one below it, is an image by its name."""
    files = (name for _, _, names in os.walk(folder) for name in names)
    return any(os.path.splitext(name)[1].lower() in SUFFIXES and not is_leftover(name) for name in files)


def readable_suffixes() -> set[str]:
    """The suffixes of the image types that Pillow can read here."""
    from PIL import features

    return {suffix for suffix in SUFFIXES if suffix not in LIBRARIES or features.check(LIBRARIES[suffix])}


def normal(name: str) -> str:
    """The name in Unicode's composed form (NFC): macOS and Linux write é differently."""
    return unicodedata.normalize("NFC", name)
