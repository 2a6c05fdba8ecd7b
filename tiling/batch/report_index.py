"""The page over all slides: a table that sorts, filters and searches thousands of rows, and histograms of areas.

The page draws fifty rows at a time, and everything that comes from files becomes text, never markup.
"""

from __future__ import annotations

import json
from typing import Any

from tiling.batch.report_style import STYLE

__all__ = ["INDEX", "script_data"]

_SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const [ID, STATUS, TILES, SECONDS, DOUBTS, AREAS, ERROR, PAGE, THUMB, PATH] = Array(10).keys();
const PER_PAGE = 50;
const by = id => document.getElementById(id);
let column = 'id', down = false, page = 0, status = '', rows = data.rows;
const value = {
  id: r => r[ID].toLowerCase(), status: r => r[STATUS], tiles: r => r[TILES], seconds: r => r[SECONDS],
  doubts: r => r[TILES] ? r[DOUBTS] / r[TILES] : 0, total: r => r[AREAS].reduce((a, b) => a === null ? b : a + b, null),
};
data.classes.forEach((c, i) => { value['class' + i] = r => r[AREAS][i]; });
function make(tag, text, name) {
  const it = document.createElement(tag);
  if (text !== undefined) it.textContent = text;
  if (name) it.className = name;
  return it;
}
const number = (x, d = 2) =>  // what was not measured is no zero
  x === null ? '' : x.toLocaleString('en', {minimumFractionDigits: d, maximumFractionDigits: d});
