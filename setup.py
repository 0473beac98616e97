"""What pyproject.toml cannot say: a wheel has train.py and conf/ inside the package labs."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfiguration(build_py):
    """Build the packages, and unless they are used in place copy what lies beside them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copy("train.py", Path(self.build_lib, "labs"))
            shutil.copytree("conf", Path(self.build_lib, "labs", "conf"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfiguration})
