"""How the files of a published dataset get into the data folder: unpacked from an archive that lies there, or downloaded.

If the MD5 of an archive's content is published, it is the one that is compared, so that a repacked archive is as good as the
original.
"""

import gzip
import hashlib
import io
import shutil
import socket
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from filelock import FileLock

from labs.data.images import Images
from labs.data.published import PUBLISHED, Published, absent, load, md5_of, verified
from labs.errors import UserError, one_line
from labs.files import user_path, write_atomically

TIMEOUT_SECONDS = 20.0


class Downloaded:
    """One of the datasets in `PUBLISHED`, below `data_dir`."""

    def __init__(self, name: str, data_dir: str, *, download: bool) -> None:
        self.name, self.data_dir, self.download = name, data_dir, download
        self.shape, self.num_classes = PUBLISHED[name].shape, PUBLISHED[name].num_classes
        self.num_images = PUBLISHED[name].num_images

    def prepare(self) -> None:
        """Make sure that all files are there and intact, downloading what is missing if `download`."""
        prepare(self.name, self.data_dir, download=self.download)

    def load(self, *, train: bool) -> Images:
        """Read the training or the test part. Call `prepare` first."""
        return load(self.name, self.data_dir, train=train)


def prepare(name: str, data_dir: str, *, download: bool) -> None:
    """Make sure that all files are there and intact: unpack archives found there, then download what is missing.

    Raises:
        UserError: what is missing or damaged, its MD5, and where to put it.
    """
    published, root = PUBLISHED[name], user_path(data_dir)
    if absent(published, root):
        archives = _archives(name, published, root)
        if archives or download:
            _fetch(name, published, root, archives, download=download)
        if absent(published, root):
            raise UserError(f"{name}: {_wanted(published, root)}; or set dataset.download=true")
    for file in published.files:
        verified(published, root, file)


def _archives(name: str, published: Published, root: Path) -> dict[str, dict[str, bytes]]:
    """The missing files found in archives in the dataset's folder, in the folder above or in `data_dir`, by archive."""
    missing, folder, found = absent(published, root), root / published.folder, dict[str, dict[str, bytes]]()
    gzips = {file: md5 for file, md5 in published.files.items() if file.endswith(".gz")}
    others = {md5 for other in PUBLISHED.values() if other is not published for md5 in (other.archives | other.files).values()}
    for archive, expected in (published.archives | gzips).items():
        names = [archive, archive.removesuffix(".gz")] if archive.endswith(".tar.gz") else [archive]
        if len(names) == 1 and not {archive, archive.removesuffix(".gz")} & {*missing}:
            continue
        for path in (place / each for place in dict.fromkeys((folder, folder.parent, root)) for each in names):
            if archive in found or not path.is_file():
                continue
            md5 = _md5_of_file(path, f"it must be a file of MD5 {expected}")
            if held := _held(path, published, missing):
                found[archive] = held
            elif md5 not in (expected, *others):  # Fashion-MNIST's archives are named like MNIST's
                reason = f"its MD5 is {md5} and must be {expected}, and it does not unpack to the published files"
                print(one_line(f"{name}: {path} is not used: {reason}"), flush=True)
    return found


def _held(path: Path, published: Published, missing: list[str]) -> dict[str, bytes]:
    """The missing files in an archive that have the published MD5; none if it unpacks to more bytes than the published one."""
    try:
        if path.name in missing:
            contents = {path.name: path.read_bytes()}  # read as it is
        else:
            with path.open("rb") if path.suffix == ".tar" else gzip.open(path) as file:
                unpacked = file.read(published.unpacked + 1)
            if len(unpacked) > published.unpacked:
                return {}
            contents = _members(unpacked, missing) if ".tar" in path.suffixes else {path.stem: unpacked}
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError):
        return {}
    return {file: content for file, content in contents.items() if file in missing and md5_of(content) == published.files[file]}


def _members(content: bytes, wanted: list[str]) -> dict[str, bytes]:
    """The files with these names in a tar archive, in any folder. Links and sparse files are skipped."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        members = {PurePosixPath(member.name).name: member for member in archive if member.isreg() and not member.issparse()}
        files = {name: archive.extractfile(members[name]) for name in wanted if name in members}
        return {name: file.read() for name, file in files.items() if file is not None}


def _fetch(name: str, published: Published, root: Path, archives: dict[str, dict[str, bytes]], *, download: bool) -> None:
    """Write what archives hold into the dataset's folder, and download the whole dataset if a file is still missing."""
    step, folder = "unpacking" if archives else "download", root / published.folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            for archive, contents in archives.items():
                if written := [file for file in contents if file in absent(published, root)]:  # else another process was faster
                    for file in written:
                        write_atomically(folder / file, contents[file])
                    print(one_line(f"{name}: {', '.join(written)} from {archive}, into {folder}"), flush=True)
            if download and absent(published, root):
                step = "download"
                _download(name, published, root)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: the {step} failed ({reason}); {_wanted(published, root)}") from error


def _download(name: str, published: Published, root: Path) -> None:
    """Download the whole dataset into a temporary folder, then move it into place, so that nothing partial is left behind."""
    from torchvision import datasets

    folder, before = root / published.folder, socket.getdefaulttimeout()
    for stale in root.glob(f".{name}-*"):  # of a process that was killed: whoever holds the lock is alone
        shutil.rmtree(stale, ignore_errors=True)
    print(one_line(f"{name}: downloading into {folder}"), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as staging:
            socket.setdefaulttimeout(TIMEOUT_SECONDS)
            getattr(datasets, published.torchvision_class)(staging, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in (Path(staging) / published.folder).iterdir():
                shutil.move(file, folder / file.name)
    finally:
        socket.setdefaulttimeout(before)


def _wanted(published: Published, root: Path) -> str:
    gone = absent(published, root)
    missing = ", ".join(f"{file} (MD5 {published.files[file]})" for file in gone)
    packed = [archive for archive in published.archives if archive.endswith(".tar.gz") or archive.removesuffix(".gz") in gone]
    archives = f" or {', '.join(packed)} to unpack," if packed else ""
    return (
        f"put {missing} into {(root / published.folder).absolute()},{archives} or name the folder that holds "
        f"{published.folder} with dataset.data_dir=… or LABS_DATA_DIR"
    )


def _md5_of_file(path: Path, needed: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {needed}") from error
