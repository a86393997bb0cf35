/** The HTML report: one well-formed file from results, with every plot that there are figures for, and nothing loaded. */
import t from 'tap';
import type { Sample, Subject } from '../../../bench/harness/environment.ts';
import { goalsTable } from '../../../bench/report/goals.ts';
import { htmlReport, type Report } from '../../../bench/report/html.ts';
import type { Machine } from '../../../bench/report/machine.ts';
import { parseResults } from '../../../bench/report/ndjson.ts';
import { scenarios } from '../../../bench/scenarios/all.ts';

const machine: Machine = {
  ...{ date: '2026-11-25T20:00:00.000Z', cpu: 'A & B <C>', cpus: 2, memoryGiB: 24, kernel: '6.18', node: 'v26' },
  ...{ commit: 'abc', fileSystem: 'ext4', load: '0 0 0', conmon: { rival: 'conmon 2.1.6', ours: 'conmon 2.2.1' } },
};
/** Elements that have no end (HTML, void elements); the report uses no others. */
const VOID = new Set(['meta', '!doctype']);

function sample(scenario: string, variant: string, subject: Subject, metrics: Record<string, number>): Sample {
  return { scenario, variant, subject, metrics };
}

/** Something for every plot, two runs of each. */
function fixture(): readonly Sample[] {
  const samples: Sample[] = [];
  for (const run of [1, 2])
    for (const [factor, subject] of [
      [1, 'rival'],
      [4, 'ours'],
      [5, 'floor'],
    ] as const) {
      for (const line of ['20', '1000', '65536'])
        samples.push(
          sample('throughput', line, subject, { payloadMBps: 100 * factor + run, cpuSecondsPerGB: 4 / factor }),
        );
      if (subject === 'floor') continue;
      samples.push(sample('throughput', '1000, any bytes', subject, { payloadMBps: 1, cpuSecondsPerGB: 1 }));
      for (const [i, variant] of ['idle', 'beside a flood', 'client, idle', 'client, beside a flood'].entries()) {
        const names = ['p10', 'p25', 'p50', 'p75', 'p90', 'p95', 'p99', 'p999', 'max'];
        const metrics = Object.fromEntries(names.map((name, at) => [`${name}Us`, 10 ** (i + at / 3) * factor]));
        samples.push(sample('latency', variant, subject, metrics));
      }
      for (const [containers, variant] of [
        [1, '1 container'],
        [20, '20 containers'],
        [100, '100 containers'],
      ] as const)
        samples.push(sample('memory', variant, subject, { containers, privateMiB: 4 * factor, pssMiB: 5 * factor }));
      samples.push(sample('startup', 'trivial runtime', subject, { toRuntimeMs: 3 * factor, toSyncMs: 9 * factor }));
      samples.push(
        sample('startup', 'crun', subject, { toSyncMs: 20 * factor, sessionMs: 30 * factor, exitNoticeMs: factor }),
      );
      samples.push(sample('startup', 'exec session', subject, { sessionMs: 10 * factor }));
    }
  return samples;
}

function reportOf(samples: readonly Sample[], more: Partial<Report> = {}): Report {
  const tables = scenarios.flatMap((scenario) => scenario.tables(samples));
  return { mode: 'full', machine, complete: true, samples, failures: [], tables, goals: goalsTable(samples), ...more };
}

