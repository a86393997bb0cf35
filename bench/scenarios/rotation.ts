// Scenario: what rotation costs. The same flood of 100-byte lines into one k8s-file log, and into files of 10 MB each of
// which --log-rotate keeps: ours against itself, since Debian's C conmon has no --log-rotate. Both replace a log of 10 MB.

import { appendFile, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { numberIn } from '../harness/container.ts';
import type { Environment, Sample, Scenario, Side, Step, Table } from '../harness/environment.ts';
import { floodMonitor, type Load, leastLogBytes, warmMemory } from '../harness/flood.ts';
import { startMonitor } from '../harness/monitor.ts';
import { interleave } from '../harness/order.ts';
import { verifyLog } from '../harness/verify.ts';
import { pause } from '../harness/wait.ts';
import { goalCell } from '../report/goals.ts';
import { metric, sides, times, withSpread } from '../report/select.ts';
import { compare } from '../report/statistics.ts';

const name = 'rotation';
const lineBytes = 100;
const payloadMB = 400;
const quickPayloadMB = 240;
const fileMaxBytes = 10_000_000;
/** More than there will be: nothing may be lost, so that all of it can be verified. */
const keepFiles = 1000;
const writeLimitMs = 60_000;
const stallMs = 3_000;
const pollMs = 1;

const replaced = 'replaced at 10 MB';
/** The same with as many files as a node keeps: each new one is the end of the oldest. */
const fewKept = '5 files of 10 MB';
const fewFiles = 5;
const kept: Readonly<Record<string, readonly string[]>> = {
  'one file': [],
  'files of 10 MB': ['--log-rotate', '--log-max-files', String(keepFiles), '--log-size-max', String(fileMaxBytes)],
};

export const rotation: Scenario = {
  name,
  steps(environment) {
    const pairs = environment.pairs ?? (environment.quick ? 4 : 12);
    const [plain, rotated] = Object.keys(kept).map(
      (variant): Step => ({
        variant,
        subject: 'ours',
        expectedMs: 1000,
        run: async () => [await flood(environment, variant)],
      }),
    );
    const few: Step = {
      variant: fewKept,
      subject: 'ours',
      expectedMs: 1000,
      run: async () => [await keepFew(environment)],
    };
    const replace = (side: Side): Step => ({
      variant: replaced,
      subject: side,
      expectedMs: 1000,
      run: async () => [await replaceLog(environment, side)],
    });
    const replacements = interleave(replace('rival'), replace('ours'), Math.ceil(pairs / 3));
    if (plain === undefined || rotated === undefined) return [];
    return [...interleave(plain, rotated, pairs), ...interleave(plain, few, Math.ceil(pairs / 2)), ...replacements];
  },
  tables(samples) {
    const mine = samples.filter((sample) => sample.scenario === name);
    return [keptTable(mine), replacedTable(mine)].filter(({ rows }) => rows.length > 0);
  },
};

/** One run: start, flood, wait until all files together have what was written, end, verify them joined. */
async function flood(environment: Environment, variant: string): Promise<Sample> {
  const totalBytes = (environment.quick ? quickPayloadMB : payloadMB) * 1e6;
  const least = leastLogBytes(lineBytes, totalBytes);
  const monitor = await startMonitor(environment, 'ours', { extra: kept[variant] ?? [] });
  try {
    await warmMemory(least, environment.signal);
    const cpuBeforeNs = await monitor.cpuNs();
    const written = await monitor.container.request(`write line=${lineBytes} total=${totalBytes}`, writeLimitMs);
    const completeNs = await untilWritten(monitor.logPath, least, environment.signal);
    const cpuNs = (await monitor.cpuNs()) - cpuBeforeNs;
    await monitor.finish(0);
    const files = await logFiles(monitor.logPath);
    for (const { path, bytes } of files)
      if (files.length > 1 && bytes > fileMaxBytes) throw new Error(`${path} has ${bytes} bytes`);
    if (variant !== 'one file' && files.length < least / fileMaxBytes) throw new Error(`${files.length} files`);
    const verdict = await verifyJoined(monitor.logPath, files, totalBytes);
    const wallNs = completeNs - numberIn(written, 'first');
    return {
      scenario: name,
      variant,
      subject: 'ours',
      metrics: {
        payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / totalBytes,
        wallMs: wallNs / 1e6,
        payloadBytes: totalBytes,
        logBytes: verdict,
        files: files.length,
      },
    };
  } finally {
    await monitor.dispose();
  }
}

/** --log-rotate with few files: most of what was written is gone, so the last file is compared with the end of it. */
async function keepFew(environment: Environment): Promise<Sample> {
  const load: Load = {
    variant: fewKept,
    lineBytes,
    payloadMB: environment.quick ? quickPayloadMB : payloadMB,
    format: 'k8s-tail',
    extra: ['--log-rotate', '--log-max-files', String(fewFiles), '--log-size-max', String(fileMaxBytes)],
  };
  return floodMonitor(environment, 'ours', load, name);
}

/** --log-size-max alone: a full log is replaced by a new one, and the old one is gone. */
async function replaceLog(environment: Environment, side: Side): Promise<Sample> {
  const load: Load = {
    variant: replaced,
    lineBytes,
    payloadMB: environment.quick ? quickPayloadMB : payloadMB,
    format: 'k8s-tail',
    extra: ['--log-size-max', String(fileMaxBytes)],
  };
  const sample = await floodMonitor(environment, side, load, name);
  const logBytes = sample.metrics['logBytes'] ?? Number.NaN;
  if (!(logBytes <= fileMaxBytes)) throw new Error(`the log has ${logBytes} bytes`);
  return sample;
}

interface LogFile {
  readonly path: string;
  readonly bytes: number;
}

/** The log's files, the oldest first. One that was renamed just now may be missing for a moment. */
async function logFiles(logPath: string): Promise<readonly LogFile[]> {
  const directory = dirname(logPath);
  const name = basename(logPath);
  const numbers = (await readdir(directory)).flatMap((entry) => {
    if (entry === name) return [0];
    return entry.startsWith(`${name}.`) && /^\d+$/.test(entry.slice(name.length + 1))
      ? [Number(entry.slice(name.length + 1))]
      : [];
  });
  const found: LogFile[] = [];
  for (const number of numbers.toSorted((a, b) => b - a)) {
    const path = number === 0 ? logPath : join(directory, `${name}.${number}`);
    const bytes = await stat(path).then(
      ({ size }) => size,
      () => 0,
    );
    found.push({ path, bytes });
  }
  return found;
}

/** CLOCK_MONOTONIC ns at which the files together had `least` bytes. Rejects when they stop growing before. */
async function untilWritten(logPath: string, least: number, signal: AbortSignal): Promise<number> {
  let before = -1;
  let changedMs = performance.now();
  for (;;) {
    const bytes = (await logFiles(logPath)).reduce((sum, file) => sum + file.bytes, 0);
    if (bytes >= least) return Number(process.hrtime.bigint());
    if (bytes !== before) changedMs = performance.now();
    else if (performance.now() - changedMs > stallMs) throw new Error(`the log stays at ${bytes} of ${least} bytes`);
    before = bytes;
    await pause(pollMs, signal);
  }
}

/** @returns the bytes of all files, which joined are what the container wrote. */
async function verifyJoined(logPath: string, files: readonly LogFile[], totalBytes: number): Promise<number> {
  const joined = `${logPath}-joined`;
  for (const { path } of files) {
    await appendFile(joined, await readFile(path));
    await rm(path);
  }
  return (await verifyLog('k8s', joined, lineBytes, totalBytes)).logBytes;
}

const measures = [
  ['payloadMBps', 'MB/s'],
  ['cpuSecondsPerGB', 'CPU s/GB'],
] as const;

function keptTable(samples: readonly Sample[]): Table {
  const [plain = '', rotated = ''] = Object.keys(kept);
  const rows = [rotated, fewKept].flatMap((variant) =>
    measures.flatMap(([what, label]) => {
      const without = metric(samples, plain, 'ours', what);
      const with_ = metric(samples, variant, 'ours', what);
      const { ratio } = compare(with_, without);
      if (with_.length === 0) return [];
      const aim = goalCell(samples, { scenario: name, variant, metric: what, by: 'row' });
      return [[`${variant}: ${label}`, withSpread(without), withSpread(with_), times(ratio), aim]];
    }),
  );
  return {
    title: 'Rotation, k8s-file, 100-byte lines: one file against files of 10 MB, both ours',
    header: ['', plain, 'rotated', 'ratio', 'goal'],
    rows,
    notes: [
      'The rotated files, joined, were compared byte for byte with what the container wrote; where 5 are kept, the last one with the end of it.',
    ],
  };
}

function replacedTable(samples: readonly Sample[]): Table {
  const rows = measures.flatMap(([what, label]) => {
    if (!samples.some(({ variant }) => variant === replaced)) return [];
    return [[label, ...sides(samples, replaced, what)]];
  });
  return {
    title: 'A log that is replaced at 10 MB (--log-size-max), 100-byte lines',
    header: ['', 'rival', 'ours', 'ours/rival', 'by pair'],
    rows,
    notes: [
      'Time: first write of the container to the empty pipe. Of each run the last file was compared with the end of what the container wrote; the others are gone.',
    ],
  };
}
