/**
 * `make run` without CMD: a container that logs as fast as it can, a live line while it does, and then the proof: first
 * lines, totals, exit file, and a comparison of the log with what the container wrote.
 */

import { createReadStream, statfsSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { ContainerRun } from './container-run.ts';
import { DemoError } from './demo-error.ts';
import { LiveLine } from './live-line.ts';
import { type CpuTime, cpuTime } from './monitor.ts';
import { type SampleSize, sampleBlocks, writeSample } from './sample.ts';
import { verifyLog } from './verify-log.ts';

const STDOUT = 1;
const TICK_MS = 50;
const RATE_WINDOW_MS = 1000;
const SHOWN_LINES = 5;
const SHOWN_COLUMNS = 110;
/** `2026-11-23T18:00:00.123456789+00:00 stdout F ` */
const RECORD_HEADER_BYTES = 45;
const MEGA = 1e6;
/**
 * The container stays this long after its last line, so that the monitor's CPU time can be read when it has done all
 * its work and before it is gone.
 */
const LINGER_MS = 300;

/** The container's own program. */
export async function runSampleWriter(blocks: number): Promise<void> {
  writeSample(STDOUT, blocks);
  await delay(LINGER_MS);
}

/** @throws DemoError when the log would not fit. */
export function checkSpace(directory: string, size: SampleSize): void {
  const { bavail, bsize } = statfsSync(directory);
  const wanted = logBytes(size) + 16 * MEGA;
  const free = bavail * bsize;
  if (free < wanted) {
    throw new DemoError(`${directory} has ${megabytes(free)} free, the log takes ${megabytes(wanted)}: set SIZE_MB`);
  }
}

/** Runs the created container and reports. @returns the status for our own exit: 0 when every byte is right. */
export async function runSample(run: ContainerRun, size: SampleSize, signal: AbortSignal): Promise<number> {
  const { stdout } = process;
  // What it has used so far went into the creation, most of it the runtime's.
  const before = cpuTime(run.monitor.process.pid);
  await run.start();
  const after = await watchLog(run, size, signal);
  const status = await run.waitForExit(signal);
  const result = await verifyLog(run.logPath, sampleBlocks(size.blocks));

  stdout.write('\nfirst lines of the log\n');
  for (const line of await firstLines(run.logPath)) stdout.write(`  ${line}\n`);
  const { payloadBytes, lines, records, seconds } = result;
  stdout.write('\ntotals\n');
  stdout.write(`  ${count(payloadBytes)} bytes in ${count(lines)} lines, ${count(records)} records\n`);
  stdout.write(`  ${seconds.toFixed(3)} s, ${rate(payloadBytes, seconds)} MB/s, `);
  stdout.write(`${millions(lines / seconds)} million lines/s\n`);
  stdout.write(`  CPU of the monitor: ${describeCpu(before, after, payloadBytes)}\n`);
  stdout.write(`\nexit file\n  ${run.exitFilePath}: ${status}\n\n`);
  if (result.difference !== undefined) {
    stdout.write(`NOT VERIFIED: ${result.difference}\n`);
    return 1;
  }
  stdout.write('verified: the log holds, byte for byte, what the container wrote\n');
  if (status === '0') return 0;
  stdout.write(`but the container ended with status ${status}\n`);
  return 1;
}

/** Shows the live line until the container has ended. @returns the monitor's CPU time when it was last seen. */
async function watchLog(run: ContainerRun, size: SampleSize, signal: AbortSignal): Promise<CpuTime | undefined> {
  const line = new LiveLine(process.stdout);
  const ended = run.waitForExit(signal);
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  ended.then(over, over);
  let window: Progress[] = [];
  let cpu: CpuTime | undefined;
  try {
    for (;;) {
      cpu = cpuTime(run.monitor.process.pid) ?? cpu;
      const now = { atMs: performance.now(), bytes: statSync(run.logPath).size };
      const [before = now] = window;
      // Before its first line and after its last one the container only waits.
      if (now.bytes > (window.at(-1)?.bytes ?? 0)) line.show(progress(before, now, size));
      window = now.bytes === 0 ? [now] : [...window, now].filter(({ atMs }) => now.atMs - atMs <= RATE_WINDOW_MS);
      if (isOver) break;
      await Promise.race([delay(TICK_MS), ended.catch(() => {})]);
    }
    await ended;
    return cpu;
  } finally {
    line.end();
  }
}

interface Progress {
  readonly atMs: number;
  /** Of the log. */
  readonly bytes: number;
}

/** An estimate: the log's growth, less a header for each line of the average length. */
function progress(before: Progress, now: Progress, size: SampleSize): string {
  const share = size.bytes / logBytes(size);
  const lineBytes = size.bytes / size.lines;
  const seconds = (now.atMs - before.atMs) / 1000;
  const bytesPerSecond = seconds > 0 ? ((now.bytes - before.bytes) * share) / seconds : 0;
  const total = Math.min(now.bytes * share, size.bytes);
  const speed = `${(bytesPerSecond / MEGA).toFixed(0).padStart(5)} MB/s`;
  const lines = `${millions(bytesPerSecond / lineBytes).padStart(6)} million lines/s`;
  return `${speed}  ${lines}  ${megabytes(total)} of ${megabytes(size.bytes)}`;
}

function logBytes(size: SampleSize): number {
  return size.bytes + size.lines * RECORD_HEADER_BYTES;
}

async function firstLines(path: string): Promise<readonly string[]> {
  const lines: string[] = [];
  const input = createReadStream(path, { end: 1 << 20 });
  for await (const line of createInterface({ input })) {
    if (lines.push(line.length > SHOWN_COLUMNS ? `${line.slice(0, SHOWN_COLUMNS)}...` : line) === SHOWN_LINES) break;
  }
  input.destroy();
  return lines;
}

function describeCpu(before: CpuTime | undefined, after: CpuTime | undefined, bytes: number): string {
  if (before === undefined || after === undefined) return 'unknown, it was gone too soon';
  const userSeconds = after.userSeconds - before.userSeconds;
  const systemSeconds = after.systemSeconds - before.systemSeconds;
  const total = userSeconds + systemSeconds;
  const perGigabyte = bytes > 0 ? `, ${((total / bytes) * 1e9).toFixed(2)} s/GB` : '';
  return `${total.toFixed(2)} s (${userSeconds.toFixed(2)} user, ${systemSeconds.toFixed(2)} system)${perGigabyte}`;
}

function rate(bytes: number, seconds: number): string {
  return seconds > 0 ? (bytes / MEGA / seconds).toFixed(0) : '-';
}

function millions(value: number): string {
  return Number.isFinite(value) ? (value / MEGA).toFixed(2) : '-';
}

function megabytes(bytes: number): string {
  return `${(bytes / MEGA).toFixed(0)} MB`;
}

function count(value: number): string {
  return value.toLocaleString('en');
}
