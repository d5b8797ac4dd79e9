"""Whether a wheel holds what it should: ``python wheel.py FILE.whl``."""

import sys
import zipfile

TOP = {"braindecode_ssr", "braindecode_ssr_cli"}


def main(path: str) -> None:
    """Exit with a message if a package is missing or something else slipped in."""
    names = zipfile.ZipFile(path).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if tops != TOP:
        sys.exit(f"expected the packages {sorted(TOP)} in {path}; found {sorted(tops)}")
    if "braindecode_ssr/py.typed" not in names:
        sys.exit(f"expected braindecode_ssr/py.typed in {path}; it is missing")
    sys.stdout.write(f"{path}: {len(names)} files, {sorted(tops)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
