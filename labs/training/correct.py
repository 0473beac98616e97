"""test_correct.json: which test images a run got right, a bit an image, with what it takes to read them without the images."""

import base64
from pathlib import Path

import numpy as np
from torch import Tensor

from labs.data.images import Images
from labs.files import write_json

NAME = "test_correct.json"


def write(directory: Path, right: Tensor, images: Images, fingerprint: str) -> None:
    """Write the file of a run that was tested, in the order of the classes; about 1.7 kB for 10,000 images.

    Args:
        directory: of the run.
        right: which images were classified correctly, bool, shape (N,), in the order of the data set.
        images: the test images.
        fingerprint: theirs, as in result.json.
    """
    labels = images.labels.cpu().numpy()
    order = np.argsort(labels, kind="stable")
    content = {
        "test_data": fingerprint,
        "classes": images.classes,
        "images": np.bincount(labels, minlength=len(images.classes)).tolist(),
        "correct": base64.b64encode(np.packbits(right.cpu().numpy()[order]).tobytes()).decode(),
    }
    write_json(directory / NAME, content)
