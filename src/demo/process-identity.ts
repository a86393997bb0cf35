/**
 * Which process a pid meant when we wrote it down: pid, start time and boot. Two processes never share all three, so a
 * pid that was given away again is never signalled. It reads /proc and sends signals; it keeps nothing.
 * Source: proc(5), /proc/pid/stat, fields 3, 6 and 22.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { codeOf } from './demo-error.ts';

/** A process, for good. Plain JSON. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start time in clock ticks since boot, as /proc writes it. */
  readonly startTicks: string;
  readonly bootId: string;
}

interface ProcessStat {
  /** One letter; `Z` and `X` are dead. */
  readonly state: string;
  readonly sessionId: number;
  readonly startTicks: string;
}

const POLL_MS = 5;

/** @returns undefined when there is no such process. A zombie still has an identity. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined ? undefined : { pid, startTicks: stat.startTicks, bootId: currentBootId() };
}

/** False for a zombie: it runs nothing any more. */
export function isAlive(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  return stat !== undefined && isRunning(stat) && isSame(identity, stat);
}

/**
 * Signals the process when it is still the one that was meant.
 * @returns false when it is gone; throws when the kernel refuses (EPERM).
 */
export function signalProcess(identity: ProcessIdentity, signal: number): boolean {
  return isAlive(identity) && sendSignal(identity.pid, signal);
}

/**
 * Signals every live process of the session that `leader` opened with setsid, the leader included; it may be dead.
 * The kernel does not reuse a pid while it names a session, so members of a dead leader's session are its own, unless
 * a live process has the leader's pid: then the number belongs to someone else, and nothing is signalled.
 * @returns how many processes got the signal.
 */
export function signalSession(leader: ProcessIdentity, signal: number): number {
  if (leader.bootId !== currentBootId()) return 0;
  const holder = readStat(leader.pid);
  if (holder !== undefined && !isSame(leader, holder)) return 0;
  let signalled = 0;
  for (const pid of sessionMembers(leader.pid)) if (sendSignal(pid, signal)) signalled++;
  return signalled;
}

/** Whether {@link signalSession} would still find someone. */
export function isSessionAlive(leader: ProcessIdentity): boolean {
  if (leader.bootId !== currentBootId()) return false;
  const holder = readStat(leader.pid);
  if (holder !== undefined && !isSame(leader, holder)) return false;
  return sessionMembers(leader.pid).length > 0;
}

/** Waits until the condition holds. @returns false when it still did not after `timeoutMs`. */
export async function waitUntil(condition: () => boolean, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

function sessionMembers(sessionId: number): readonly number[] {
  const members: number[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = readStat(pid);
    if (stat !== undefined && stat.sessionId === sessionId && isRunning(stat)) members.push(pid);
  }
  return members;
}

function sendSignal(pid: number, signal: number): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false;
    throw error;
  }
}

function isSame(identity: ProcessIdentity, stat: ProcessStat): boolean {
  return identity.startTicks === stat.startTicks && identity.bootId === currentBootId();
}

function isRunning(stat: ProcessStat): boolean {
  return stat.state !== 'Z' && stat.state !== 'X';
}

function readStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command name may hold spaces and brackets; what follows the last bracket does not.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [fields[0], fields[19]];
  if (state === undefined || startTicks === undefined) return undefined;
  return { state, sessionId: Number(fields[3]), startTicks };
}

function currentBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
