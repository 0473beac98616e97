"""A dataset of the user's own: `dataset=any/target dataset._target_=my_package.MyData +dataset.arguments.size=32`.

Any object with these will do:

    shape          (C, H, W) of the images
    num_classes    how many classes there are
    load(train)    the training part, or with train=False the test part: `labs.data.images.Images`, uint8 of shape (N, *shape)
    prepare()      optional: download or check what load needs, before a sweep starts
"""

from numbers import Integral
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from labs import targets
from labs.data.images import Images
from labs.errors import UserError, one_line


class OwnDataset:
    """The user's object; whatever it returns is checked.

    Args:
        cfg: the `dataset` node, with `_target_` and `arguments`.

    Raises:
        UserError: if the object cannot be built, or lacks an attribute or method of a dataset.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.target = f"dataset._target_={cfg._target_}"
        arguments: Any = OmegaConf.to_container(cfg.arguments, resolve=True)
        make = targets.locate("dataset", cfg._target_)
        targets.check_arguments("dataset.arguments", {"_target_": cfg._target_, **arguments})
        self._object = self._call("cannot be made", make, **arguments)
        if lacking := [name for name in ("shape", "num_classes", "load") if not hasattr(self._object, name)]:
            raise UserError(f"{self.target}: has no {lacking[0]}; a dataset has shape, num_classes and load(train)")
        shape, classes = self._object.shape, self._object.num_classes
        numbers = [n for n in shape if isinstance(n, Integral) and int(n) > 0] if isinstance(shape, tuple | list) else []
        if not len(numbers) == len(shape) == 3:
            raise UserError(f"{self.target}: its shape is {one_line(str(shape))}; must be (channels, height, width)")
        if not (isinstance(classes, Integral) and int(classes) > 1):
            raise UserError(f"{self.target}: its num_classes is {one_line(str(classes))}; must be an integer of at least 2")
        self.shape, self.num_classes = (int(numbers[0]), int(numbers[1]), int(numbers[2])), int(classes)

    @property
    def num_images(self) -> tuple[int, int]:
        """The numbers of training and test images; both parts are read to count them."""
        return len(self.load(train=True)), len(self.load(train=False))

    def prepare(self) -> None:
        """Call the object's own `prepare`, if it has one, and check both parts."""
        if hasattr(self._object, "prepare"):
            self._call("prepare() fails", self._object.prepare)
        for train in (True, False):
            self.load(train=train)

    def load(self, *, train: bool) -> Images:
        """The part, checked.

        Raises:
            UserError: if it is not what the object says.
        """
        found = self._call(f"load(train={train}) fails", self._object.load, train=train)
        if flaw := self._flaw(found):
            raise UserError(f"{self.target}: load(train={train}) returns {flaw}")
        return found

    def _flaw(self, found: Any) -> str:
        if not isinstance(found, Images):
            return f"a {type(found).__name__}; must be labs.data.images.Images"
        images, labels, shape = found.images, found.labels, ", ".join(map(str, self.shape))
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.shape:
            what = f"{images.dtype} of shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            return f"images that are {what.removeprefix('torch.')}; must be uint8 of shape (N, {shape})"
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or tuple(labels.shape) != (len(images),):
            what = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
            return f"labels that are {what.removeprefix('torch.')}; must be int64 of shape ({len(images)},)"
        if len(found.classes) != self.num_classes:
            return f"{len(found.classes)} names of classes; must be {self.num_classes}"
        if not len(labels):
            return "no image"
        if labels.min() < 0 or labels.max() >= self.num_classes:
            return f"labels from {labels.min()} to {labels.max()}; must be from 0 to {self.num_classes - 1}"
        return ""

    def _call(self, what: str, function: Any, **arguments: Any) -> Any:
        try:
            return function(**arguments)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # of the user's own code
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{self.target}: {what} ({type(error).__name__}: {one_line(reason)})") from error
