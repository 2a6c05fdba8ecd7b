"""How report pages look: one style sheet for the index and the slide pages, light, dark, narrow and printed."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --ink: #1d1b20; --paper: #fdfcff; --pale: #efedf4; --line: #cfccd6; --soft: #625f69;
  --accent: #5e35b1; --bad: #b3261e; --good: #2e7d32; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e1ea; --paper: #151318; --pale: #25222a; --line: #45414d;
  --soft: #aaa4b3; --accent: #b9a0f5; --bad: #f2b8b5; --good: #9ccc9f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 1200px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .5rem; }
a { color: var(--accent); } .soft { color: var(--soft); } .bad { color: var(--bad); } .good { color: var(--good); }
.bar label { display: flex; gap: .4rem; align-items: center; }
.bar { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: 1rem 0; }
input, select, button { font: inherit; color: inherit; background: var(--pale); border: 1px solid var(--line);
  border-radius: 6px; padding: .35rem .6rem; }
button { cursor: pointer; } button:disabled { opacity: .45; cursor: default; }
button[aria-pressed=true] { border-color: var(--accent); color: var(--accent); }
input[type=search] { flex: 1 1 12rem; min-width: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: middle; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th button { background: none; border: 0; padding: 0; font-weight: 600; text-align: inherit; }
td.name { overflow-wrap: anywhere; min-width: 9rem; }
img.thumb { display: block; width: 64px; height: 64px; object-fit: contain; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em;
  border: 1px solid #0003; print-color-adjust: exact; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 1rem; }
.pictures img { width: 100%; border: 1px solid var(--line); border-radius: 4px; background: #fff; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .9em; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
svg text { fill: var(--soft); font-size: 11px; } svg rect { fill: var(--accent); }
@media (max-width: 640px) { body { padding: .7rem; } .hide-narrow { display: none; }
  th, td { padding: .35rem .3rem; } }
@media print { .bar, .no-print { display: none; } body { max-width: none; font-size: 11px; }
  .pictures { grid-template-columns: repeat(3, 1fr); } tr, figure { break-inside: avoid; }
  h2 { break-after: avoid; } }
"""
