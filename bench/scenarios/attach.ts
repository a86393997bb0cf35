// Scenario: a container that floods while clients are attached: one, several, one that is slow. How fast the flood reaches
// the last of them and the log, and what CPU that takes. A client is a small C program that checks every byte.

import { attachClients, type Client } from '../harness/attached-client.ts';
import { numberIn } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { flood, type Load, leastLogBytes, streamBytes, variantOf, warmMemory } from '../harness/flood.ts';
import { startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { verifyLog } from '../harness/verify.ts';
import { goalCell } from '../report/goals.ts';
import { figure, metric, sides, variantsOf } from '../report/select.ts';
import { median } from '../report/statistics.ts';

const name = 'attach';

interface AttachedLoad extends Load {
  readonly clients: number;
  /** One more, which reads no faster than this. */
  readonly slowMBps?: number;
  readonly pairs: { readonly quick: number; readonly full: number };
}

const slowMBps = 50;
/** Payload falls with the clients: each of them gets all of it. */
const loads: readonly AttachedLoad[] = [
  { lineBytes: 100, payloadMB: 200, clients: 1, pairs: { quick: 3, full: 10 } },
  { lineBytes: 1000, payloadMB: 300, clients: 1, pairs: { quick: 3, full: 10 } },
  { variant: '1000, 5 clients', lineBytes: 1000, payloadMB: 100, clients: 5, pairs: { quick: 1, full: 5 } },
  { variant: '1000, 20 clients', lineBytes: 1000, payloadMB: 30, clients: 20, pairs: { quick: 1, full: 5 } },
  {
    variant: '1000, one of two slow',
    lineBytes: 1000,
    payloadMB: 80,
    clients: 1,
    slowMBps,
    pairs: { quick: 1, full: 4 },
  },
];
const quickShare = 0.6;

export const attach: Scenario = {
  name,
  steps(environment) {
    return loads.flatMap((load) => {
      const scaled = environment.quick ? { ...load, payloadMB: load.payloadMB * quickShare } : load;
      const step = (side: Side): Step => ({
        variant: variantOf(load),
        subject: side,
        expectedMs: 700 + scaled.payloadMB * (load.slowMBps === undefined ? 1 + load.clients / 2 : 21),
        run: async () => [await floodClients(environment, side, scaled)],
      });
      const pairs = environment.pairs ?? (environment.quick ? load.pairs.quick : load.pairs.full);
      return interleave(step('rival'), step('ours'), pairs);
    });
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [floodTable(mine)];
  },
};

async function floodClients(environment: Environment, side: Side, load: AttachedLoad): Promise<Sample> {
  const totalBytes = streamBytes(load);
  const least = leastLogBytes(load.lineBytes, totalBytes);
  const monitor = await startMonitor(environment, side);
  let clients: readonly Client[] = [];
  try {
    const args = ['flood', String(load.lineBytes), String(totalBytes)];
    const paces = [...Array.from({ length: load.clients }, () => 0), ...(load.slowMBps ? [load.slowMBps] : [])];
    clients = await attachClients(
      environment,
      monitor,
      paces.map((pace) => [...args, String(pace)]),
    );
    await warmMemory(least, environment.signal);
    const cpuBeforeNs = await monitor.cpuNs();
    const { written } = await flood(monitor, load, least);
    const replies = await Promise.all(clients.map(({ done }) => done));
    const cpuNs = (await monitor.cpuNs()) - cpuBeforeNs;
    await monitor.finish(0);
    await verifyLog('k8s', monitor.logPath, String(load.lineBytes), totalBytes);
    const wallNs = Math.max(...replies.map((reply) => numberIn(reply, 'last'))) - numberIn(written, 'first');
    return {
      scenario: name,
      variant: variantOf(load),
      subject: side,
      metrics: {
        payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / totalBytes,
        clientShare: replies.reduce((sum, reply) => sum + numberIn(reply, 'cpu'), 0) / wallNs,
        packets: numberIn(replies[0] ?? { name: 'none', values: new Map() }, 'packets'),
        wallMs: wallNs / 1e6,
      },
    };
  } finally {
    for (const client of clients) client.end();
    await monitor.dispose();
  }
}

function floodTable(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples).flatMap((variant) =>
    (
      [
        ['payloadMBps', 'MB/s'],
        ['cpuSecondsPerGB', 'CPU s/GB'],
      ] as const
    ).map(([key, label]) => [
      `${/^\d+$/.test(variant) ? `${variant}, 1 client` : variant}: ${label}`,
      ...sides(samples, variant, key),
      goalCell(samples, { scenario: name, variant, metric: key }),
    ]),
  );
  const share = (side: Side) => figure(100 * median(metric(samples, '100', side, 'clientShare')));
  return {
    title: 'Attached clients: payload MB/s that reach the last of them, CPU of the monitor',
    header: ['line B', 'rival', 'ours', 'ours/rival', 'by pair', 'goal'],
    rows,
    notes: [
      'Time: first write of the container to the last byte at the last client. Each client and the log were compared with what was written.',
      `One client used ${share('rival')} % of a CPU beside the rival, ${share('ours')} % beside ours (100 B).`,
      `The slow client reads ${slowMBps} MB/s; the container has to wait for it, or something would be lost.`,
    ],
  };
}