/** Throws where an element is not closed, or the wrong one is; answers how often each element stands there. */
function elementsOf(html: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const open: string[] = [];
  for (const [tag, slash, name = '', , selfClosed] of html.matchAll(
    /<(\/?)([!a-z0-9]+)((?:\s+[\w:-]+(?:="[^"<]*")?)*)\s*(\/?)>/g,
  )) {
    if (slash === '/') {
      const last = open.pop();
      if (last !== name) throw new Error(`${tag} closes ${last}`);
      continue;
    }
    counts.set(name, (counts.get(name) ?? 0) + 1);
    if (selfClosed !== '/' && !VOID.has(name)) open.push(name);
  }
  if (open.length > 0) throw new Error(`never closed: ${open.join(' ')}`);
  // Whatever is left of a < is one that was not escaped.
  const rest = html
    .replace(/<style>[^<]*<\/style>/, '')
    .replace(/<(\/?)([!a-z0-9]+)((?:\s+[\w:-]+(?:="[^"<]*")?)*)\s*(\/?)>/g, '');
  if (/[<>]/.test(rest)) throw new Error(`not escaped: ${/.{0,20}[<>].{0,20}/.exec(rest)?.[0]}`);
  if (/&(?!amp;|lt;|gt;|quot;)/.test(rest)) throw new Error('an & that begins nothing');
  return counts;
}

t.test('a full report has all six plots, every table and the goals, and is well-formed', async (t) => {
  const report = reportOf(fixture());
  const html = htmlReport(report);
  const elements = elementsOf(html);
  t.equal(elements.get('svg'), 6);
  t.equal(elements.get('table'), report.tables.length + 1);
  t.ok(report.tables.length >= 7, `${report.tables.length} tables`);
  // Three subjects in two plots, four series in each of three, each once more in a legend.
  t.equal(elements.get('polyline'), 2 * (3 + 3 + 4 + 4 + 4));
  for (const { title } of report.tables) t.ok(html.includes(`<h2>${title}</h2>`), title);
  t.match(html, /A &amp; B &lt;C&gt;/);
});

t.test('every coordinate is a number, and lies in the picture', async (t) => {
  const html = htmlReport(reportOf(fixture()));
  t.notMatch(html, /NaN|Infinity|undefined/);
  const coordinates = [...html.matchAll(/ (?:x|y|x1|x2|y1|y2|cx|cy)="([^"]*)"/g)].map(([, text]) => Number(text));
  t.ok(coordinates.length > 100);
  t.ok(coordinates.every((value) => value >= 0 && value <= 700));
});

t.test('more throughput is higher up, and a longer line further right', async (t) => {
  const html = htmlReport(reportOf(fixture()));
  const points = (style: string) =>
    (new RegExp(`<polyline class="${style}" points="([^"]*)"`).exec(html)?.[1] ?? '')
      .split(' ')
      .map((pair) => pair.split(',').map(Number));
  const [rival, ours] = [points('rival'), points('ours')];
  t.equal(rival.length, 3);
  for (const [i, [x = 0, y = 0]] of ours.entries()) {
    t.ok(y < (rival[i]?.[1] ?? 0));
    if (i > 0) t.ok(x > (ours[i - 1]?.[0] ?? 0));
  }
});

t.test('nothing is loaded, nothing runs', async (t) => {
  const html = htmlReport(reportOf(fixture())).replaceAll('xmlns="http://www.w3.org/2000/svg"', '');
  t.notMatch(html, /<script|<link|<img|<iframe|https?:|url\(|\son\w+=/i);
});

t.test('a report of an interrupted bench says so, and shows what there is', async (t) => {
  const html = htmlReport(reportOf([], { complete: false }));
  t.match(html, /Interrupted/);
  t.equal(elementsOf(html).get('svg'), undefined);
  t.notMatch(htmlReport(reportOf([])), /Interrupted/);
});

t.test('a run that failed is told, whatever its words are', async (t) => {
  const failure = { scenario: 'throughput', variant: '20', subject: 'ours' as const, failure: '<b>"lost" & more</b>' };
  const html = htmlReport(reportOf([], { failures: [failure] }));
  elementsOf(html);
  t.match(html, /throughput, 20, ours: &lt;b&gt;&quot;lost&quot; &amp; more&lt;\/b&gt;/);
});

t.test('a file of results is read back as it was written, and one that was cut short is not complete', async (t) => {
  const [first] = fixture();
  const lines = [
    { type: 'header', mode: 'quick', ...machine },
    { type: 'sample', at: 'now', ...first },
    { type: 'failure', at: 'now', scenario: 's', variant: 'v', subject: 'ours', failure: 'f' },
    { type: 'end', at: 'now', complete: true },
  ].map((line) => JSON.stringify(line));
  t.match(parseResults(`${lines.join('\n')}\n`), {
    mode: 'quick',
    complete: true,
    samples: [first],
    failures: [{ failure: 'f' }],
  });
  t.equal(parseResults(lines.slice(0, 3).join('\n')).complete, false);
  t.throws(() => parseResults(lines.slice(1).join('\n')), /no header/);
});
