"""Links of a page: from paths of the repository to pages of the site, or to files on GitHub."""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from docs.website.code_blocks import FENCED

REPOSITORY = "https://github.com/embedwire/embedwire"
_IMAGES = {".png", ".svg"}
# Code comes first, since it may contain the syntax of a link.
_LINK = re.compile(
    rf"{FENCED.pattern}|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
    r"|(?P<before>\]\(|^\[[^\]\n]+\]:[ ]+)(?P<target>[^)\s]+)",
    re.DOTALL | re.MULTILINE,
)


class Links:
    """Rewrites the links of pages.

    Args:
        root: folder of the repository.
        pages: the page of the site for each source file.

    Attributes:
        images: the image files that pages show, with their paths in the site.
        faults: links whose target does not exist, as text for a developer.
    """

    def __init__(self, root: Path, pages: Mapping[PurePosixPath, PurePosixPath]) -> None:
        self._root = root
        self._pages = pages
        self.images: dict[PurePosixPath, PurePosixPath] = {}
        self.faults: list[str] = []

    def rewrite(self, text: str, source: PurePosixPath) -> str:
        """Return the text of a page with the links of the site; `source` is its path in the repository."""

        def changed(match: re.Match[str]) -> str:
            if match["target"] is None:
                return match[0]
            return match["before"] + self._link(match["target"], source)

        return _LINK.sub(changed, text)

    def _link(self, link: str, source: PurePosixPath) -> str:
        path, hash_sign, fragment = link.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return link
        target = PurePosixPath(os.path.normpath(source.parent / path))
        if target.parts[0] == ".." or not (self._root / target).exists():
            self.faults.append(f"{source}: {link} does not exist")
            return link
        return self._location(target, source) + hash_sign + fragment

    def _location(self, target: PurePosixPath, source: PurePosixPath) -> str:
        here = self._pages[source].parent
        index = target / "README.md"
        if page := self._pages.get(target) or self._pages.get(index):
            return os.path.relpath(page, here)
        if target.suffix in _IMAGES:
            self.images[target] = "images" / target
            return os.path.relpath(self.images[target], here)
        return f"{REPOSITORY}/{'tree' if (self._root / target).is_dir() else 'blob'}/main/{target}"
