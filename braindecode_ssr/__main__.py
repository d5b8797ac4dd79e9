"""``python -m braindecode_ssr``: the command line."""

from braindecode_ssr_cli import main

if __name__ == "__main__":
    main()
