/** Makes the log drivers of a session: which target is written by what. Log thread; wiring only. */

import type { Diag } from '../diag/diag.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { forgetPages } from '../native/rest.ts';
import { bytesOf } from '../native/shared-bytes.ts';
import type { Sys } from '../native/sys.ts';
import type { DriverTarget, JournaldTarget, LogCounters, RotationPlan, SizeLimits } from '../proto/log-messages.ts';
import { outputOffset, type RingGeometry } from '../ring/layout.ts';
import { type DriverState, driverState } from './driver-state.ts';
import type { PumpDriver } from './feed.ts';
import { FileSink, type SyncFile } from './file-sink.ts';
import { Journald } from './journald.ts';
import { JsonFormat } from './json-format.ts';
import { K8sFormat } from './k8s-format.ts';
import { Loss } from './loss.ts';
import { RecordFile, type RecordFormat } from './record-file.ts';
import { replacement } from './rotation.ts';
import { Timestamp } from './timestamp.ts';
import { UtcTime } from './utc-time.ts';

/** What all drivers of a session share. */
export interface DriverParts {
  readonly sys: Sys;
  readonly diag: Diag;
  readonly memory: WebAssembly.Memory;
  readonly geometry: RingGeometry;
  readonly kernel: Kernel;
  readonly counters: LogCounters;
  readonly limits: SizeLimits;
  readonly rotation: RotationPlan;
  /** How a log file is made durable; absent = by waiting for it. */
  readonly syncFile?: SyncFile | undefined;
  /** Whether a message to the journal may wait a moment; absent = it may. */
  readonly waits?: boolean | undefined;
}

/** Driver number `index` of the session; it takes the target's fd over. */
export function createDriver(parts: DriverParts, target: DriverTarget, index: number): PumpDriver {
  const { sys, diag, memory } = parts;
  const name = target.driver === 'journald' ? 'journald' : target.path;
  const state = driverState(memory, index);
  const loss = new Loss(sys, diag, name, state);
  const driver =
    target.driver === 'journald'
      ? journald(parts, target, index, state, loss)
      : recordFile(parts, target, index, state, loss);
  return { driver, state, loss, name };
}

type FileTarget = Exclude<DriverTarget, JournaldTarget>;

function recordFile(parts: DriverParts, target: FileTarget, index: number, state: DriverState, loss: Loss): RecordFile {
  const { sys, diag, memory, counters, limits, rotation, syncFile } = parts;
  const format = recordFormat(parts, target);
  const { path, fd } = target;
  const notice = (text: string): Uint8Array => format.notice(text);
  const replaced = replacement(sys, path, rotation);
  const sink = new FileSink({
    ...{ sys, diag, counters, path, fd, limits, state, loss, notice },
    replacement: replaced,
    ...(syncFile && { syncFile }),
  });
  const bytes = bytesOf(memory);
  const forget = (from: number, to: number): void => forgetPages(sys, bytes, from, to);
  return new RecordFile({ memory, format, sink, counters, state, forget, ...places(parts, index) });
}

function recordFormat({ sys, memory, kernel }: DriverParts, target: FileTarget): RecordFormat {
  if (target.driver === 'k8s-file') return new K8sFormat(memory, kernel, new Timestamp(sys));
  return new JsonFormat(memory, kernel, new UtcTime(sys), target.attributes);
}

function journald(parts: DriverParts, target: JournaldTarget, index: number, state: DriverState, loss: Loss): Journald {
  const { sys, memory, kernel, counters, waits = true } = parts;
  return new Journald(target, { sys, memory, kernel, counters, state, loss, waits, ...places(parts, index) });
}

/** Where in the shared memory driver `index` works: two formatter states, two output areas. */
function places({ geometry }: DriverParts, index: number) {
  const outputs: readonly [number, number] = [outputOffset(geometry, 2 * index), outputOffset(geometry, 2 * index + 1)];
  return { firstState: 2 * index, outputs, outputBytes: geometry.outputBytes };
}
