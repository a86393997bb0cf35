// Scenario: how fast a flood of lines goes through the journald driver into a real journald, and what CPU that takes the
// monitor, against C conmon. One journald a run; what it stored is read back and compared with what the container wrote.

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { numberIn } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { startJournal } from '../harness/journal.ts';
import { startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { payloadLines } from '../harness/payload.ts';
import { ownCpuNs } from '../harness/procfs.ts';
import { pause } from '../harness/wait.ts';
import { metric, sides, variantsOf, withSpread } from '../report/select.ts';

const name = 'journald';

interface Load {
  /** One line with its newline. */
  readonly lineBytes: number;
  /** A journal entry costs journald about as much as its line is long or short: lines count, not bytes. */
  readonly lines: number;
}

const loads: readonly Load[] = [
  { lineBytes: 20, lines: 60_000 },
  { lineBytes: 100, lines: 60_000 },
  { lineBytes: 1000, lines: 40_000 },
  { lineBytes: 10_000, lines: 8_000 },
];
/** A quick bench logs fewer. */
const quickDivisor = 4;
const writeLimitMs = 90_000;
const quietMs = 150;
const pollMs = 10;

export const journald: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 1 : 4);
    return loads.flatMap((full) => {
      const load = environment.quick ? { ...full, lines: full.lines / quickDivisor } : full;
      const step = (side: Side): Step => ({
        variant: String(load.lineBytes),
        subject: side,
        expectedMs: 1000 + load.lines / 15,
        run: async () => [await flood(environment, side, load)],
      });
      return interleave(step('rival'), step('ours'), pairs);
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [table(mine)];
  },
};

async function flood(environment: Environment, side: Side, load: Load): Promise<Sample> {
  const dir = await mkdtemp(join(environment.workDir, 'j-'));
  const journal = await startJournal(environment, dir);
  try {
    const totalBytes = load.lineBytes * load.lines;
    const monitor = await startMonitor(journal.environment, side, { log: () => 'journald' });
    try {
      const cpuBeforeNs = await monitor.cpuNs();
      const journalBeforeNs = await ownCpuNs([journal.pid]);
      const command = `write line=${load.lineBytes} total=${totalBytes}`;
      const written = await monitor.container.request(command, writeLimitMs);
      const completeNs = await atRest(
        environment,
        async () => (await monitor.cpuNs()) + (await ownCpuNs([journal.pid])),
      );
      const cpuNs = (await monitor.cpuNs()) - cpuBeforeNs;
      const journalNs = (await ownCpuNs([journal.pid])) - journalBeforeNs;
      await monitor.finish(0);
      const entries = await journal.verify(monitor.paths.id, await payloadLines(String(load.lineBytes)), totalBytes);
      const wallNs = completeNs - numberIn(written, 'first');
      return {
        scenario: name,
        variant: String(load.lineBytes),
        subject: side,
        metrics: {
          linesPerSecond: load.lines / (wallNs / 1e9),
          payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
          cpuUsPerLine: cpuNs / 1e3 / load.lines,
          journalUsPerLine: journalNs / 1e3 / load.lines,
          wallMs: wallNs / 1e6,
          payloadBytes: totalBytes,
          entries,
        },
      };
    } finally {
      await monitor.dispose();
    }
  } finally {
    await journal.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

/** Waits until monitor and journal do nothing. @returns when they last did something, CLOCK_MONOTONIC ns. */
async function atRest(environment: Environment, cpuNs: () => Promise<number>): Promise<number> {
  let lastNs = -1;
  let changedNs = 0;
  for (const limitMs = performance.now() + writeLimitMs; performance.now() < limitMs; ) {
    const nowNs = Number(process.hrtime.bigint());
    const used = await cpuNs();
    if (used !== lastNs) {
      lastNs = used;
      changedNs = nowNs;
    } else if (nowNs - changedNs > quietMs * 1e6) return changedNs;
    await pause(pollMs, environment.signal);
  }
  throw new Error('monitor and journal did not come to rest');
}

function table(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples).map((variant) => {
    return [
      variant,
      ...sides(samples, variant, 'linesPerSecond'),
      ...sides(samples, variant, 'cpuUsPerLine').slice(0, -1),
      withSpread(metric(samples, variant, 'ours', 'journalUsPerLine')),
    ];
  });
  return {
    title: 'journald, lines a second by line length',
    header: [
      'line B',
      'rival',
      'ours',
      'ours/rival',
      'by pair',
      'rival us/line',
      'ours us/line',
      'CPU ours/rival',
      'journald us/line',
    ],
    rows,
    notes: [
      'us/line: CPU of the monitor, or of journald, for one line. journald itself sets the pace; it has one thread.',
      'What it stored was read back with journalctl and compared with what the container wrote. C splits lines at 8 KiB.',
    ],
  };
}
