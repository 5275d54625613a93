"""The script of the one-folder build: pyinstaller.spec names it, because a build starts by a script and no module."""

import sys

from coder_local._frozen import main

sys.exit(main())
