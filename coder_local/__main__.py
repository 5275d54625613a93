"""`python -m coder_local`, the same as `coder-local`."""

import sys

from coder_local.cli import main

if __name__ == "__main__":
    sys.exit(main())
