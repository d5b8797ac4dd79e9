"""The command line ``ssr-bd``: one file per command, no logic; a command is loaded when it is called."""

from .group import main

__all__ = ["main"]
