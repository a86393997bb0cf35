/**
 * Whether an exec is one for this daemon's own container, and one that it can hold (docs/adr/0035-sessions.md). Two
 * engines may use the same container id under different roots of the runtime. Pure.
 */

import type { Options } from '../cli/options.ts';
import type { Environment } from './environment.ts';

/** Arguments of runtimes that do not say which container is meant, with a value of their own: Podman gives each exec a log. */
const IRRELEVANT = ['--log', '--log-format', '--log-level'];
const IRRELEVANT_FLAGS = ['--debug'];
/** What conmon itself reads of the environment, and Node once and for all. */
const PROCESS_VARIABLES = ['TZ', 'TZDIR'];

export interface Call {
  readonly options: Options;
  readonly environment: Environment;
}

/** @returns why the exec must have a conmon of its own; undefined when it may join. */
export function whyNotJoin(container: Call, exec: Call): string | undefined {
  const [own, its] = [container.options, exec.options];
  if (!its.exec) return 'it is no exec';
  if (its.cid !== own.cid) return 'it is for another container';
  if (its.runtime !== own.runtime) return 'it is for another runtime';
  const root = identifying(own.runtimeArgs);
  if (identifying(its.runtimeArgs).join('\0') !== root.join('\0')) return 'it has other arguments for the runtime';
  // Where a runtime keeps its containers when it is not told.
  if (!root.some(isRoot) && container.environment.get('XDG_RUNTIME_DIR') !== exec.environment.get('XDG_RUNTIME_DIR'))
    return 'it has another runtime directory';
  if (PROCESS_VARIABLES.some((name) => container.environment.get(name) !== exec.environment.get(name)))
    return 'it has another time zone';
  // Whoever reads it may end that process.
  if (its.conmonPidfile !== undefined) return 'its caller asks for the pid of its conmon';
  if (its.logTargets.some(({ driver }) => driver === 'passthrough')) return "it gets its caller's streams";
  return undefined;
}

function isRoot(argument: string): boolean {
  return argument === '--root' || argument.startsWith('--root=');
}

/** The runtime's arguments without those that {@link IRRELEVANT} names. */
function identifying(args: readonly string[]): readonly string[] {
  const left: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const argument = args[i] ?? '';
    if (IRRELEVANT.includes(argument)) i++;
    else if (!IRRELEVANT_FLAGS.includes(argument) && !IRRELEVANT.some((name) => argument.startsWith(`${name}=`)))
      left.push(argument);
  }
  return left;
}
