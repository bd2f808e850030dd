"""HTML in which all text is escaped: only ``Html`` is taken as it is, and only ``element`` makes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, TypeAlias

from headstart.columns import printable, width_of

_MOST_CHARACTERS: Final = 60  # of a name
_EMPTY: Final = frozenset({"img", "link", "meta"})  # elements without content


class Html(str):
    """Text that is HTML already. Adding it to other text gives plain text, which is escaped."""

    __slots__ = ()


Content: TypeAlias = str | Iterable["Content"] | None
"""Text, HTML, nothing, or several of them."""


def element(name: str, *content: Content, **attributes: str | None) -> Html:
    """Return an element.

    Args:
        name: Name of the element.
        content: Its content; everything but ``Html`` is escaped.
        attributes: By name; ``_`` stands for ``-``, and one at the end is dropped (``class_``). Those that
            are None are left out.
    """
    texts = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    begin = f"<{name}{texts}>"
    return Html(begin if name in _EMPTY else f"{begin}{html_of(content)}</{name}>")


def html_of(content: Content) -> Html:
    """Return content as HTML, escaped unless it is ``Html``."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(escape(content))
    return Html("".join(map(html_of, content)))


def named(text: str, most: int = _MOST_CHARACTERS) -> Html:
    """Return the name of a class or a photo, isolated from the direction of the text around it.

    Args:
        text: The name.
        most: Number of characters; of a longer name, the middle is left out.
    """
    return element("bdi", _shortened(printable(text), most))


def isolated(text: str) -> str:
    """Return the same as text, for names that are parts of sentences."""
    return (
        f"\N{FIRST STRONG ISOLATE}{_shortened(printable(text), _MOST_CHARACTERS)}\N{POP DIRECTIONAL ISOLATE}"
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most // 3) :]}"


def name_header(text: str, scope: str, before: str = "") -> Html:
    """Return the header of a row or column that is the name of a class: wide enough to be read.

    Args:
        text: The name.
        scope: ``row`` or ``col``.
        before: Text before the name.
    """
    width = min(width_of(before + text), 14) + 2
    return element("th", before, named(text), scope=scope, style=f"min-width: {width}ch")


def paragraph(*content: Content, class_: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *content, class_=class_)


def section(heading: str, *content: Content) -> Html:
    """Return a section of the page with a heading."""
    return element("section", element("h2", heading), *content)


def listing(items: Iterable[Content]) -> Html:
    """Return a list with a bullet for each item."""
    return element("ul", [element("li", item) for item in items])


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Content]]],
    class_: str = "numbers",
) -> Html:
    """Return a table that scrolls sideways where the page is too narrow.

    Args:
        caption: What it shows.
        header: Titles of the columns.
        rows: Header of each row, such as the name of a class, and its other cells.
        class_: ``numbers`` aligns all columns but the first at the right.
    """
    head = element("tr", [element("th", each, scope="col") for each in header])
    body = [
        element("tr", name_header(name, "row"), [element("td", each) for each in cells])
        for name, cells in rows
    ]
    return scrolling(
        caption,
        element(
            "table",
            element("caption", caption),
            element("thead", head),
            element("tbody", body),
            class_=class_,
        ),
    )


def scrolling(name: str, content: Html) -> Html:
    """Return content that scrolls sideways, also with the keyboard, where the page is too narrow."""
    return element("div", content, class_="wide", role="region", aria_label=name, tabindex="0")


def chart(svg: str, *caption: Content) -> Html:
    """Return a chart with a caption.

    Args:
        svg: Result of a function of ``charts.plots``, which escapes its text.
        caption: Its numbers, or what to look at.
    """
    return element("figure", Html(svg), element("figcaption", *caption), class_="plot")


def percent(share: float, decimals: int = 1) -> str:
    """Return a fraction as a percentage that is not broken over two lines."""
    return f"{share * 100:.{decimals}f}\N{NO-BREAK SPACE}%"
