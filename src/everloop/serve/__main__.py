"""The process of one replica: ``python -m everloop.serve '<ServeJob as JSON>'``."""

import sys

from everloop.serve.replica import main
from everloop.spec.errors import EverloopError

if __name__ == "__main__":
    try:
        main()
    except EverloopError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
