"""Links within a folder of HTML pages: every file and every place in a page that one leads to is there.

python .ci/links.py FOLDER
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the names of its places."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


@cache
def page(path: Path) -> Page:
    found = Page()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def broken(folder: Path) -> list[str]:
    lost = []
    for path in sorted(set(folder.rglob("*.html")) - set(folder.glob("_*/**/*.html"))):
        for link in sorted(page(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            known = target.suffix != ".html" or not place or place in ("top", "#")
            if not target.exists() or not (known or place in page(target).places):
                lost.append(f"{path.relative_to(folder)}: {link}")
    return lost


if __name__ == "__main__":
    lost = broken(Path(sys.argv[1]).resolve())
    print(*lost, f"{len(lost)} broken links", sep="\n")
    sys.exit(bool(lost))
