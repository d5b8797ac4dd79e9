"""Published recipes, one file each: data, not code."""

from ..registry import Registry

METHODS = Registry(
    "method",
    {
        "ssr": "braindecode_ssr.methods.ssr:SSR",
        "neurobridge": "braindecode_ssr.methods.neurobridge:NEUROBRIDGE",
        "contrast": "braindecode_ssr.methods.contrast:CONTRAST",
    },
)
