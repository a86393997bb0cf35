/**
 * A container's life made up from a seed: options, a shell script and what clients and an engine do meanwhile, together
 * with what has to be seen of it. Whatever is random is settled when it is made up: the script and the test wait for each other.
 */
import { writeFileSync } from 'node:fs';
import { type Random, seededRandom } from './random.ts';

/** What the test does while the script waits. */
export type Deed =
  | { readonly do: 'connect'; readonly client: number }
  | { readonly do: 'send'; readonly client: number; readonly text: string }
  | { readonly do: 'end-input' | 'close'; readonly client: number }
  | { readonly do: 'tell'; readonly fifo: 'ctl' | 'winsz'; readonly text: string }
  | { readonly do: 'move-log' }
  | { readonly do: 'signal'; readonly signal: NodeJS.Signals };

/** A deed, and how many bytes the streams have had by then. */
export interface Moment {
  readonly deed: Deed;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

export interface Streams {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

export interface Life {
  readonly style: 'crio' | 'podman';
  readonly args: readonly string[];
  readonly terminal: boolean;
  readonly log: boolean;
  /** The n-th is what happens when the script has touched `reached-n`; it goes on at `go-on-n`. */
  readonly moments: readonly Moment[];
  readonly exitStatus: number;
  readonly expected: Streams;
  /** What each client that stays to the end gets, by its number. */
  readonly clients: ReadonlyMap<number, Streams>;
  /** Writes the script and its data into `directory`. @returns a command line that runs it. */
  write(directory: string): string;
}

const STEPS_MAX = 12;
const INPUT_BYTES_MAX = 200;
const WINDOW_MAX = 900;
/** Lengths around those at which records, packets and pipes end. */
const LENGTHS = [1, 79, 4095, 8191, 8192, 8193, 40_000];
const HARMLESS_LINES = ['9 1 2\n', 'x\n', '1 2\n', '\n', '-1 0 0\n', '1 99999 1\n'];
const EXIT_STATUSES = [0, 1, 2, 17, 127, 137, 255];
const DEADLY_SIGNALS = [1, 9, 10, 15];

class Writer {
  readonly #random: Random;
  readonly #terminal: boolean;
  readonly script = ['await() { while [ ! -e "$1" ]; do sleep 0.01; done; }'];
  readonly files: Buffer[] = [];
  readonly moments: Moment[] = [];
  readonly clients = new Map<number, { stdout: Buffer[]; stderr: Buffer[] }>();
  readonly #silent = new Set<number>();
  readonly #all = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  #clientsMade = 0;
  #bytes = { stdout: 0, stderr: 0 };
  #input: 'open' | 'none' | 'ended';
  readonly #endsWithAClient: boolean;
  #closed = { stdout: false, stderr: false };

  constructor(random: Random, terminal: boolean, input: boolean, endsWithAClient: boolean) {
    this.#random = random;
    this.#terminal = terminal;
    this.#input = input ? 'open' : 'none';
    this.#endsWithAClient = endsWithAClient;
  }

