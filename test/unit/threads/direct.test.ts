/** Lines that go to clients from the log thread, with the real threads: who is woken for them, and what two processors make of it. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { AttachClient } from '../../helpers/attach-client.ts';
import { readLog } from '../../helpers/k8s-log.ts';
import { statusField } from '../../helpers/proc.ts';
import { seededRandom } from '../../helpers/random.ts';
import { waitFor } from '../../helpers/wait.ts';
import { SEED } from '../native/fake-sys.ts';
import { Place } from './place.ts';

const STEPS = 1500;

/** How often each of our threads has gone to sleep so far. */
function sleepsByThread(): Map<string, number> {
  const found = new Map<string, number>();
  for (const tid of readdirSync('/proc/self/task')) {
    try {
      const status = readFileSync(`/proc/self/task/${tid}/status`, 'latin1');
      found.set(tid, Number(statusField(status, 'voluntary_ctxt_switches')));
    } catch {
      // it has ended meanwhile
    }
  }
  return found;
}

t.test('a line does not wake the attach thread, unless a client takes nothing or says something', async (t) => {
  const place = new Place(t);
  place.begin();
  await place.streams.print('before anyone came\n');
  await waitFor('the log worker', () => place.streams.records.length === 1);
  const before = sleepsByThread();
  const clients = [await place.connect(), await place.connect()];
  for (const client of clients) await client.send('hello');
  await waitFor('the input', () => place.heard().length > 0);
  const lines = 300;
  const printAll = async (mark: string) => {
    for (let i = 0; i < lines; i++) {
      await place.streams.print(`${mark} ${i}\n`);
      for (const client of clients) await client.waitForText(`${mark} ${i}\n`);
    }
  };
  await printAll('warm');
  const warm = sleepsByThread();
  await printAll('line');
  let sleeps = 0;
  // Whatever came with the clients: the attach worker, and now and then a thread of Node's that a line does not wake either.
  for (const [tid, count] of sleepsByThread()) if (!before.has(tid)) sleeps += count - (warm.get(tid) ?? 0);
  t.ok(sleeps < lines / 4, `${sleeps} wake-ups for ${lines} lines`);
  for (const client of clients) client.close();
});

t.test(`clients get each byte once, whoever sends and whoever dies, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const place = new Place(t);
  place.begin();
  interface Visitor {
    readonly client: AttachClient;
    /** It may miss the end: it has left, or its worker was killed. */
    mayEnd: boolean;
  }
  const visitors: Visitor[] = [];
  let written = '';
  /** Where each record starts. */
  const starts: number[] = [];
  const arrive = async () => {
    visitors.push({ client: await place.connect(), mayEnd: false });
  };
  const there = () => visitors.filter(({ client, mayEnd }) => !mayEnd && !client.ended);
  const print = async (length: number) => {
    const text = `<${starts.length} ${'x'.repeat(length)}>\n`;
    starts.push(written.length);
    written += text;
    await place.streams.print(text);
  };
  const line = () => print(random.below(200));
  const acts: (() => Promise<unknown>)[] = [
    line,
    line,
    line,
    line,
    line,
    () => print(random.pick([1, 7000, 8000, 40_000, 300_000])),
    async () => await sleep(random.below(3)),
    async () => {
      for (const { client } of there()) await client.send('x');
    },
    async () => {
      if (there().length < 4) await arrive();
    },
    async () => {
      const visitor = random.below(5) === 0 ? there()[0] : undefined;
      if (visitor === undefined) return;
      visitor.mayEnd = true;
      visitor.client.close();
    },
    async () => {
      const client = there().at(-1)?.client;
      if (client === undefined) return;
      client.pause();
      const printed = line().then(() => print(random.pick([10, 300_000]))); // may have to wait for the client
      await sleep(2);
      client.read();
      await printed;
    },
  ];
  const deaths = new Map([
    [STEPS / 4, 'attach'],
    [STEPS / 3, 'log'],
    [STEPS / 2, 'attach'],
    [(STEPS * 2) / 3, 'log'],
  ] as const);
  await arrive();
  for (let step = 0; step < STEPS; step++) {
    const who = deaths.get(step);
    if (who === 'attach') for (const visitor of visitors) visitor.mayEnd = true;
    if (who !== undefined) {
      const dead = place.kill(who);
      await line();
      await dead;
    }
    await random.pick(acts)();
    place.heard();
  }
  // Who was not let in before the end gets nothing.
  while (there().some(({ client }) => client.packets === 0)) {
    await line();
    await sleep(1);
  }
  place.output.end(true);
  await place.streams.ended();
  for (const { client } of there()) await client.waitForEnd();
  for (const [i, { client, mayEnd }] of visitors.entries()) {
    const { text } = client;
    // It may begin before it came, with what nobody had read from the pipe, and amid a write that took several reads.
    const first = /<(\d+) /.exec(text);
    // Without a beginning it is the end of a long one: somebody who came late, or left early.
    const from = first ? (starts[Number(first[1])] ?? 0) - first.index : written.length - text.length;
    const whole = first ? written.slice(from, from + text.length) === text : /^x*>?\n?$/.test(text);
    if (!whole) t.fail(`client ${i}: ${text.length} bytes are no piece`);
    if (!mayEnd && !written.endsWith(text)) t.fail(`client ${i} lacks the end`);
    client.close();
  }
  t.equal(place.deaths.length, deaths.size);
  const log = readLog(place.streams.path);
  t.ok(log.stdout.equals(Buffer.from(written)), `the log has all ${written.length} bytes`);
});
