"""Where `train.py` and `conf/` are: in the root of the checkout, or inside this package where it was installed from a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IS_INSTALLED = (PACKAGE / "train.py").is_file()
HOME = PACKAGE if IS_INSTALLED else PACKAGE.parent
CONF = HOME / "conf"
