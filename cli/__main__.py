"""``python -m braindecode_ssr_cli``."""

from . import main

main()