function heads() {
  const line = by('head');
  line.append(make('th', ''));
  const all = [['id', 'Slide'], ['status', 'Status'], ['tiles', 'Tiles', 1, 1], ['doubts', 'Doubtful', 1, 1],
    ['total', 'mm²', 1], ...data.classes.map((c, i) => ['class' + i, c.name, 1, 1, c.color])];
  for (const [key, title, right, wide, color] of all) {
    const head = make('th', undefined, (right ? 'number' : '') + (wide ? ' hide-narrow' : ''));
    const button = make('button');
    button.dataset.key = key;
    if (color) { const dot = make('span', undefined, 'swatch'); dot.style.background = color; button.append(dot); }
    button.append(title, make('span', ''));
    button.addEventListener('click', () => {
      down = column === key ? !down : !!right; column = key; page = 0; show();
    });
    head.append(button); line.append(head);
  }
}
function select() {
  const words = by('search').value.toLowerCase().split(/\\s+/).filter(Boolean);
  rows = data.rows.filter(r => (!status || r[STATUS] === status || (status === 'doubtful' && r[DOUBTS] > 0))
    && words.every(w => (r[ID] + ' ' + r[PATH] + ' ' + r[ERROR]).toLowerCase().includes(w)));
  const get = r => value[column](r) ?? -1, sign = down ? -1 : 1;
  rows.sort((a, b) => { const x = get(a), y = get(b); return x < y ? -sign : x > y ? sign : a[ID] < b[ID] ? -1 : 1; });
}
function show() {
  select();
  const pages = Math.max(1, Math.ceil(rows.length / PER_PAGE));
  page = Math.min(page, pages - 1);
  const body = by('rows');
  body.replaceChildren();
  for (const r of rows.slice(page * PER_PAGE, (page + 1) * PER_PAGE)) {
    const line = make('tr'), picture = make('td');
    if (r[THUMB]) picture.append(Object.assign(make('img', undefined, 'thumb'), {src: r[THUMB], alt: ''}));
    const name = make('td', undefined, 'name');
    const title = name.appendChild(make(r[PAGE] ? 'a' : 'span', r[ID]));
    if (r[PAGE]) title.href = r[PAGE].split('/').map(encodeURIComponent).join('/');
    if (r[ERROR]) name.append(make('div', r[ERROR], 'bad'));
    const mood = r[STATUS] === 'failed' ? 'bad' : r[STATUS] === 'empty' ? 'soft' : 'good';
    line.append(picture, name, make('td', r[STATUS], mood),
      make('td', r[TILES].toLocaleString('en'), 'number hide-narrow'),
      make('td', r[TILES] ? number(100 * r[DOUBTS] / r[TILES], 1) + ' %' : '', 'number hide-narrow'),
      make('td', number(value.total(r)), 'number'),
      ...r[AREAS].map(x => make('td', number(x), 'number hide-narrow')));
    body.append(line);
  }
  document.querySelectorAll('#head button').forEach(b => {
    b.lastChild.textContent = b.dataset.key === column ? (down ? ' ↓' : ' ↑') : '';
    b.parentNode.setAttribute('aria-sort', b.dataset.key !== column ? 'none' : down ? 'descending' : 'ascending');
  });
  by('count').textContent = `${rows.length.toLocaleString('en')} of ${data.rows.length.toLocaleString('en')} slides`;
  by('page').textContent = `${page + 1} / ${pages}`;
  by('before').disabled = page === 0;
  by('after').disabled = page >= pages - 1;
  histogram();
}
function histogram() {
  const i = +by('class').value, area = i < 0 ? value.total : r => r[AREAS][i];
  const values = rows.filter(r => r[STATUS] !== 'failed').map(area).filter(x => x !== null);
  const svg = by('histogram'), bins = 24, most = values.reduce((a, b) => Math.max(a, b), 0);
  svg.replaceChildren();
  const add = (tag, attributes, text) => {
    const it = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [k, v] of Object.entries(attributes)) it.setAttribute(k, v);
    if (text !== undefined) it.textContent = text;
    svg.append(it);
    return it;
  };
  if (!values.length || !(most > 0)) { add('text', {x: 10, y: 60}, 'No areas to show.'); return; }
  const counts = Array(bins).fill(0);
  for (const v of values) counts[Math.min(bins - 1, Math.floor(v / most * bins))]++;
  const tall = Math.max(...counts);
  counts.forEach((n, k) => {
    const bar = add('rect', {x: 10 + k * 20, y: 110 - 95 * n / tall, width: 18, height: 95 * n / tall});
    const title = document.createElementNS('http://www.w3.org/2000/svg', 'title');
    title.textContent = `${number(most * k / bins)} to ${number(most * (k + 1) / bins)} mm²: ${n} slides`;
    bar.append(title);
  });
  add('text', {x: 10, y: 126}, '0'); add('text', {x: 490, y: 126, 'text-anchor': 'end'}, `${number(most)} mm²`);
  add('text', {x: 490, y: 12, 'text-anchor': 'end'}, `highest bar: ${tall} slides`);
}
function begin() {
  heads();
  const kinds = [...new Set(data.rows.map(r => r[STATUS]))].sort();
  const doubtful = data.rows.some(r => r[DOUBTS] > 0) ? ['doubtful'] : [];
  for (const kind of ['', ...kinds, ...doubtful]) {
    const n = data.rows.filter(r => !kind || r[STATUS] === kind || (kind === 'doubtful' && r[DOUBTS] > 0)).length;
    const button = make('button', `${kind || 'all'} ${n.toLocaleString('en')}`);
    button.dataset.status = kind;
    button.setAttribute('aria-pressed', String(!kind));
    button.addEventListener('click', () => {
      status = kind; page = 0;
      document.querySelectorAll('#kinds button').forEach(b => b.setAttribute('aria-pressed', String(b === button)));
      show();
    });
    by('kinds').append(button);
  }
  by('class').append(new Option('all classes', -1), ...data.classes.map((c, i) => new Option(c.name, i)));
  by('class').addEventListener('change', histogram);
  by('search').addEventListener('input', () => { page = 0; show(); });
  by('before').addEventListener('click', () => { page--; show(); });
  by('after').addEventListener('click', () => { page++; show(); });
  show();
}
begin();
"""

INDEX = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{{{{title}}}} – slides</title><style>{STYLE}</style></head><body>
<h1>{{{{title}}}}</h1>
<p class="soft">{{{{when}}}} · Research use only, not for diagnosis.</p>
<div class="bar"><input id="search" type="search" placeholder="Search slides, paths, errors" aria-label="Search">
<span id="kinds" class="bar" style="margin:0"></span></div>
<div class="no-print"><label>Areas of <select id="class"></select></label>
<svg id="histogram" viewBox="0 0 500 132" role="img" aria-label="Histogram of areas over slides"
 style="width:100%;max-width:640px;display:block"></svg></div>
<div class="wide"><table><thead><tr id="head"></tr></thead><tbody id="rows"></tbody></table></div>
<div class="bar"><button id="before">Earlier</button><span id="page"></span><button id="after">Later</button>
<span id="count" class="soft"></span></div>
<noscript>This list needs JavaScript; summary.csv beside it has the same rows.</noscript>
<script id="data" type="application/json">{{{{data}}}}</script>
<script>{_SCRIPT}</script></body></html>
"""


def script_data(data: Any) -> str:
    """Return JSON for a script element: what could end the script, or begin another, is written as JSON can."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
