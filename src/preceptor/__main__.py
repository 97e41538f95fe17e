"""`python -m preceptor` is the `preceptor` command."""

from __future__ import annotations

import sys

from preceptor.cli import main

sys.exit(main())