  get expected(): Streams {
    return joined(this.#all);
  }

  output(): void {
    const stream = this.#random.below(3) === 0 ? 'stderr' : 'stdout';
    if (this.#closed[stream]) return;
    const bytes = Buffer.alloc(this.#random.pick(LENGTHS));
    // A terminal does things to other bytes.
    for (let at = 0; at < bytes.length; at++) {
      const other = this.#random.below(40);
      bytes[at] = other === 0 ? 10 : other === 1 && !this.#terminal ? this.#random.below(256) : 97 + (at % 26);
    }
    this.files.push(bytes);
    this.script.push(`cat data-${this.files.length - 1}${stream === 'stderr' ? ' >&2' : ''}`);
    this.#says(stream, bytes);
  }

  connect(): void {
    const client = this.#clientsMade++;
    this.#moment({ do: 'connect', client });
    this.clients.set(client, { stdout: [], stderr: [] });
  }

  send(): void {
    const client = this.#someClient();
    if (client === undefined || this.#input !== 'open' || this.#closed.stdout) return;
    const text = 'q'.repeat(1 + this.#random.below(INPUT_BYTES_MAX));
    this.#moment({ do: 'send', client, text: `${text}\n` });
    this.script.push('IFS= read -r line', 'echo "got $line"');
    if (this.#terminal) this.#says('stdout', Buffer.from(`${text}\n`));
    this.#says('stdout', Buffer.from(`got ${text}\n`));
  }

  leave(): void {
    const client = this.#someClient();
    if (client === undefined) return;
    const how = this.#random.pick(['end-input', 'close'] as const);
    this.#moment({ do: how, client });
    if (how === 'close') this.clients.delete(client);
    else this.#silent.add(client);
    if (this.#input !== 'open' || !this.#endsWithAClient) return;
    this.#input = 'ended';
    if (this.#terminal || this.#closed.stdout) return;
    this.script.push('echo "rest $(cat)"');
    this.#says('stdout', Buffer.from('rest \n'));
  }

  tell(): void {
    this.#moment({ do: 'tell', fifo: 'ctl', text: this.#random.pick(HARMLESS_LINES) });
  }

  moveLog(): void {
    this.#moment({ do: 'move-log' });
  }

  survive(): void {
    this.#moment({ do: 'signal', signal: 'SIGPIPE' });
  }

  resize(): void {
    const [rows, columns] = [1 + this.#random.below(WINDOW_MAX), 1 + this.#random.below(WINDOW_MAX)];
    const size = `${rows} ${columns}`;
    // C does not read winsz without a terminal.
    const byCtl = !this.#terminal || this.#random.below(2) === 0;
    this.#moment({ do: 'tell', fifo: byCtl ? 'ctl' : 'winsz', text: byCtl ? `1 ${size}\n` : `${size}\n` });
    if (!this.#terminal || this.#closed.stdout) return;
    this.script.push(`until [ "$(stty size)" = "${size}" ]; do sleep 0.01; done`, `echo "window ${size}"`);
    this.#says('stdout', Buffer.from(`window ${size}\n`));
  }

  /** A process that keeps the streams when the container has ended. The test ends it. */
  leaveOneBehind(): void {
    this.script.push('(exec sleep 100) &', 'echo $! >>behind');
  }

  closeStream(): void {
    const stream = this.#random.pick(['stdout', 'stderr'] as const);
    if (this.#terminal) return;
    this.script.push(`exec ${stream === 'stdout' ? 1 : 2}>&-`);
    this.#closed[stream] = true;
  }

  /** One that has not ended its input. */
  #someClient(): number | undefined {
    const those = [...this.clients.keys()].filter((client) => !this.#silent.has(client));
    return those.length === 0 ? undefined : this.#random.pick(those);
  }

  #moment(deed: Deed): void {
    const at = this.moments.length;
    this.script.push(`: >reached-${at}`, `await go-on-${at}`);
    this.moments.push({ deed, stdoutBytes: this.#bytes.stdout, stderrBytes: this.#bytes.stderr });
  }

  #says(to: 'stdout' | 'stderr', bytes: Buffer): void {
    const stream = this.#terminal ? 'stdout' : to;
    const seen = this.#terminal ? Buffer.from(bytes.toString('latin1').replaceAll('\n', '\r\n'), 'latin1') : bytes;
    this.#bytes[stream] += seen.length;
    for (const one of [this.#all, ...this.clients.values()]) one[stream].push(seen);
  }
}

function joined(parts: { readonly stdout: readonly Buffer[]; readonly stderr: readonly Buffer[] }): Streams {
  return { stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr) };
}

export function makeLife(seed: number): Life {
  const random = seededRandom(seed);
  const one = (times: number) => random.below(times) === 0;
  const [terminal, input, log] = [one(4), one(2), !one(5)];
  const leaveOpen = input && one(3);
  const writer = new Writer(random, terminal, input, !leaveOpen);
  const outputs = [() => writer.output(), () => writer.output(), () => writer.output()];
  const always = [
    ...outputs,
    () => writer.tell(),
    () => writer.resize(),
    () => writer.survive(),
    () => writer.leaveOneBehind(),
    () => writer.closeStream(),
    () => writer.leave(),
    () => writer.send(),
    () => writer.send(),
  ];
  // Only a log tells what conmon has taken, and so from where on a client gets output.
  const withLog = [() => writer.moveLog(), () => writer.connect(), () => writer.connect()];
  if (!log && one(2)) writer.connect();
  for (let steps = random.below(STEPS_MAX); steps > 0; steps--) random.pick(log ? [...always, ...withLog] : always)();
  const signal = one(3) ? random.pick(DEADLY_SIGNALS) : undefined;
  const status = random.pick(EXIT_STATUSES);
  writer.script.push(signal === undefined ? `exit ${status}` : `kill -${signal} $$; sleep 100`);
  const args = [
    ...(terminal ? ['-t'] : []),
    ...(input ? ['-i'] : []),
    ...(leaveOpen ? ['--leave-stdin-open'] : []),
    ...(one(3) ? ['--no-sync-log'] : []),
  ];
  return {
    style: random.pick(['crio', 'podman']),
    args,
    terminal,
    log,
    moments: writer.moments,
    exitStatus: signal === undefined ? status : 128 + signal,
    expected: writer.expected,
    clients: new Map([...writer.clients].map(([client, parts]) => [client, joined(parts)])),
    write: (directory) => {
      for (const [at, bytes] of writer.files.entries()) writeFileSync(`${directory}/data-${at}`, bytes);
      writeFileSync(`${directory}/life.sh`, [`cd ${directory}`, ...writer.script, ''].join('\n'));
      return `exec sh ${directory}/life.sh`;
    },
  };
}
