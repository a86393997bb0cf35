/**
 * Settings that C conmon does not have. Callers' arguments are fixed, but an administrator can set conmon's
 * environment (CRI-O monitor_env, Podman conmon_env_vars), so each is an option and a variable; the option wins.
 * Main thread, pure: the environment is handed in.
 */
import type { GivenOptions } from './goption.ts';
import { parseInteger } from './integer.ts';

/** Seconds by setting, or the first thing wrong with one of them (no prefix). */
export type OwnSettings =
  | { readonly kind: 'settings'; readonly createTimeoutSeconds: number; readonly attachStallTimeoutSeconds: number }
  | { readonly kind: 'problem'; readonly problem: string };

/** Reads both settings; 0 (for ever) when neither option nor variable says otherwise. */
export function readOwnSettings(given: GivenOptions, env: Readonly<Record<string, string | undefined>>): OwnSettings {
  const create = readSeconds('create-timeout', 'CONMON_CREATE_TIMEOUT', given, env);
  if (typeof create === 'string') return { kind: 'problem', problem: create };
  const stall = readSeconds('attach-stall-timeout', 'CONMON_ATTACH_STALL_TIMEOUT', given, env);
  if (typeof stall === 'string') return { kind: 'problem', problem: stall };
  return { kind: 'settings', createTimeoutSeconds: create, attachStallTimeoutSeconds: stall };
}

/** @returns the seconds, or the message. An empty variable counts as not set. */
function readSeconds(
  option: 'create-timeout' | 'attach-stall-timeout',
  variable: string,
  given: GivenOptions,
  env: Readonly<Record<string, string | undefined>>,
): number | string {
  const fromOption = given.ints[option];
  if (fromOption !== undefined) {
    return fromOption >= 0 ? fromOption : `--${option} must be 0 or more seconds, got ${fromOption}`;
  }
  const text = env[variable];
  if (text === undefined || text === '') return 0;
  const outcome = parseInteger(text, 32);
  if (outcome.kind === 'integer' && outcome.value >= 0) return outcome.value;
  return `${variable} must be 0 or more seconds, got '${text}'`;
}
