// One flood: a container writes as fast as it can, and the log is timed until it is complete, then verified. Also the
// floor: a plain copy of as many bytes from a pipe to a file. Main thread only.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { numberIn } from './container.ts';
import type { Environment, Sample, Side } from './environment.ts';
import { type Monitor, startMonitor } from './monitor.ts';
import { programPath } from './native.ts';
import { payloadLines, verifyJsonLog } from './payload.ts';
import { machineCpu } from './procfs.ts';
import { type LogFormat, verifyLog } from './verify.ts';
import { within } from './wait.ts';

const run = promisify(execFile);

export interface Load {
  /** One line with its newline. */
  readonly lineBytes: number;
  /** Payload of one run: about a second of C conmon, so that the faster side still runs long enough to be timed. */
  readonly payloadMB: number;
  /** The row's name; the line length by default. */
  readonly variant?: string;
  /** Lines of any bytes, or of words in which nothing has to be escaped, instead of any printable characters. */
  readonly content?: 'binary' | 'words';
  /** As much again to stderr, at the same time. */
  readonly both?: boolean;
  /** Bytes of one write(2) of the container; 64 KiB by default. */
  readonly chunkBytes?: number;
  /** Microseconds from one of these writes to the next; as fast as they go by default. */
  readonly everyUs?: number;
  /** The value of --log-path; a k8s-file by default. */
  readonly log?: (logPath: string) => string;
  /** How the log is verified; `none`: there is no log. */
  readonly format?: LogFormat | 'json' | 'none';
  /** More arguments of conmon. */
  readonly extra?: readonly string[];
}

/** CRI record around the content: timestamp, stream, tag and their spaces; the newline stands for the payload's own. */
const prefixBytes = 45;
const recordLimitBytes = 8192;
/** The log is complete when the pipe is empty and the file has its size and has kept it for so long. */
const quietMs = 50;
/** A log that has not grown for so long is not going to; a disk that is busy writing may take seconds. */
const stallMs = 10_000;
/** Longest that a flood may take, and more for each MB: no monitor is as slow as 50 MB/s. */
const writeLimitMs = 60_000;
const limitMsPerMB = 20;
const warmLimitMs = 60_000;

export function variantOf(load: Load): string {
  return load.variant ?? String(load.lineBytes);
}

/** The line as bench/native/pattern.h is told of it. */
function specOf(load: Load): string {
  return `${load.lineBytes}${load.content === undefined ? '' : load.content === 'binary' ? 'b' : 'w'}`;
}

/** Bytes that the container writes to one stream. */
export function streamBytes(load: Load): number {
  return Math.floor((load.payloadMB * 1e6) / load.lineBytes) * load.lineBytes;
}

/** Size of the log when no line is split more often than the record limit demands. */
export function leastLogBytes(lineBytes: number, totalBytes: number): number {
  const recordsPerLine = Math.max(1, Math.ceil((lineBytes - 1) / recordLimitBytes));
  // Each record after the first of a line adds a prefix and a newline of its own.
  const lineInLog = prefixBytes + lineBytes + (recordsPerLine - 1) * (prefixBytes + 1);
  return Math.floor(totalBytes / lineBytes) * lineInLog;
}

/** Size that the log has at least when it is complete; 0: there is none that grows to the end, the empty pipe is what counts. */
function leastOf({ format, lineBytes }: Load, totalBytes: number): number {
  if (format === 'none' || format === 'k8s-tail') return 0;
  return format === 'json' ? totalBytes : leastLogBytes(lineBytes, totalBytes);
}

export async function warmMemory(bytes: number, signal: AbortSignal): Promise<void> {
  await run(programPath('warm-memory'), [String(marginOf(bytes))], { timeout: warmLimitMs, signal });
}

/** So much memory as {@link warmMemory} touches, freed bit by bit while it is used (bench/native/hold-memory.c). */
export interface HeldMemory {
  /** Frees the rest. Rejects when it was not held until then. */
  release(): Promise<void>;
}

/** The caller releases it, whatever happens. */
export async function holdMemory(bytes: number, signal: AbortSignal): Promise<HeldMemory> {
  const holder = spawn(programPath('hold-memory'), [String(marginOf(bytes))], {
    stdio: ['pipe', 'pipe', 'inherit'],
    signal,
    killSignal: 'SIGKILL',
  });
  const ended = once(holder, 'exit');
  ended.catch(() => {}); // told to who waits for it
  const warm = once(holder.stdout, 'data');
  const [status] = await within('memory to be touched', Promise.race([warm, ended]), warmLimitMs, signal).catch(
    (error) => {
      holder.kill('SIGKILL');
      throw error;
    },
  );
  if (String(status) !== 'warm\n') throw new Error(`hold-memory ended with ${status}`);
  return {
    release: async () => {
      holder.stdin.end();
      const [code] = await ended;
      if (code !== 0) throw new Error(`hold-memory ended with ${code}`);
    },
  };
}

/** What is written is not all that a run takes: pipes, buffers, the kernel's own books. */
function marginOf(bytes: number): number {
  return Math.round(bytes * 1.1) + 64e6;
}

