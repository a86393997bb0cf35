// Scenario: a container with one attached client: how fast a flood reaches the client (and the log), what CPU that takes,
// and how old a line is when the client has it. The client is a small C program that checks every byte.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { numberIn, parseReply, type Reply } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { flood, type Load, leastLogBytes, streamBytes, warmMemory } from '../harness/flood.ts';
import { type Monitor, startMonitor } from '../harness/monitor.ts';
import { programPath } from '../harness/native.ts';
import { interleave } from '../harness/order.ts';
import { verifyLog } from '../harness/verify.ts';
import { pause, within } from '../harness/wait.ts';
import { figure, goal, metric, times, variantsOf, withSpread } from '../report/select.ts';
import { compare, median } from '../report/statistics.ts';

const name = 'attach';
type LatencyVariant = (typeof latencyVariants)[number];
/** Ages of lines: once V8 has compiled what a line takes, and of a container's first lines. */
const latencyVariants = ['latency', 'first lines'] as const;
const loads: readonly Load[] = [
  { lineBytes: 100, payloadMB: 200 },
  { lineBytes: 1000, payloadMB: 300 },
];
const quickShare = 0.6;
const goalRatio = 2.5;
const goalCpuRatio = 0.45;
const goalP50Ratio = 1.5;
const goalP99Ratio = 1;
/** After it has connected: the monitor accepts it, ours starts a thread for it. */
const settleMs = 400;
const limitMs = 60_000;
/** Microseconds between two lines: longer than anything takes to become idle again. */
const gapUs = 2_000;
/** Lines before the measured ones of the first variant, so many microseconds apart, as in ./latency.ts. */
const warmUpLines = 4_000;
const warmUpGapUs = 100;

export const attach: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 3 : 8);
    const floods = loads.flatMap((load) => {
      const scaled = environment.quick ? { ...load, payloadMB: load.payloadMB * quickShare } : load;
      const step = (side: Side): Step => ({
        variant: String(load.lineBytes),
        subject: side,
        expectedMs: 2500,
        run: async () => [await floodClient(environment, side, scaled)],
      });
      return interleave(step('rival'), step('ours'), pairs);
    });
    const latencies = latencyVariants.flatMap((variant) => {
      const step = (side: Side): Step => ({
        variant,
        subject: side,
        expectedMs: 3500,
        run: async () => [await measureLatency(environment, side, variant)],
      });
      return interleave(step('rival'), step('ours'), pairs);
    });
    return [...floods, ...latencies];
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return mine.length === 0 ? [] : [floodTable(mine), latencyTable(mine)];
  },
};

/** A client in a process of its own. */
interface Client {
  readonly done: Promise<Reply>;
  end(): void;
}

