"""The command `depth-labs`: train.py and the commands of both packages under one name, as `pip install .` gives it.

depth-labs train model.depth=20 model.residual=true     python train.py …
depth-labs analyse multirun/my_study                    python -m multirun_analysis …
"""

import runpy
import sys

from labs.places import HOME

MODULES = {
    "analyse": ("multirun_analysis", "tables, figures and a report of a study"),
    "summary": ("labs.summary", "the layers of a network"),
    "evaluate": ("labs.evaluate", "test saved weights again"),
    "lesion": ("labs.lesion", "test a trained network without some of its blocks"),
}
USAGE = "\n".join(
    ["usage: depth-labs COMMAND …", "", "  train      train one network, or with -m a sweep of them"]
    + [f"  {command:<10} {what}" for command, (_, what) in MODULES.items()]
    + ["", "depth-labs COMMAND --help says more."]
)


def main() -> None:
    """Run the command that the first argument names; wrong usage ends with status 1 and a line."""
    command, arguments = "".join(sys.argv[1:2]), sys.argv[2:]
    if command in ("", "-h", "--help"):
        print(USAGE)
    elif command == "train":
        sys.argv = [str(HOME / "train.py"), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
    elif command in MODULES:
        sys.argv[1:] = arguments
        runpy.run_module(MODULES[command][0], run_name="__main__", alter_sys=True)
    else:
        sys.exit(f"error: {command}: no such command; there is train, {', '.join(MODULES)}")


if __name__ == "__main__":
    main()
