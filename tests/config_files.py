"""Hydra, reading each file once: half of its time goes into parsing the same files, and tests compose thousands of times."""

import copy
from dataclasses import replace
from pathlib import Path

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

_load = ConfigRepository.load_config
_loaded: dict[tuple[object, ...], ConfigResult] = {}


def keep() -> None:
    """Keep what is read from now on, in this process and its forks. A file that has changed is read again."""
    ConfigRepository.load_config = load_config  # type: ignore[method-assign]
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined] # nothing changes the copy


def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    source = self._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or source.scheme() != "file":
        return _load(self, config_path)
    path = Path(source.path, f"{config_path.removesuffix('.yaml')}.yaml").resolve()
    key = (path, path.stat().st_mtime_ns, config_path)
    if key not in _loaded:
        loaded = _load(self, config_path)
        assert loaded is not None
        _loaded[key] = loaded
    return replace(copy.deepcopy(_loaded[key]), provider=source.provider, path=f"{source.scheme()}://{source.path}")
