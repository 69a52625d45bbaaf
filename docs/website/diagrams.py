"""Mermaid diagrams as SVG files, so that the site loads no script for them.

mermaidx runs the Mermaid library in an embedded JavaScript engine, without a browser.
"""

import hashlib
import json
import os
import re
from pathlib import Path, PurePosixPath

import mermaidx

from docs.website.code_blocks import FENCED

_FOLDER = PurePosixPath("diagrams")
# In pixels; Mermaid's defaults are about twice as large. Without useMaxWidth, an image has its natural width.
_FLOWCHART = {
    "nodeSpacing": 30,
    "rankSpacing": 25,
    "padding": 8,
    "subGraphTitleMargin": {"top": 4, "bottom": 16},
    "useMaxWidth": False,
}
# Theme of Mermaid for each palette of the site; the theme of the site hides the image of the other palette.
_THEMES = {"light": "neutral", "dark": "dark"}
_FONTS = "DejaVu Sans, Verdana, sans-serif"  # mermaidx measures texts in the first, the widest of these


def replace(text: str, page: PurePosixPath, site: Path) -> str:
    """Return the text of a page with images instead of Mermaid blocks; write the images into the folder `site`.

    Raises:
        RuntimeError: a diagram has a syntax error.
    """

    def image(match: re.Match[str]) -> str:
        if match["language"] != "mermaid":
            return match[0]
        title = re.findall(r"^#+ (.+)$", text[: match.start()], re.MULTILINE)[-1]
        files = {palette: os.path.relpath(_drawn(match["content"], palette, site), page.parent) for palette in _THEMES}
        shown = "".join(f"![Diagram: {title}]({file}#only-{palette})" for palette, file in files.items())
        return f'<div class="diagram" markdown>\n\n{shown}\n\n</div>'

    return FENCED.sub(image, text)


def _drawn(source: str, palette: str, site: Path) -> PurePosixPath:
    file = _FOLDER / f"{hashlib.sha256(source.encode()).hexdigest()[:12]}-{palette}.svg"
    settings = {"theme": _THEMES[palette], "fontFamily": _FONTS, "flowchart": _FLOWCHART}
    narrow = source.replace("flowchart LR", "flowchart TB", 1)  # a page is 700 pixels wide, on a phone 360
    (site / _FOLDER).mkdir(parents=True, exist_ok=True)
    (site / file).write_text(mermaidx.render(f"%%{{init: {json.dumps(settings)}}}%%\n{narrow}").svg())
    return file
