"""The page's style sheet: system fonts, tabular figures, light and dark, telephone and paper."""

LIGHT = """
  color-scheme: light;
  --bg: #fcfcfb; --panel: #ffffff; --ink: #17212d; --soft: #566372; --line: #e2e5e9; --grid: #e9ecef;
  --accent: #1d5fa6; --good: #1b7347; --bad: #b02a20; --bad-bg: #fdf0ee; --warn: #7c5200; --warn-bg: #fff8e8;
  --c0: #1d6fb8; --c1: #b9530f; --c2: #24805a; --c3: #7a4bab; --c4: #ac3366; --c5: #667200; --c6: #0d7d88; --c7: #80552f;
  --cb: #6a7684;
"""
DARK = """
  color-scheme: dark;
  --bg: #11161c; --panel: #171d25; --ink: #e8edf3; --soft: #a5b1bf; --line: #2b3541; --grid: #252e39;
  --accent: #7db8f2; --good: #71cf9f; --bad: #f2948b; --bad-bg: #2b191a; --warn: #e5bd6a; --warn-bg: #2a2417;
  --c0: #6db3f6; --c1: #f3a26a; --c2: #6fd0a0; --c3: #c4a3f0; --c4: #f291b8; --c5: #c6d15f; --c6: #5fccd7; --c7: #d3a982;
  --cb: #9aa6b3;
"""
STYLE = (
    f":root {{{LIGHT}}}\n@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{{DARK}}} }}\n"
    f":root[data-theme=dark] {{{DARK}}}\n@media print {{ :root:root:root {{{LIGHT}}} }}\n"
    """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 64px; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", Arial, sans-serif; font-variant-numeric: tabular-nums;
}
main { max-width: 1140px; margin: 0 auto; padding: 40px 32px 96px; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .88em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--grid); border-radius: 6px; padding: 12px 14px; margin: 8px 0; }
a { color: var(--accent); }
h1, h2, h3 { line-height: 1.2; font-weight: 640; letter-spacing: -.011em; overflow-wrap: anywhere; }
h1 { font-size: 34px; margin: 6px 0 8px; }
h2 { font-size: 23px; margin: 0 0 6px; }
h3 { font-size: 17px; margin: 30px 0 10px; }
section { margin-top: 72px; }
.lead, .description, .note { color: var(--soft); max-width: 74ch; margin: 0 0 18px; }
.note { font-size: 14px; }
.kicker { color: var(--soft); margin: 0; font-size: 14px; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }

nav {
  position: sticky; top: 0; z-index: 5; display: flex; align-items: center; gap: 12px;
  padding: 0 max(32px, calc(50% - 538px));
  background: color-mix(in srgb, var(--bg) 92%, transparent); backdrop-filter: blur(8px); border-bottom: 1px solid var(--line);
}
nav div { display: flex; gap: 22px; overflow-x: auto; scrollbar-width: none; flex: 1; }
nav a { color: var(--soft); text-decoration: none; white-space: nowrap; font-size: 14px; padding: 14px 0; }
nav a:hover { color: var(--ink); }
#theme { border: 0; background: none; color: var(--soft); font-size: 18px; padding: 8px; cursor: pointer; }

.stamp { display: inline-block; font-size: 12px; font-weight: 650; letter-spacing: .05em; padding: 2px 9px; border-radius: 99px; margin-left: 8px; }
.stamp.good { color: var(--good); border: 1px solid currentColor; }
.stamp.bad { color: var(--bg); background: var(--bad); }
.verdicts { margin: 34px 0 40px; }
.verdicts ul { list-style: none; padding: 0; margin: 0; }
.verdicts > ul:first-child > li { font-size: 20px; line-height: 1.45; max-width: 62ch; padding-left: 20px; margin-bottom: 16px; position: relative; }
.verdicts > ul:first-child > li::before { content: ""; position: absolute; left: 0; top: .38em; bottom: .38em; width: 4px; border-radius: 2px; background: var(--line); }
.verdicts > ul:first-child > li.good::before { background: var(--good); }
.verdicts > ul:first-child > li.bad::before { background: var(--bad); }
.verdicts .cautions { color: var(--soft); padding-left: 20px; max-width: 84ch; }
.verdicts .cautions li { margin: 7px 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 1px; margin: 0; background: var(--line); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.facts div { background: var(--panel); padding: 14px 16px; }
.facts dt { color: var(--soft); font-size: 13px; }
.facts dd { margin: 2px 0 0; font-size: 20px; font-weight: 600; overflow-wrap: anywhere; }
.facts small { display: block; font-size: 12.5px; font-weight: 400; color: var(--soft); line-height: 1.35; }
.alarm, .notes { border: 1px solid var(--warn); background: var(--warn-bg); border-radius: 10px; padding: 16px 22px; margin: 26px 0; }
.alarm { border-color: var(--bad); background: var(--bad-bg); }
.alarm h2 { color: var(--bad); font-size: 20px; }
.notes h3 { margin: 0 0 4px; color: var(--warn); }
.alarm ul, .notes ul { padding-left: 20px; margin: 8px 0; overflow-wrap: anywhere; }
.held td.bar { width: 160px; min-width: 90px; }
.held td.bar .whole { background: var(--good); }
.held td.bar span { display: block; height: 8px; border-radius: 4px; background: var(--bad); min-width: 2px; }

.scroll { overflow-x: auto; margin: 14px 0 6px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
caption { text-align: left; color: var(--soft); font-size: .93em; padding: 10px 0 6px; }
th, td { padding: 8px 12px; text-align: right; border-bottom: 1px solid var(--line); font-weight: 400; white-space: nowrap; vertical-align: middle; }
th.text, td.text, tbody th, tfoot th { text-align: left; }
td.text { white-space: normal; min-width: 96px; max-width: 340px; overflow-wrap: anywhere; }
th:first-child, td:first-child { padding-left: 2px; }
thead th { color: var(--soft); font-size: .9em; border-bottom: 1px solid color-mix(in srgb, var(--soft) 50%, var(--line)); vertical-align: bottom; }
tbody tr:hover { background: color-mix(in srgb, var(--grid) 55%, transparent); }
tfoot th, tfoot td { color: var(--soft); border-bottom: 0; padding-top: 5px; padding-bottom: 5px; }
tfoot tr:first-child > * { padding-top: 10px; }
th button { position: relative; font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th button::after { content: "↕"; opacity: 0; position: absolute; left: calc(100% + 2px); font-size: 11px; }
th:not(.text) button::after { left: auto; right: calc(100% + 2px); }
th:hover button::after { opacity: .5; }
th[aria-sort=ascending] button::after { content: "↑"; opacity: 1; }
th[aria-sort=descending] button::after { content: "↓"; opacity: 1; }
th.picture { text-align: left; padding-left: 14px; }
td.picture { width: 170px; min-width: 130px; padding: 2px 14px; }
.bounds { color: var(--soft); font-size: .9em; }
.keep { white-space: nowrap; }
.flag { font-size: 11px; font-weight: 600; color: var(--warn); border: 1px solid currentColor; border-radius: 99px; padding: 0 6px; margin-left: 4px; white-space: nowrap; }
.cell { font-weight: 600; white-space: nowrap; color: inherit; }
.cell i { display: inline-block; width: 9px; height: 9px; border-radius: 50%; background: var(--c); margin-right: 7px; }
.cell.cb i { background: none; box-shadow: inset 0 0 0 2px var(--c); }
.words { display: block; min-width: 270px; }
.against { color: var(--soft); font-weight: 400; margin: 0 4px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 0 0 12px; font-size: 14px; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); } .c4 { --c: var(--c4); }
.c5 { --c: var(--c5); } .c6 { --c: var(--c6); } .c7 { --c: var(--c7); } .cb { --c: var(--cb); }

figure { margin: 0; min-width: 0; }
figcaption { font-size: 14px; color: var(--soft); margin-bottom: 6px; }
figcaption b { color: var(--ink); font-weight: 620; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 28px 48px; margin-bottom: 22px; }
.rows { display: grid; grid-template-columns: minmax(72px, max-content) 1fr; column-gap: 16px; align-items: center; }
.rows .label { font-size: 14px; line-height: 1.3; overflow-wrap: anywhere; max-width: 180px; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
.rows .keep { white-space: normal; }
.rows .label.all { color: var(--soft); }
.track { display: block; overflow: visible; }
.grid { stroke: var(--grid); stroke-width: 1; }
.zero { stroke: var(--soft); opacity: .55; }
.whisker { stroke: var(--c); stroke-width: 2; stroke-linecap: round; opacity: .55; }
.track circle { fill: var(--c); }
.track .hollow circle { fill: var(--bg); stroke: var(--c); stroke-width: 2; }
.none { fill: var(--soft); font-size: 11px; }
.axis { position: relative; height: 22px; font-size: 12px; color: var(--soft); }
.axis span { position: absolute; transform: translateX(-50%); top: 2px; }
.matrices { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least, 290px)), 1fr)); gap: 20px 40px; }
.matrix caption { font-size: 15px; }
.matrix th, .matrix td { text-align: center; white-space: normal; border: 3px solid var(--bg); padding: 8px 6px; }
.matrix tbody td { border-radius: 8px; font-size: 18px; --tone: var(--bad); background: color-mix(in srgb, var(--tone) calc(var(--share) * 34%), var(--grid)); }
.matrix tbody td.right { --tone: var(--good); }
.matrix tbody td.lost { --tone: var(--warn); }
.matrix small { display: block; font-size: 12px; color: var(--ink); opacity: .85; }
.matrix tbody th { text-align: right; padding-right: 10px; }
.diagrams { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 24px 36px; }
.diagrams .plot { max-width: 300px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 26px 36px; }
.plot { display: block; width: 100%; height: auto; }
.plot text { fill: var(--soft); font-size: 11.5px; }
.plot circle { fill: var(--c); fill-opacity: .55; stroke: var(--c); }
.plot .mean { stroke: var(--ink); stroke-width: 2; opacity: .7; }
.path { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
.ideal { stroke: var(--soft); stroke-dasharray: 4 4; opacity: .7; }

details { margin: 14px 0; border-top: 1px solid var(--line); padding-top: 10px; }
summary { cursor: pointer; color: var(--soft); font-size: 14.5px; overflow-wrap: anywhere; }
details[open] > summary { color: var(--ink); margin-bottom: 6px; }
.receipt { display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 4px 22px; font-size: 14px; margin: 10px 0; }
.receipt dt { color: var(--soft); }
.receipt dd { margin: 0; overflow-wrap: anywhere; }
.packages code { display: inline-block; margin: 0 12px 4px 0; }
.masked { filter: blur(5px); cursor: pointer; user-select: none; }
.masked.shown { filter: none; user-select: text; }

@media screen and (max-width: 720px) {
  main { padding: 24px 18px 64px; }
  nav { padding: 0 18px; }
  nav div { gap: 18px; }
  h1 { font-size: 27px; }
  h2 { font-size: 21px; }
  section { margin-top: 52px; }
  .verdicts > ul:first-child > li { font-size: 17.5px; }
  .pictures { grid-template-columns: 1fr; }
  .facts { grid-template-columns: 1fr 1fr; }
  .receipt { grid-template-columns: 1fr; gap: 0; }
  .receipt dd { margin-bottom: 8px; }
  .rows .label { max-width: 110px; }
  .matrices, .diagrams, .charts { grid-template-columns: 1fr; }
  th, td { padding: 8px 9px; }
}
@media print {
  @page { margin: 14mm 12mm; }
  nav { display: none; }
  main { max-width: none; padding: 0; }
  body { font-size: 11px; }
  table { font-size: 9.5px; }
  th, td { padding: 3px 5px; }
  td.picture { width: 110px; min-width: 90px; padding: 1px 6px; }
  .scroll { overflow: visible; }
  section { margin-top: 26px; }
  h1 { font-size: 24px; }
  h2 { font-size: 17px; }
  h3 { font-size: 13px; margin-top: 16px; }
  .verdicts > ul:first-child > li { font-size: 15px; }
  .facts { grid-template-columns: repeat(3, 1fr); }
  .facts dd { font-size: 14px; }
  .pictures { gap: 12px 28px; }
  .matrix tbody td { font-size: 13px; }
  .matrices, .diagrams, .charts { grid-template-columns: repeat(3, 1fr); gap: 12px 18px; }
  .rows .label, figcaption, .legend, .axis { font-size: 10px; }
  tr, figure, .facts, .alarm, .verdicts li, .matrix { break-inside: avoid; }
  h2, h3, caption, .lead, .legend { break-after: avoid; }
  .cell i, .matrix td, .bar span, .stamp, .facts, .verdicts li::before { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .masked { filter: blur(3px); }
}
"""
)
