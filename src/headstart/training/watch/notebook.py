"""The progress bar in a Jupyter notebook."""

from __future__ import annotations

import html
import sys
from typing import Any

from headstart.training.watch.watcher import PhotoCount, Watcher


def in_notebook() -> bool:
    """Return whether output goes to a notebook, which can show HTML. IPython in a terminal cannot."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


class NotebookBar(Watcher):
    """Shows a progress bar for each pass over photos, and finally a line with its speed."""

    def __init__(self) -> None:
        self._shown: Any = None  # IPython's handle of the output that is updated

    def progressed(self, count: PhotoCount) -> None:
        """Update the bar, or replace it by the line."""
        from IPython.display import display

        content = {"text/html": bar_html(count), "text/plain": bar_text(count)}
        if self._shown is None:
            self._shown = display(content, raw=True, display_id=True)
        else:
            self._shown.update(content, raw=True)
        if count.is_over:
            self._shown = None


def bar_text(count: PhotoCount) -> str:
    """Return a line about the progress of a pass; empty if the pass was not needed."""
    if count.is_over and not count.done:
        return ""
    speed = f", {count.rate:,.0f} images/s" if count.done else ""
    if count.is_over:
        return f"{count.description}: {count.done:,} of {count.total:,} in {count.seconds:.1f} s{speed}"
    left = f", {count.seconds_left:,.0f} s left" if count.done else ""
    scores = f", {count.scores}" if count.scores else ""
    return f"{count.description}: {count.done:,} of {count.total:,}{speed}{left}{scores}"


def bar_html(count: PhotoCount) -> str:
    """Return the line with a bar, in colours that are readable on light and dark pages."""
    text = html.escape(bar_text(count))
    style = "font: 13px/1.6 system-ui, sans-serif"
    if count.is_over:
        return f'<div style="{style}; opacity: 0.75">{text}</div>'
    share = min(1.0, count.done / count.total) if count.total else 0.0
    track = "display: inline-block; width: 16em; height: 0.6em; margin-right: 0.8em; border-radius: 0.3em"
    return (
        f'<div style="{style}"><span style="{track}; background: rgba(128, 128, 128, 0.3); overflow: hidden">'
        f'<span style="display: block; width: {share:.1%}; height: 100%; background: #1f6feb"></span></span>'
        f"{text}</div>"
    )
