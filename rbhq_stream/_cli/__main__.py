"""`python -m rbhq_stream._cli`: the command without its script."""

import sys

from rbhq_stream._cli import main

sys.exit(main())
