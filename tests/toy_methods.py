"""A method of somebody else, in a module that can be imported by its name."""

from braindecode_ssr.methods import Method

READS = Method(
    name="reads",
    title="Reads",
    year=2030,
    source="nobody",
    settings={"loss": {"name": "contrast"}},
    needs=("caption",),
)
