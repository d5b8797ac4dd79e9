"""``python -m braindecode_ssr_cli``."""

from . import main

if __name__ == "__main__":  # processes that are started by this one import it under another name
    main()