/** Attaches to the monitor's container, in its bundle. */
async function connect(environment: Environment, monitor: Monitor, args: readonly string[]): Promise<Client> {
  const socketPath = join(dirname(monitor.logPath), 'b', 'attach');
  const child = spawn(programPath('attach-client'), [socketPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (bytes: Buffer) => {
    complaint += bytes.toString();
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const { value, done } = await within('the attach client', lines.next(), limitMs, environment.signal);
    if (done === true) {
      if (child.exitCode === null) await once(child, 'close');
      throw new Error(`the attach client: ${complaint.trim()}`);
    }
    return value;
  };
  const end = (): void => void child.kill('SIGKILL');
  try {
    await line();
    await pause(settleMs, environment.signal);
  } catch (error) {
    end();
    throw error;
  }
  const done = line().then(parseReply);
  done.catch(() => {}); // who waits for it is told
  return { done, end };
}

async function floodClient(environment: Environment, side: Side, load: Load): Promise<Sample> {
  const totalBytes = streamBytes(load);
  const least = leastLogBytes(load.lineBytes, totalBytes);
  const monitor = await startMonitor(environment, side);
  let client: Client | undefined;
  try {
    client = await connect(environment, monitor, ['flood', String(load.lineBytes), String(totalBytes)]);
    await warmMemory(least, environment.signal);
    const cpuBeforeNs = await monitor.cpuNs();
    const { written } = await flood(monitor, load, least);
    const done = await client.done;
    const cpuNs = (await monitor.cpuNs()) - cpuBeforeNs;
    await monitor.finish(0);
    await verifyLog('k8s', monitor.logPath, String(load.lineBytes), totalBytes);
    const wallNs = numberIn(done, 'last') - numberIn(written, 'first');
    return {
      scenario: name,
      variant: String(load.lineBytes),
      subject: side,
      metrics: {
        payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / totalBytes,
        clientShare: numberIn(done, 'cpu') / wallNs,
        packets: numberIn(done, 'packets'),
        wallMs: wallNs / 1e6,
      },
    };
  } finally {
    client?.end();
    await monitor.dispose();
  }
}

async function measureLatency(environment: Environment, side: Side, variant: LatencyVariant): Promise<Sample> {
  const count = environment.quick ? 500 : 1000;
  const skip = variant === 'latency' ? warmUpLines : 0;
  const monitor = await startMonitor(environment, side);
  let client: Client | undefined;
  try {
    client = await connect(environment, monitor, ['stamps', String(skip), String(count)]);
    if (skip > 0) await monitor.container.send(`stamps count=${skip} gap=${warmUpGapUs}`);
    await monitor.container.send(`stamps count=${count} gap=${gapUs}`);
    const done = await client.done;
    const metrics: Record<string, number> = {};
    for (const each of ['p10', 'p50', 'p90', 'p99', 'max']) metrics[`${each}Us`] = numberIn(done, each) / 1e3;
    await monitor.finish(0);
    return { scenario: name, variant, subject: side, metrics };
  } finally {
    client?.end();
    await monitor.dispose();
  }
}

function floodTable(samples: readonly Sample[]): Table {
  const rows = variantsOf(samples)
    .filter((variant) => !latencyVariants.some((each) => each === variant))
    .flatMap((variant) =>
      (
        [
          ['payloadMBps', 'MB/s', '>=', goalRatio],
          ['cpuSecondsPerGB', 'CPU s/GB', '<=', goalCpuRatio],
        ] as const
      ).map(([key, label, sign, aim]) => {
        const rival = metric(samples, variant, 'rival', key);
        const ours = metric(samples, variant, 'ours', key);
        const { ratio, lowest, highest } = compare(ours, rival);
        const spread = `${figure(lowest)}..${figure(highest)}`;
        return [
          `${variant} B, ${label}`,
          withSpread(rival),
          withSpread(ours),
          times(ratio),
          spread,
          goal(sign, aim, 'x', ratio),
        ];
      }),
    );
  const share = (side: Side) =>
    Math.round(median(metric(samples, String(loads[0]?.lineBytes), side, 'clientShare')) * 100);
  return {
    title: 'One attached client: payload MB/s that reach it, CPU of the monitor',
    header: ['', 'rival', 'ours', 'ours/rival', 'by pair', 'goal'],
    rows,
    notes: [
      'Time: first write of the container to the last byte at the client. Client and log were compared with what was written.',
      `The client used ${share('rival')} % of a CPU beside the rival, ${share('ours')} % beside ours.`,
    ],
  };
}

function latencyTable(samples: readonly Sample[]): Table {
  const rows = latencyVariants.flatMap((variant) =>
    (['p10', 'p50', 'p90', 'p99', 'max'] as const).map((each) => {
      const rival = median(metric(samples, variant, 'rival', `${each}Us`));
      const ours = median(metric(samples, variant, 'ours', `${each}Us`));
      const aim = each === 'p50' ? goalP50Ratio : each === 'p99' ? goalP99Ratio : undefined;
      return [
        variant === 'latency' ? each : `${variant}, ${each}`,
        figure(rival),
        figure(ours),
        times(ours / rival),
        aim === undefined ? '' : goal('<=', aim, 'x', ours / rival),
      ];
    }),
  );
  return {
    title: 'One attached client: age of a line when the client has it, microseconds',
    header: ['', 'rival', 'ours', 'ours/rival', 'goal'],
    rows,
    notes: [
      `One line of 100 bytes every ${gapUs / 1000} ms, after ${warmUpLines} others but for the first lines; medians of the runs' quantiles; less is better.`,
    ],
  };
}
