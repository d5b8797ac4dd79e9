"""Published recipes, one file each: data, not code."""

from ..registry import Registry

METHODS = Registry(
    "method",
    {
        "ssr": "braindecode_ssr.methods.ssr:SSR",
        "neurobridge": "braindecode_ssr.methods.neurobridge:NEUROBRIDGE",
        "ubp": "braindecode_ssr.methods.ubp:UBP",
        "hyfi": "braindecode_ssr.methods.hyfi:HYFI",
        "ve-sdn": "braindecode_ssr.methods.ve_sdn:VE_SDN",
        "neural-mcrl": "braindecode_ssr.methods.neural_mcrl:NEURAL_MCRL",
        "cogcapturer": "braindecode_ssr.methods.cogcapturer:COGCAPTURER",
        "atm": "braindecode_ssr.methods.atm:ATM",
        "nice": "braindecode_ssr.methods.nice:NICE",
        "bravl": "braindecode_ssr.methods.bravl:BRAVL",
        "brain-hive": "braindecode_ssr.methods.brain_hive:BRAIN_HIVE",
        "ved": "braindecode_ssr.methods.ved:VED",
        "shallow-alignment": "braindecode_ssr.methods.shallow_alignment:SHALLOW_ALIGNMENT",
        "samga": "braindecode_ssr.methods.samga:SAMGA",
        "contrast": "braindecode_ssr.methods.contrast:CONTRAST",
        "ridge-decoding": "braindecode_ssr.methods.ridge_decoding:RIDGE_DECODING",
        "ridge-encoding": "braindecode_ssr.methods.ridge_encoding:RIDGE_ENCODING",
    },
)
