// The report as one HTML file that needs nothing else: machine, plots, every table with its notes, runs that did not
// count. Pure: samples in, text out. No script, no link to anywhere.

import type { Failure, Sample, Subject, Table } from '../harness/environment.ts';
import type { Machine } from './machine.ts';
import { barPlot, escapeXml, linePlot, type Series } from './plot.ts';
import { metric, variantsOf } from './select.ts';
import { median } from './statistics.ts';

export interface Report {
  readonly mode: string;
  readonly machine: Machine;
  readonly complete: boolean;
  readonly samples: readonly Sample[];
  readonly failures: readonly Failure[];
  readonly tables: readonly Table[];
}

const style = `
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--grid:#d8dde3;--rival:#b4690e;--ours:#0b6bcb;--floor:#6b7280;--third:#6d28d9}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--paper:#14171b;--grid:#333a43;--rival:#f0a54a;--ours:#5aa9ff;--floor:#9aa3af;--third:#b794f6}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:2rem auto;max-width:1360px;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
pre{white-space:pre-wrap;margin:.2rem 0}.bad{color:#c62828;font-weight:600}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:1rem}
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}.grid{stroke:var(--grid);stroke-width:1}
polyline{fill:none;stroke-width:2}polyline.rival,line.rival{stroke:var(--rival)}polyline.ours,line.ours{stroke:var(--ours)}polyline.floor,line.floor{stroke:var(--floor)}
polyline.rival2{stroke:var(--rival);stroke-dasharray:5 4}polyline.ours2{stroke:var(--ours);stroke-dasharray:5 4}
circle.rival,circle.rival2,rect.rival,rect.rival2{fill:var(--rival)}circle.ours,circle.ours2,rect.ours,rect.ours2{fill:var(--ours)}circle.floor,rect.floor{fill:var(--floor)}rect.third{fill:var(--third)}
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
  const plots = [
    ...throughputPlots(report.samples),
    latencyPlot(report.samples),
    memoryPlot(report.samples),
    startPlot(report.samples),
  ];
  const shown = plots.filter((plot) => plot !== '');
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>conmon bench ${escapeXml(machine.date.slice(0, 10))}</title><style>${style}</style></head><body>`,
    '<h1>conmon bench</h1>',
    ...head.map((line) => `<pre>${escapeXml(line)}</pre>`),
    ...(report.complete ? [] : ['<p class="bad">Interrupted: this is what had been measured until then.</p>']),
    shown.length === 0 ? '' : `<div class="plots">${shown.join('\n')}</div>`,
    ...report.tables.map(tableHtml),
    ...(report.failures.length === 0 ? [] : [failuresHtml(report.failures)]),
    '</body></html>',
    '',
  ].join('\n');
}

function tableHtml(table: Table): string {
  const cells = (tag: string, row: readonly string[]): string =>
    `<tr>${row.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join('')}</tr>`;
  const notes = table.notes.map((note) => `<li>${escapeXml(note)}</li>`).join('');
  return [
    `<h2>${escapeXml(table.title)}</h2><div class="scroll"><table><thead>${cells('th', table.header)}</thead><tbody>`,
    ...table.rows.map((row) => cells('td', row)),
    `</tbody></table></div>${notes === '' ? '' : `<ul>${notes}</ul>`}`,
  ].join('\n');
}

function failuresHtml(failures: readonly Failure[]): string {
  const items = failures.map(
    ({ scenario, variant, subject, failure }) =>
      `<li>${escapeXml(`${scenario}, ${variant}, ${subject}: ${failure}`)}</li>`,
  );
  return `<h2 class="bad">Runs that failed and do not count</h2><ul>${items.join('')}</ul>`;
}

const subjects: readonly Subject[] = ['rival', 'ours', 'floor'];

/** By line length, over the rows whose name is nothing but a length. */
function throughputPlots(all: readonly Sample[]): readonly string[] {
  const samples = all.filter(({ scenario, variant }) => scenario === 'throughput' && /^\d+$/.test(variant));
  const lines = (name: string): readonly Series[] =>
    subjects.map((subject) => ({
      name: subject,
      style: subject,
      points: variantsOf(samples).map((variant) => {
        const values = metric(samples, variant, subject, name);
        return { x: Number(variant), y: median(values), low: Math.min(...values), high: Math.max(...values) };
      }),
    }));
  const common = { xLabel: 'bytes a line', xLog: true, yLog: false } as const;
  return [
    linePlot({ title: 'Throughput by line length', yLabel: 'payload MB/s', series: lines('payloadMBps'), ...common }),
    linePlot({
      title: 'CPU of the monitor',
      yLabel: 's per GB of payload',
      series: lines('cpuSecondsPerGB'),
      ...common,
    }),
  ];
}

const quantiles = ['p10', 'p25', 'p50', 'p75', 'p90', 'p95', 'p99', 'p999', 'max'] as const;

function latencyPlot(all: readonly Sample[]): string {
  const samples = all.filter(({ scenario }) => scenario === 'latency');
  const series = variantsOf(samples).flatMap((variant, index) =>
    (['rival', 'ours'] as const).map((subject) => ({
      name: `${subject}, ${variant}`,
      style: index === 0 ? subject : `${subject}2`,
      points: quantiles.map((each, x) => ({ x, y: median(metric(samples, variant, subject, `${each}Us`)) })),
    })),
  );
  return linePlot({
    title: 'Latency, write to log',
    xLabel: 'quantile',
    yLabel: 'microseconds',
    xLog: false,
    yLog: true,
    series: series.slice(0, 4),
    xNames: new Map(quantiles.map((each, x) => [x, each])),
  });
}

function memoryPlot(all: readonly Sample[]): string {
  const samples = all.filter(({ scenario, variant }) => scenario === 'memory' && /^\d+ containers?$/.test(variant));
  const series = (['rival', 'ours'] as const).flatMap((subject) =>
    (['privateMiB', 'pssMiB'] as const).map((name) => ({
      name: `${subject}, ${name === 'pssMiB' ? 'PSS' : 'private'}`,
      style: name === 'pssMiB' ? `${subject}2` : subject,
      points: variantsOf(samples).map((variant) => ({
        x: Number.parseInt(variant, 10),
        y: median(metric(samples, variant, subject, name)),
      })),
    })),
  );
  const common = { xLabel: 'containers', yLabel: 'MiB for each', xLog: true, yLog: false } as const;
  return linePlot({ title: 'Memory by number of containers', series, ...common });
}

function startPlot(all: readonly Sample[]): string {
  const samples = all.filter(({ scenario }) => scenario === 'startup');
  const bars = variantsOf(samples).flatMap((variant) =>
    (['rival', 'ours'] as const).flatMap((subject) => {
      const at = (name: string): number => median(metric(samples, variant, subject, name));
      const runtime = at('toRuntimeMs');
      const sync = at('toSyncMs');
      const session = at('sessionMs');
      const segments = Number.isFinite(session)
        ? [{ name: 'whole exec session', style: 'third', length: session }]
        : Number.isFinite(runtime)
          ? [
              { name: 'exec to runtime', style: 'ours', length: runtime },
              { name: 'to pid on sync pipe', style: 'rival', length: sync - runtime },
            ]
          : [{ name: 'exec to pid on sync pipe', style: 'floor', length: sync }];
      return segments.some(({ length }) => Number.isFinite(length))
        ? [{ name: `${variant}, ${subject}`, segments }]
        : [];
    }),
  );
  return bars.length === 0 ? '' : barPlot({ title: 'Start-up', xLabel: 'ms from exec of conmon', bars });
}
