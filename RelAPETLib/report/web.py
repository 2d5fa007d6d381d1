"""What every HTML page has: one file, no network, escaped text, a policy that lets only our own script run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence

from ..notices import printable
from ..resources import resource

#: A page grows no larger than this.
MAX_BYTES = 10_000_000
BANNER = "SYNTHETIC, research only, not for diagnosis. A model's guess from MRI, not a measurement."


def text(value: object) -> str:
    """Any value as text of a page, whatever stands in it."""
    return html.escape(printable(value, limit=None), quote=True)


def paragraphs(lines: Iterable[object], kind: str = "li") -> str:
    """Lines as elements of a kind, escaped."""
    return "".join(f"<{kind}>{text(line)}</{kind}>" for line in lines)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], name: str = "", numbers: bool = True) -> str:
    """A table; cells that are `Raw` are not escaped. With `numbers`, all but the first column are set to the right."""
    mark = f' id="{text(name)}"' if name else ""
    css = "figures" if numbers else "words"
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table{mark} class="{css}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


class Raw(str):
    """HTML that is safe already."""


def _cell(value: object) -> str:
    return value if isinstance(value, Raw) else text(value)


def number(value: object, form: str = ".3f") -> str:
    """A number as the tables show it; ``n/a`` where there is none."""
    try:
        shown = float(value)
    except (TypeError, ValueError):
        return "n/a"
    return format(shown, form) if abs(shown) < float("inf") else "n/a"


def image(png: bytes, words: str, css: str = "figure") -> Raw:
    """A PNG in the page; `words` stand for it where it is not seen."""
    data = base64.b64encode(png).decode("ascii")
    return Raw(f'<img class="{css}" alt="{text(words)}" src="data:image/png;base64,{data}">')


def data_block(name: str, content: object) -> str:
    """Data for the script: JSON that cannot end the element it stands in."""
    words = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    words = words.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{text(name)}">{words}</script>'


def page(title: str, body: str, script: str) -> str:
    """A whole page.

    Args:
        title: of the window, not yet escaped.
        body: HTML.
        script: file of ``Resources/report`` that runs at the end; nothing else can, by the page's own policy.
    """
    style, code = _resource("page.css"), _resource(script)
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_digest(style)}'; "
        f"script-src 'sha256-{_digest(code)}'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="robots" content="noindex">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<div class="banner" role="note">{text(BANNER)}</div>\n<main>\n{body}\n</main>\n'
        f"<script>{code}</script>\n</body>\n</html>\n"
    )


def _resource(name: str) -> str:
    return resource("report", name).read_text(encoding="utf-8")


def _digest(words: str) -> str:
    return base64.b64encode(hashlib.sha256(words.encode("utf-8")).digest()).decode("ascii")


#: By level of a verdict: a sign that does not need colour.
VERDICTS = {"ok": "\u2713", "caution": "\u25b2", "refuse": "\u2717"}


def verdict_box(verdict: object) -> str:
    """What the checks said of a result (key ``verdict`` of its record), in its own words, or that none were made.

    A check that was not made is listed with the reason.
    """
    level = verdict.get("level") if isinstance(verdict, dict) else None
    if level not in VERDICTS:
        return '<section class="verdict unchecked" id="verdict"><h2>? Input check: not checked</h2></section>'
    checks = verdict.get("checks", {}).values()
    missing = [f"not checked: {line}" for check in checks if check["level"] == "not checked" for line in check["says"]]
    lines = [*verdict["reasons"], *missing]
    reasons = f"<ul>{paragraphs(lines)}</ul>" if lines else ""
    caveat = "" if level != "ok" else "<p>An input that looks as usual does not make the PET right.</p>"
    words = verdict.get("says") or f"Input check: {level}"
    words = text(words.replace(": " + "; ".join(verdict["reasons"]), "", 1))  # they are listed below it
    return (
        f'<section class="verdict {level}" id="verdict"><h2>{VERDICTS[level]} {words}</h2>{reasons}{caveat}</section>'
    )
