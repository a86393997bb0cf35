// Scenario: how long a line takes from the container's write(2) into the log file, and to an attached client: when nothing
// else happens, while another container floods, and a container's first lines. One line of 100 bytes at a time.

import { attachClient, type Client } from '../harness/attached-client.ts';
import { numberIn, type Reply } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { type Monitor, startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { verifyLines } from '../harness/verify.ts';
import { goalCell } from '../report/goals.ts';
import { figure, metric, quantiles, times } from '../report/select.ts';
import { median } from '../report/statistics.ts';

const name = 'latency';
/** Microseconds between two lines: longer than anything takes to become idle again. */
const gapUs = 2_000;
const limitMs = 60_000;
/**
 * Lines before the measured ones, so many microseconds apart: by then V8 has compiled nearly all that a line takes, most of it
 * by line 1500, the last functions some thousand lines later (docs/adr/0052-the-worst-hundredth.md). What a monitor tidies up a
 * second after its start is among the measured ones.
 */
const warmUpLines = 4_000;
const warmUpGapUs = 100;
/** Lines of the container that floods meanwhile; more than it can write in the time. */
const floodLineBytes = 100;
const floodBytes = 100_000_000_000;
/** A line that is timed to the log has this text, one that is timed to a client the time of its write. */
const logLine = 'a line of about the length that a service logs when it has handled a request, 100 bytes in all...';
const stampedLine = /^\d{20} 0{78}$/;

interface Situation {
  readonly variant: string;
  readonly attached: boolean;
  readonly flooded: boolean;
  readonly warm: boolean;
}

const toLog: readonly Situation[] = [
  { variant: 'idle', attached: false, flooded: false, warm: true },
  { variant: 'beside a flood', attached: false, flooded: true, warm: true },
  { variant: 'first lines', attached: false, flooded: false, warm: false },
];
const toClient: readonly Situation[] = toLog.map((each) => ({
  ...each,
  variant: `client, ${each.variant}`,
  attached: true,
}));

export const latency: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 1 : 6);
    return [...toLog, ...toClient].flatMap((situation) => {
      const step = (side: Side): Step => ({
        variant: situation.variant,
        subject: side,
        expectedMs: (situation.warm ? 1_000 : 0) + linesOf(environment) * 2.1 + (situation.attached ? 600 : 200),
        run: async () => [await measure(environment, side, situation)],
      });
      return interleave(step('rival'), step('ours'), pairs);
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return [
      latencyTable(mine, toLog, "Latency from the container's write to the grown log file, microseconds", [
        'The container is woken by inotify, which is in all figures. Every log was compared with what was written.',
      ]),
      latencyTable(mine, toClient, 'Age of a line when an attached client has it, microseconds', [
        'Each line holds the time of its write.',
      ]),
    ].filter(({ rows }) => rows.length > 0);
  },
};

function linesOf({ quick }: Environment): number {
  return quick ? 500 : 1000;
}

async function measure(environment: Environment, side: Side, situation: Situation): Promise<Sample> {
  const { variant, attached, flooded, warm } = situation;
  let quiet: Monitor | undefined;
  let noisy: Monitor | undefined;
  try {
    quiet = await startMonitor(environment, side);
    if (flooded) {
      // To no log: what is measured is a busy machine, not a full disk.
      noisy = await startMonitor(environment, side, { log: () => 'none' });
      await noisy.container.send(`write line=${floodLineBytes} total=${floodBytes}`);
    }
    const count = linesOf(environment);
    const before = warm ? warmUpLines : 0;
    const reply = attached
      ? await agesAtClient(environment, quiet, before, count)
      : await waitsForLog(quiet, before, count);
    const metrics: Record<string, number> = {};
    for (const each of quantiles) metrics[`${each}Us`] = numberIn(reply, each) / 1e3;
    await noisy?.dispose();
    await quiet.finish(0);
    await verifyLines(quiet.logPath, before + count, (line) => (attached ? stampedLine.test(line) : line === logLine));
    return { scenario: name, variant, subject: side, metrics };
  } finally {
    await noisy?.dispose();
    await quiet?.dispose();
  }
}

async function waitsForLog(monitor: Monitor, before: number, count: number): Promise<Reply> {
  const command = (lines: number, gap: number): string => `latency count=${lines} gap=${gap} path=${monitor.logPath}`;
  if (before > 0) await monitor.container.request(command(before, warmUpGapUs), limitMs);
  return monitor.container.request(command(count, gapUs), limitMs);
}

async function agesAtClient(environment: Environment, monitor: Monitor, before: number, count: number): Promise<Reply> {
  let client: Client | undefined;
  try {
    client = await attachClient(environment, monitor, ['stamps', String(before), String(count)]);
    if (before > 0) await monitor.container.send(`stamps count=${before} gap=${warmUpGapUs}`);
    await monitor.container.send(`stamps count=${count} gap=${gapUs}`);
    return await client.done;
  } finally {
    client?.end();
  }
}

function latencyTable(
  samples: readonly Sample[],
  situations: readonly Situation[],
  title: string,
  notes: readonly string[],
): Table {
  const measured = situations.filter(({ variant }) => samples.some((sample) => sample.variant === variant));
  const rows = measured.flatMap(({ variant }) =>
    (['p50', 'p90', 'p99', 'p999', 'max'] as const).map((each) => {
      const key = `${each}Us`;
      const rival = median(metric(samples, variant, 'rival', key));
      const ours = median(metric(samples, variant, 'ours', key));
      return [
        `${variant.replace('client, ', '')}, ${each === 'p999' ? 'p99.9' : each}`,
        figure(rival),
        figure(ours),
        times(ours / rival),
        goalCell(samples, { scenario: name, variant, metric: key }),
      ];
    }),
  );
  return {
    title,
    header: ['', 'rival', 'ours', 'ours/rival', 'goal'],
    rows,
    notes: [
      `One line of 100 bytes every ${gapUs / 1000} ms, after ${warmUpLines} others but for the first lines; medians of the runs' quantiles; less is better.`,
      'Beside a flood: another container writes 100-byte lines as fast as it can.',
      ...notes,
    ],
  };
}
