// Scenario: what a json-file log costs beside a k8s-file log of the same conmon, ours, for the same flood: C has no
// json-file. Lines are words, in which nothing has to be escaped, or any printable characters, of which five in a hundred
// have to. A JSON parser reads every record back.

import type { Sample, Scenario, Step, Table } from '../harness/environment.ts';
import { floodMonitor, type Load } from '../harness/flood.ts';
import { goalCell } from '../report/goals.ts';
import { figure, metric, times, variantsOf, withSpread } from '../report/select.ts';
import { compare } from '../report/statistics.ts';

const name = 'json-file';

interface Row {
  /** One line with its newline. */
  readonly lineBytes: number;
  /** Words, or any printable characters. */
  readonly words: boolean;
  readonly payloadMB: number;
}

const loads: readonly Row[] = [
  { lineBytes: 20, words: true, payloadMB: 80 },
  { lineBytes: 100, words: true, payloadMB: 250 },
  { lineBytes: 1000, words: true, payloadMB: 300 },
  { lineBytes: 10_000, words: true, payloadMB: 300 },
  { lineBytes: 100, words: false, payloadMB: 250 },
];
const drivers = ['k8s-file', 'json-file'] as const;
type Driver = (typeof drivers)[number];

export const jsonFile: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 1 : 8);
    return loads.flatMap((load) =>
      Array.from({ length: pairs }, (_, pair) => {
        // Who goes first takes turns.
        const order = pair % 2 === 0 ? drivers : drivers.toReversed();
        return order.map(
          (driver): Step => ({
            variant: variantOf(load, driver),
            subject: 'ours',
            expectedMs: driver === 'k8s-file' ? 500 : 1500,
            run: async () => [await floodMonitor(environment, 'ours', loadOf(load, driver), name)],
          }),
        );
      }).flat(),
    );
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [table(mine)];
  },
};

function variantOf(load: Row, driver: Driver): string {
  return `${driver} ${rowOf(load)}`;
}

function rowOf({ lineBytes, words }: Row): string {
  return words ? String(lineBytes) : `${lineBytes}, any printable`;
}

function loadOf(load: Row, driver: Driver): Load {
  const { lineBytes, words, payloadMB } = load;
  return {
    variant: variantOf(load, driver),
    lineBytes,
    payloadMB,
    ...(words ? { content: 'words' as const } : {}),
    log: (path) => `${driver}:${path}`,
    format: driver === 'json-file' ? 'json' : 'k8s',
  };
}

function table(samples: readonly Sample[]): Table {
  const measured = loads.filter((load) => variantsOf(samples).includes(variantOf(load, 'json-file')));
  const rows = measured.map((load) => {
    const of = (driver: Driver, what: string): readonly number[] =>
      metric(samples, variantOf(load, driver), 'ours', what);
    const [k8s, json] = [of('k8s-file', 'payloadMBps'), of('json-file', 'payloadMBps')];
    const { ratio, lowest, highest } = compare(json, k8s);
    const cpu = compare(of('json-file', 'cpuSecondsPerGB'), of('k8s-file', 'cpuSecondsPerGB'));
    return [
      rowOf(load),
      withSpread(k8s),
      withSpread(json),
      times(ratio),
      `${figure(lowest)}..${figure(highest)}`,
      goalCell(samples, { scenario: name, variant: variantOf(load, 'json-file'), metric: 'payloadMBps', by: 'row' }),
      withSpread(of('json-file', 'cpuSecondsPerGB')),
      times(cpu.ratio),
      times(compare(of('json-file', 'logBytes'), of('k8s-file', 'logBytes')).ratio),
    ];
  });
  return {
    title: 'json-file beside k8s-file, both ours, payload MB/s by line length',
    header: [
      'line B',
      'k8s-file',
      'json-file',
      'json/k8s',
      'by pair',
      'goal',
      'json CPU s/GB',
      'CPU json/k8s',
      'size json/k8s',
    ],
    rows,
    notes: [
      'Lines of words; in the last row of 94 characters, of which five need an escape. Time and CPU as in the throughput scenario.',
      'Every record was parsed as JSON, and what they say was compared with what the container wrote.',
    ],
  };
}
