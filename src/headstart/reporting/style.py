"""The style sheet of the report: light and dark, for a phone, a desktop and paper.

Blue and orange of Okabe and Ito can be told apart with every kind of colour blindness; what they mean is
also shown by dashes or said in words.
"""

from __future__ import annotations

from typing import Final

_DARK: Final = """
--page: #0d1117; --card: #161b22; --ink: #e6edf3; --quiet: #9da7b3; --rule: #30363d; --blue: #56b4e9;
--orange: #f0a33c; --shade: 86, 180, 233; --error: #ff9a8d; color-scheme: dark;
"""

_LIGHT: Final = """
--page: #ffffff; --card: #f6f8fa; --ink: #1f2328; --quiet: #59636e; --rule: #d1d9e0; --blue: #0072b2;
--orange: #c2570a; --shade: 0, 114, 178; --error: #b3261e; color-scheme: light;
"""

CSS: Final = f"""
:root {{ {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; }}
h2 {{ font-size: 1.25rem; margin: 2.5rem 0 0.5rem; padding-top: 0.75rem; border-top: 1px solid var(--rule); }}
h3 {{ font-size: 1rem; margin: 1.25rem 0 0.25rem; }}
p, ul {{ max-width: 46rem; margin: 0.5rem 0; }}
ul {{ padding-left: 1.2rem; }}
.verdict {{ font-size: 1.2rem; line-height: 1.4; padding: 0.75rem 1rem; background: var(--card);
  border-left: 4px solid var(--blue); }}
.quiet, figcaption, .path {{ color: var(--quiet); }}
code, .path {{ font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: 0.85em; }}
pre {{ padding: 0.5rem 0.75rem; background: var(--card); border: 1px solid var(--rule);
  white-space: pre-wrap; }}
figure {{ margin: 0; }}
figcaption {{ font-size: 0.85rem; line-height: 1.35; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1rem; }}
.cards figure:has(.two) {{ grid-column: span 2; }}
.two {{ display: grid; grid-template-columns: 1fr 1fr; gap: 0.3rem; }}
.cards figcaption b {{ color: var(--ink); }}
.similar {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 0.2rem 0.3rem; margin-top: 0.3rem;
  font-size: 0.75rem; line-height: 1.2; }}
.similar .photo, .similar b {{ display: block; min-width: 0; }}
.similar b {{ hyphens: auto; overflow-wrap: break-word; }}
.similar > :first-child {{ grid-column: 1 / -1; }} .similar .missing {{ padding: 0.2rem; }}
.pairs {{ display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }}
.pair {{ padding: 0.6rem; background: var(--card); border: 1px solid var(--rule); }}
.pair > p {{ margin: 0 0 0.5rem; font-size: 0.9rem; line-height: 1.4; }}
.pair > div {{ display: grid; grid-template-columns: 1fr 1fr; gap: 0.6rem; }}
.photo {{ position: relative; display: inline-block; max-width: 100%; line-height: 0; }}
.photo img {{ max-width: 100%; height: auto; }}
.photo svg {{ position: absolute; inset: 0; width: 100%; height: 100%; }}
.photo rect {{ fill: none; stroke-width: 2.5; vector-effect: non-scaling-stroke; }}
.photo .edge {{ stroke: #ffffff; stroke-width: 4.5; }}
.photo .label {{ stroke: #0072b2; }} .photo .answer {{ stroke: #d55e00; stroke-dasharray: 7 4; }}
.missing {{ display: block; padding: 1.5rem 0.5rem; border: 1px dashed var(--rule); font-size: 0.85rem;
  color: var(--quiet); }}
.views {{ display: grid; grid-template-columns: repeat(5, 1fr); gap: 0.3rem; max-width: 46rem; }}
.views img {{ display: block; width: 100%; height: auto; }}
.error {{ color: var(--error); font-weight: 600; }}
.wide {{ overflow-x: auto; margin: 0.75rem 0; max-width: 100%; }}
table {{ border-collapse: collapse; font-size: 0.9rem; overflow-wrap: normal; }}
caption {{ text-align: left; color: var(--quiet); padding-bottom: 0.3rem; min-width: 16rem;
  max-width: min(46rem, 100vw - 2rem); }}
th, td {{ padding: 0.25rem 0.5rem; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; }}
th {{ font-weight: 600; }}
tbody th {{ font-weight: 500; max-width: 16rem; overflow-wrap: anywhere; }}
.numbers td {{ white-space: nowrap; }}
.numbers td, .numbers thead th + th {{ text-align: right; font-variant-numeric: tabular-nums; }}
.facts {{ width: 100%; table-layout: fixed; }}
.facts th {{ width: 30%; overflow-wrap: break-word; }} .facts td {{ overflow-wrap: anywhere; }}
.confusion td {{ text-align: center; min-width: 2.2rem; font-variant-numeric: tabular-nums;
  border: 1px solid var(--rule); }}
.confusion thead th + th {{ vertical-align: bottom; text-align: center; overflow-wrap: anywhere; }}
small {{ display: block; color: var(--quiet); white-space: nowrap; }}
.confusion .right {{ outline: 2px solid var(--blue); outline-offset: -2px; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr));
  gap: 1rem 1.5rem; margin: 0.75rem 0; }}
.beside {{ display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0 2rem; }}
.beside > .plot {{ flex: 1 1 19rem; }}
.plot {{ max-width: 26rem; }}
.chart {{ display: block; width: 100%; height: auto; font: 12px system-ui, "Segoe UI", Arial, sans-serif; }}
.chart text {{ fill: var(--ink); }} .chart .quiet {{ fill: var(--quiet); }}
.chart .count {{ font-size: 11px; }}
.chart .grid {{ stroke: var(--rule); }} .chart .bar {{ fill: var(--blue); }}
.chart .point {{ fill: var(--blue); fill-opacity: 0.65; }} .chart .mark {{ fill: var(--blue); }}
.chart .interval {{ stroke: var(--blue); stroke-width: 1.5; }}
.chart .diagonal {{ stroke: var(--quiet); stroke-dasharray: 4 4; }}
.chart .series {{ fill: none; stroke: var(--blue); stroke-width: 2; }}
.chart .dashed {{ stroke: var(--orange); stroke-dasharray: 6 4; }}
@media screen and (max-width: 30rem) {{
  table {{ font-size: 0.8rem; }} th, td {{ padding: 0.25rem 0.3rem; }}
}}
@media print {{
  @page {{ margin: 14mm; }}
  body {{ max-width: none; padding: 0; font-size: 10.5pt; }}
  .cards {{ grid-template-columns: repeat(4, 1fr); }} .pairs, .plots {{ grid-template-columns: 1fr 1fr; }}
  .wide {{ overflow: visible; }}
  figure, .pair, tr, .plot, .verdict {{ break-inside: avoid; }} h1, h2, h3, caption {{ break-after: avoid; }}
  caption {{ break-inside: avoid; }}
  .verdict, .pair, pre, .confusion td {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
}}
"""
