// The report as one HTML file that needs nothing else: machine, plots, every table with its notes, runs that did not
// count. Pure: samples in, text out. No script, no link to anywhere.

import type { Failure, Sample, Table } from '../harness/environment.ts';
import { plotsOf } from './figures.ts';
import type { Machine } from './machine.ts';
import { escapeXml } from './plot.ts';
import { failureLines } from './table.ts';

export interface Report {
  readonly mode: string;
  readonly machine: Machine;
  readonly complete: boolean;
  readonly samples: readonly Sample[];
  readonly failures: readonly Failure[];
  readonly tables: readonly Table[];
  /** What was promised, and whether it was kept: stands first. */
  readonly goals: Table;
}

const style = `
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--grid:#d8dde3;--rival:#b4690e;--ours:#0b6bcb;--floor:#6b7280;--bad:#c62828;--good:#1b7f3b}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--paper:#14171b;--grid:#333a43;--rival:#f0a54a;--ours:#5aa9ff;--floor:#9aa3af;--bad:#ff7b72;--good:#6fcf8b}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:2rem auto;max-width:1360px;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
pre{white-space:pre-wrap;margin:.2rem 0}.bad{color:var(--bad);font-weight:600}.good{color:var(--good)}
.plots{margin-top:2rem;display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:1rem}
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}.grid{stroke:var(--grid);stroke-width:1}
polyline{fill:none;stroke-width:2}polyline.rival,line.rival{stroke:var(--rival)}polyline.ours,line.ours{stroke:var(--ours)}polyline.floor,line.floor{stroke:var(--floor)}
polyline.rival2{stroke:var(--rival);stroke-dasharray:5 4}polyline.ours2{stroke:var(--ours);stroke-dasharray:5 4}
circle.rival,circle.rival2,rect.rival,rect.rival2{fill:var(--rival)}circle.ours,circle.ours2,rect.ours,rect.ours2{fill:var(--ours)}circle.floor,rect.floor{fill:var(--floor)}rect.seg1{fill:#0e7c86}rect.seg2{fill:#8fb8de}rect.seg3{fill:#6d28d9}rect.seg4{fill:#c0587e}
.scroll{overflow-x:auto}table{border-collapse:collapse}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th:first-child,td:first-child{text-align:left}ul{margin:.4rem 0 0;padding-left:1.2rem;font-size:.9rem}`;

/** The whole file. */
export function htmlReport(report: Report): string {
  const { machine } = report;
  const head = [
    `${machine.date}, commit ${machine.commit}, ${report.mode} bench`,
    `${machine.cpus} x ${machine.cpu}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, load ${machine.load}`,
    `logs on ${machine.fileSystem}; bench on Node ${machine.node}`,
    `rival: ${machine.conmon.rival}`,
    `ours: ${machine.conmon.ours}`,
  ];
  const plots = plotsOf(report.samples);
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>conmon bench ${escapeXml(machine.date.slice(0, 10))}</title><style>${style}</style></head><body>`,
    '<h1>conmon bench</h1>',
    ...head.map((line) => `<pre>${escapeXml(line)}</pre>`),
    ...(report.complete ? [] : ['<p class="bad">Interrupted: this is what had been measured until then.</p>']),
    report.goals.rows.length === 0 ? '' : tableHtml(report.goals),
    plots.length === 0 ? '' : `<div class="plots">${plots.join('\n')}</div>`,
    ...report.tables.map(tableHtml),
    ...(report.failures.length === 0 ? [] : [failuresHtml(report.failures)]),
    '</body></html>',
    '',
  ].join('\n');
}

function tableHtml(table: Table): string {
  const cells = (tag: string, row: readonly string[]): string =>
    `<tr>${row.map((cell) => `<${tag}${verdictClass(cell)}>${escapeXml(cell)}</${tag}>`).join('')}</tr>`;
  const notes = table.notes.map((note) => `<li>${escapeXml(note)}</li>`).join('');
  return [
    `<h2>${escapeXml(table.title)}</h2><div class="scroll"><table><thead>${cells('th', table.header)}</thead><tbody>`,
    ...table.rows.map((row) => cells('td', row)),
    `</tbody></table></div>${notes === '' ? '' : `<ul>${notes}</ul>`}`,
  ].join('\n');
}

/** Cells that end with a verdict (./goals.ts) have its colour. */
function verdictClass(cell: string): string {
  if (/(^| )MISSED$/.test(cell)) return ' class="bad"';
  return /(^reached| ok)$/.test(cell) ? ' class="good"' : '';
}

function failuresHtml(failures: readonly Failure[]): string {
  const items = failureLines(failures).map((line) => `<li>${escapeXml(line)}</li>`);
  return `<h2 class="bad">Runs that failed and do not count</h2><ul>${items.join('')}</ul>`;
}