/** One run: start, flood, wait for the log to be complete, take the times, end, verify. Rejects if anything is amiss. */
export async function floodMonitor(
  environment: Environment,
  side: Side,
  load: Load,
  scenario = 'throughput',
): Promise<Sample> {
  const streams = load.both === true ? 2 : 1;
  const totalBytes = streamBytes(load) * streams;
  const least = leastOf(load, totalBytes);
  const { log, extra = [] } = load;
  const monitor = await startMonitor(environment, side, log === undefined ? { extra } : { log, extra });
  try {
    // Nobody else writes this file then, but something must be watched.
    if (load.format === 'none') await writeFile(monitor.logPath, '');
    await warmMemory(least, environment.signal);
    const machineBefore = await machineCpu();
    const cpuBeforeNs = await monitor.cpuNs();
    const { written, quiet } = await flood(monitor, load, least);
    const machineAfter = await machineCpu();
    const cpuNs = (await monitor.cpuNs()) - cpuBeforeNs;
    await monitor.finish(0);
    // After the end: a record that is added then (an empty F, say) must be found too.
    const verdict = await verify(load, monitor.logPath);
    if (least > 0 && verdict.logBytes !== numberIn(quiet, 'size'))
      throw new Error('the log was not complete when it was timed');
    const wallNs = numberIn(quiet, least > 0 ? 'complete' : 'drained') - numberIn(written, 'first');
    const generatorNs = numberIn(written, 'cpu') + numberIn(quiet, 'cpu');
    const othersNs = machineAfter.busyNs - machineBefore.busyNs - cpuNs - generatorNs;
    return {
      scenario,
      variant: variantOf(load),
      subject: side,
      metrics: {
        payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / totalBytes,
        wallMs: wallNs / 1e6,
        cpuMs: cpuNs / 1e6,
        startCpuMs: monitor.startCpuNs / 1e6,
        // A second generator is a child of the first: its CPU is not known, and counts as others'.
        ...(streams === 1 ? { generatorShare: numberIn(written, 'cpu') / wallNs } : {}),
        ...(streams === 1
          ? {
              othersShare: Math.max(0, othersNs + machineAfter.stolenNs - machineBefore.stolenNs) / wallNs,
            }
          : {}),
        payloadBytes: totalBytes,
        logBytes: verdict.logBytes,
        records: verdict.records,
        partial: verdict.partial,
      },
    };
  } finally {
    await monitor.dispose();
  }
}

/**
 * Lets the container write and waits until the log has all of it.
 * @param least bytes of the complete log; 0 when it is replaced meanwhile: then the empty pipe is what counts.
 * @param atNs when it begins, CLOCK_MONOTONIC; at once by default.
 */
export async function flood(monitor: Monitor, load: Load, least: number, atNs = 0) {
  const chunk = load.chunkBytes === undefined ? '' : ` chunk=${load.chunkBytes}`;
  const every = load.everyUs === undefined ? '' : ` every=${load.everyUs * 1000}`;
  const both = load.both === true ? ' both=1' : '';
  const at = atNs === 0 ? '' : ` at=${atNs}`;
  const command = `write line=${specOf(load)} total=${streamBytes(load)}${chunk}${every}${both}${at}`;
  const limitMs = writeLimitMs + load.payloadMB * limitMsPerMB;
  const written = await monitor.container.request(command, limitMs);
  const watch = `watch min=${least} quiet=${quietMs} stall=${stallMs} path=${monitor.logPath}`;
  const quiet = await monitor.container.request(watch, limitMs);
  return { written, quiet };
}

async function verify(load: Load, path: string): Promise<{ logBytes: number; records: number; partial: number }> {
  const format = load.format ?? 'k8s';
  if (format === 'none') return { logBytes: (await stat(path)).size, records: 0, partial: 0 };
  if (format === 'json') {
    const logBytes = await verifyJsonLog(path, await payloadLines(specOf(load)), streamBytes(load));
    return { logBytes, records: streamBytes(load) / load.lineBytes, partial: 0 };
  }
  if (load.both !== true) return verifyLog(format, path, specOf(load), streamBytes(load));
  const out = await verifyLog(format, path, specOf(load), streamBytes(load), 'stdout');
  const err = await verifyLog(format, path, specOf(load), streamBytes(load), 'stderr');
  return { logBytes: out.logBytes, records: out.records + err.records, partial: out.partial + err.partial };
}

/** Copies as many bytes as the log has from a pipe into a file; the rate is that of the payload they stand for. */
export async function copyFloor(environment: Environment, load: Load): Promise<Sample> {
  const totalBytes = streamBytes(load);
  const outputBytes = leastLogBytes(load.lineBytes, totalBytes);
  const path = join(environment.workDir, 'floor');
  try {
    await warmMemory(outputBytes, environment.signal);
    const { stdout } = await run(programPath('copy-floor'), [specOf(load), String(outputBytes), path], {
      timeout: writeLimitMs,
      signal: environment.signal,
    });
    await verifyLog('raw', path, specOf(load), outputBytes);
    const report: unknown = JSON.parse(stdout);
    const wallNs = Number(Reflect.get(Object(report), 'wallNs'));
    const cpuNs = Number(Reflect.get(Object(report), 'cpuNs'));
    return {
      scenario: 'throughput',
      variant: variantOf(load),
      subject: 'floor',
      metrics: {
        payloadMBps: totalBytes / 1e6 / (wallNs / 1e9),
        cpuSecondsPerGB: cpuNs / totalBytes,
        wallMs: wallNs / 1e6,
        cpuMs: cpuNs / 1e6,
        payloadBytes: totalBytes,
        logBytes: (await stat(path)).size,
      },
    };
  } finally {
    await rm(path, { force: true });
  }
}
