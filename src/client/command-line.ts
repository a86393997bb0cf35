/**
 * The attach client's command line: which socket, and how to talk. A program of its own, not a word of conmon's, whose
 * option dialect ignores positionals (docs/adr/0021). No I/O.
 */

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ClientError } from './client-error.ts';
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from './detach-keys.ts';

export const NAME = 'conmon-attach';

/** Where CRI-O's conmon has its sockets; as conmon's own default. */
const SOCKET_DIR = '/var/run/crio';
/** Longer is no id: it names a directory. */
const ID_MAX = 255;

export interface Plan {
  readonly kind: 'attach';
  readonly socketPath: string;
  /** Beside the socket, for window sizes. */
  readonly ctlPath: string;
  /** The container's bundle config, which says whether it has a terminal; beside the socket, too. */
  readonly configPath: string;
  /** Said on the command line; undefined = look at the config. */
  readonly terminal: boolean | undefined;
  readonly detachKeys: Uint8Array;
  readonly input: boolean;
  /** Where the container's exit status will be; undefined = not wanted. */
  readonly exitFile: string | undefined;
}

export type CommandLine = Plan | { readonly kind: 'text'; readonly text: string };

export const HELP = `usage: ${NAME} [OPTION]... CONTAINER|SOCKET

Attaches this terminal, or stdin, stdout and stderr, to a container that conmon monitors.
CONTAINER is an id below the socket directory, SOCKET a path with a slash, to conmon's attach socket.

  -c, --cid ID              the container, instead of CONTAINER
      --socket-dir-path DIR where containers' sockets are (default ${SOCKET_DIR})
  -b, --bundle DIR          the container's bundle, when its socket is there (Podman), instead of CONTAINER
      --detach-keys KEYS    keys that detach on a terminal, '' for none (default ${DEFAULT_DETACH_KEYS})
      --no-stdin            only show the output
  -t, --tty / --no-tty      the container has a terminal, or none (default: what config.json beside the socket says)
      --exit-dir DIR        end with the container's exit status, from DIR/CONTAINER
  -h, --help                this text
      --version             conmon's version

Status: 0 when the container has ended or was left, with --exit-dir the container's own; 1 for a failure, 2 for a
wrong command line, 128 and the signal's number when a signal ended it.
`;

/** Reads the arguments after the program's name. @throws ClientError saying what is wrong with them. */
export function parseCommandLine(args: readonly string[], version: string): CommandLine {
  const { values, positionals } = parse(args);
  if (values.help) return { kind: 'text', text: HELP };
  if (values.version) return { kind: 'text', text: `${NAME} of conmon ${version}\n` };
  const named = [...positionals, ...[values.cid, values.bundle].filter((value) => value !== undefined)];
  if (named.length !== 1)
    throw new ClientError(named.length === 0 ? 'no container was named' : 'several containers were named');
  const [target = ''] = named;
  if (target === '') throw new ClientError('the container’s name is empty');
  const isPath = values.cid === undefined && values.bundle === undefined && target.includes('/');
  const socketPath = isPath ? target : join(directoryOf(target, values), 'attach');
  const beside = (name: string) => join(socketPath, '..', name);
  const id = values.bundle === undefined && !isPath ? target : undefined;
  const exitDir = values['exit-dir'];
  if (exitDir !== undefined && id === undefined) throw new ClientError('--exit-dir needs a container’s id');
  if (values.tty && values['no-tty']) throw new ClientError('--tty and --no-tty contradict each other');
  return {
    kind: 'attach',
    socketPath,
    ctlPath: beside('ctl'),
    configPath: beside('config.json'),
    terminal: values.tty ? true : values['no-tty'] ? false : undefined,
    detachKeys: parseDetachKeys(values['detach-keys'] ?? DEFAULT_DETACH_KEYS),
    input: !values['no-stdin'],
    exitFile: exitDir === undefined || id === undefined ? undefined : join(exitDir, id),
  };
}

function directoryOf(
  target: string,
  values: { bundle?: string | undefined; 'socket-dir-path'?: string | undefined },
): string {
  if (values.bundle !== undefined) return values.bundle;
  if (target.includes('/') || target === '.' || target === '..' || target.length > ID_MAX)
    throw new ClientError(`${JSON.stringify(target)} is no container id`);
  return join(values['socket-dir-path'] ?? SOCKET_DIR, target);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        cid: { type: 'string', short: 'c' },
        bundle: { type: 'string', short: 'b' },
        'socket-dir-path': { type: 'string' },
        'detach-keys': { type: 'string' },
        'no-stdin': { type: 'boolean' },
        tty: { type: 'boolean', short: 't' },
        'no-tty': { type: 'boolean' },
        'exit-dir': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new ClientError(error instanceof Error ? error.message : String(error));
  }
}
