"""What mkdocs does not do: pages of files outside docs/, links to them, and the notebook as a page.

Links in the Markdown are those of the repository, so that they work there; here a link that leaves docs/ gets the page
or the file that stands for its target.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", **{name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}}
NOTEBOOK = "tutorial.ipynb"
DOCSTRING = re.compile(r"<!-- (:::.*?)\s*-->", re.DOTALL)  # a comment on GitHub, a docstring on the site
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")  # of a file, not of a site


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for path in [ROOT / "LICENSE", ROOT / "CITATION.cff", *sorted((ROOT / "studies").iterdir())]:
        if path.is_file():
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    if (old := files.get_file_from_path(NOTEBOOK)) is not None:
        files.append(File.generated(config, "tutorial.md", content=notebook_page(Path(str(old.abs_src_path)))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    at = {made: source for source, made in PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = DOCSTRING.sub(lambda match: match[1], markdown)
    return LINK.sub(lambda match: target(match[1], at, page.file.src_uri), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    r"""In a table's code GitHub needs `\|` for a bar; the site would show the backslash."""
    return CELL.sub(lambda match: match[0].replace(r"\|", "|"), html)


def target(link: str, source: str, page: str) -> str:
    """A link of the repository's file `source`, as the site's page `page` has it."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    path = PAGES.get(path, path.removeprefix("docs/"))
    return posixpath.relpath("tutorial.md" if path == NOTEBOOK else path, posixpath.dirname(page) or ".")


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its cells, and of each output the richest form."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [shown for output in cell["outputs"] if (shown := _output(output))]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        width = output.get("metadata", {}).get("image/png", {}).get("width", "")
        return f'<img alt="figure" width="{width}" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        kept = html if "<pre" in html else re.sub(r"\s*\n\s*", "", html)  # an empty line would end it
        return f'<div class="output">{kept.strip()}</div>'
    text = "".join(data.get("text/plain", output.get("text", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
