/**
 * What containers write is in a real journald's journal: the same fields under ours and under C, byte for byte, also when
 * the journal comes late, hangs or is away.
 */

import { randomInt } from 'node:crypto';
import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Container, ContainerOptions } from '../helpers/container.ts';
import { messages, summary, TestJournal } from '../helpers/journal.ts';
import { field, type JournalEntry } from '../helpers/journal-entry.ts';
import { readLog } from '../helpers/k8s-log.ts';
import { nativeHelper } from '../helpers/native.ts';
import { seededRandom } from '../helpers/random.ts';
import { waitFor } from '../helpers/wait.ts';

const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));
const OLD_C = 'C 2.1.6 has no such option; 2.2.1 has';

/** A container that logs to `journal`. */
function logged(c: Case, journal: TestJournal, options: ContainerOptions): Container {
  return c.container({ logPaths: ['journald'], conmonPath: journal.wrap(c.monitor.path), ...options });
}

async function running(c: Case): Promise<TestJournal> {
  const journal = new TestJournal(c.workspace);
  await journal.start();
  return journal;
}

/** What the sender says, without what journald adds and without C's places in its own source. */
function sent(entry: JournalEntry): Record<string, string> {
  const fields = [...entry].filter(([name]) => !name.startsWith('_') && !name.startsWith('CODE_'));
  return Object.fromEntries(fields.map(([name, values]) => [name, values.map(String).join('|')]));
}

promise('entries say who wrote them, with a tag and without', {}, async (c) => {
  const journal = await running(c);
  for (const tag of [undefined, 'the tag']) {
    const fake = ["container printf 'out\\n'; sleep 0.2; printf 'err\\n' >&2"];
    const container = logged(c, journal, { fake, args: tag === undefined ? [] : ['--log-tag', tag] });
    await container.created();
    await container.exited();
    const entries = await journal.waitForEntries(container.cid, ({ length }) => length === 2);
    const name = container.args[container.args.indexOf('-n') + 1] ?? '';
    const common = {
      CONTAINER_ID: container.cid.slice(0, 12),
      CONTAINER_ID_FULL: container.cid,
      CONTAINER_NAME: name,
      ...(tag === undefined ? {} : { CONTAINER_TAG: tag }),
      SYSLOG_IDENTIFIER: tag ?? name,
    };
    c.t.strictSame(entries.map(sent), [
      { ...common, PRIORITY: '6', MESSAGE: 'out\n' },
      { ...common, PRIORITY: '3', MESSAGE: 'err\n' },
    ]);
  }
});

promise('labels are fields', { excludes: { c: OLD_C } }, async (c) => {
  const journal = await running(c);
  const args = ['--log-label', 'APP=web', '--log-label', 'EMPTY='];
  const container = logged(c, journal, { fake: ['container echo x'], args });
  await container.created();
  await container.exited();
  const [entry] = await journal.waitForEntries(container.cid, ({ length }) => length === 1);
  c.t.match(sent(entry ?? new Map()), { APP: 'web', EMPTY: '' });
});

promise('a line that several writes made is one entry; what a stream ends with is a part', {}, async (c) => {
  const journal = await running(c);
  const fake = ["container printf 'one '; sleep 0.1; printf 'line\\n\\n'; printf 'rest'"];
  const container = logged(c, journal, { fake });
  await container.created();
  await container.exited();
  const entries = await journal.waitForEntries(container.cid, ({ length }) => length === 3);
  c.t.strictSame(entries.map(summary), ['6|one line\n', '6|\n', '6|rest+']);
});

promise('parts are not marked with --no-container-partial-message', { excludes: { c: OLD_C } }, async (c) => {
  const journal = await running(c);
  const fake = ['container printf rest'];
  const container = logged(c, journal, { fake, args: ['--no-container-partial-message'] });
  await container.created();
  await container.exited();
  const entries = await journal.waitForEntries(container.cid, ({ length }) => length === 1);
  c.t.strictSame(entries.map(summary), ['6|rest']);
});

promise(
  'a priority at the beginning of a line is taken',
  { differs: { c: 'C 2.1.6 does not know them; 2.2.1 does, in lines that one read brought' } },
  async (c) => {
    const journal = await running(c);
    const fake = ["container printf '<4>warn\\n<9>no\\n'; printf '<'; sleep 0.1; printf '2>crit\\n'"];
    const container = logged(c, journal, { fake });
    await container.created();
    await container.exited();
    const entries = await journal.waitForEntries(container.cid, ({ length }) => length === 3);
    const wanted = ['4|warn\n', '6|<9>no\n', '2|crit\n'];
    c.t.strictSame(
      entries.map(summary),
      c.differs === undefined ? wanted : ['6|<4>warn\n', '6|<9>no\n', '6|<2>crit\n'],
    );
  },
);

promise('a line of 48 KiB is one entry', { differs: { c: 'C splits lines at its buffer of 8 KiB' } }, async (c) => {
  const journal = await running(c);
  const line = 'x'.repeat(48 * 1024);
  const data = c.workspace.path('data');
  writeFileSync(data, `${line}\n`);
  const container = logged(c, journal, { fake: [`container cat ${data}`] });
  await container.created();
  await container.exited();
  const whole = (entries: readonly JournalEntry[]): boolean => messages(entries, '6').length > line.length;
  const entries = await journal.waitForEntries(container.cid, whole);
  if (c.differs === undefined) c.t.strictSame(entries.map(summary), [`6|${line}\n`]);
  else c.t.ok(entries.length > 5, `${entries.length} entries`);
});

/** Any bytes but `<`: a priority would be taken out of them. */
function scribbled(c: Case): { args: string[]; streams: readonly [Buffer, Buffer] } {
  const random = seededRandom(SEED);
  const pieces = Array.from({ length: 80 }, () => {
    const bytes = Buffer.alloc(random.pick([1, 2, 80, 1000, 8191, 8192, 8193, 30_000]));
    const newlineEvery = random.pick([100, 5000, 1_000_000]);
    for (let i = 0; i < bytes.length; i++)
      bytes[i] = random.below(newlineEvery) === 0 ? 10 : random.pick([0, 65, 90, 0x3d, 0xff, 0xc3, 13, 128]);
    return { fd: 1 + random.below(2), bytes };
  });
  const [program, data, plan] = [c.workspace.path('scribble'), c.workspace.path('data'), c.workspace.path('plan')];
  copyFileSync(nativeHelper('scribble'), program);
  writeFileSync(data, Buffer.concat(pieces.map(({ bytes }) => bytes)));
  writeFileSync(plan, pieces.map(({ fd, bytes }) => `${fd} ${bytes.length} ${random.pick([0, 0, 200])}\n`).join(''));
  const stream = (fd: number): Buffer =>
    Buffer.concat(pieces.filter((each) => each.fd === fd).map(({ bytes }) => bytes));
  return { args: [program, data, plan], streams: [stream(1), stream(2)] };
}

promise(`any bytes of a real container, seed ${SEED}`, { runtimes: ['runc'] }, async (c) => {
  const journal = await running(c);
  const { args, streams } = scribbled(c);
  const container = logged(c, journal, { process: { args } });
  await container.run();
  c.t.equal(await container.finished(), 0);
  const total = streams[0].length + streams[1].length;
  const entries = await journal.waitForEntries(
    container.cid,
    (entries) => messages(entries, '6').length + messages(entries, '3').length >= total,
  );
  c.t.ok(messages(entries, '6').equals(streams[0]), 'stdout');
  c.t.ok(messages(entries, '3').equals(streams[1]), 'stderr');
});

promise('a flood is all there, in order', {}, async (c) => {
  const journal = await running(c);
  const data = c.workspace.path('data');
  const text = Array.from({ length: 30_000 }, (_, i) => `line ${i} of a flood ${'.'.repeat(120)}\n`).join('');
  writeFileSync(data, text);
  const container = logged(c, journal, { fake: [`container cat ${data}`] });
  await container.created();
  await container.exited(40_000);
  const entries = await journal.waitForEntries(container.cid, ({ length }) => length >= 30_000);
  c.t.ok(messages(entries, '6').equals(Buffer.from(text)));
});

promise('k8s-file and journald together both get everything', {}, async (c) => {
  const journal = await running(c);
  const container = logged(c, journal, {
    fake: ["container printf 'a\\nb\\n'; sleep 0.2; echo c >&2"],
    logPaths: [`k8s-file:${c.workspace.path('c.log')}`, 'journald'],
  });
  await container.created();
  await container.exited();
  const entries = await journal.waitForEntries(container.cid, ({ length }) => length === 3);
  c.t.strictSame(entries.map(summary), ['6|a\n', '6|b\n', '3|c\n']);
  const log = readLog(c.workspace.path('c.log'));
  c.t.equal(`${log.stdout}${log.stderr}`, 'a\nb\nc\n');
});

const LOSES = 'C loses what it cannot send';

promise('a journal that comes late gets all that was kept for it', { excludes: { c: LOSES } }, async (c) => {
  const journal = new TestJournal(c.workspace);
  const go = c.workspace.path('go');
  const fake = [`container echo early; while [ ! -e ${go} ]; do sleep 0.05; done; echo late`];
  const container = logged(c, journal, { fake });
  await container.created();
  await journal.start();
  const first = await journal.waitForEntries(container.cid, ({ length }) => length === 1);
  c.t.strictSame(first.map(summary), ['6|early\n']);
  writeFileSync(go, '');
  await container.exited();
  const entries = await journal.waitForEntries(container.cid, ({ length }) => length === 2);
  c.t.strictSame(entries.map(summary), ['6|early\n', '6|late\n'], 'nothing was lost, nothing is told');
});

/** Lines of a flood that are larger than what is kept for a journal that is away. */
const FLOOD_LINES = 60_000;
const FLOOD = (i: number): string => `line ${i} ${'.'.repeat(100)}\n`;

/** Checks that what is there and what an entry says is missing make up all lines. @returns how many lines are missing. */
function accounted(c: Case, entries: readonly JournalEntry[], line: (i: number) => string, count: number): number {
  const told = entries.map((entry) =>
    /^\[conmon\] dropped (\d+) bytes in (\d+) records/.exec(field(entry, 'MESSAGE') ?? ''),
  );
  const notices = told.filter((match) => match !== null);
  const [bytes, records] = [1, 2].map((group) => notices.reduce((sum, match) => sum + Number(match[group]), 0));
  const numbers = entries.flatMap((entry) => {
    const match = /^line (\d+) /.exec(field(entry, 'MESSAGE') ?? '');
    return match === null ? [] : [Number(match[1])];
  });
  c.t.ok(
    numbers.every((n, i) => i === 0 || n > (numbers[i - 1] ?? 0)),
    'in order, none twice',
  );
  const there = new Set(numbers);
  const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !there.has(i));
  c.t.equal(records, missing.length, 'as many lines are missing as is told');
  c.t.equal(
    bytes,
    missing.reduce((sum, i) => sum + line(i).length, 0),
    'and as many bytes',
  );
  return missing.length;
}

promise(
  'a journal that is away stops no container, and tells later what is missing',
  { excludes: { c: LOSES } },
  async (c) => {
    const journal = new TestJournal(c.workspace);
    const [data, go, written] = [c.workspace.path('data'), c.workspace.path('go'), c.workspace.path('written')];
    writeFileSync(data, Array.from({ length: FLOOD_LINES }, (_, i) => FLOOD(i)).join(''));
    const fake = [`container cat ${data}; touch ${written}; while [ ! -e ${go} ]; do sleep 0.05; done; echo end`];
    const container = logged(c, journal, { fake });
    await container.created();
    await waitFor('the container to have written all', () => existsSync(written));
    await journal.start();
    writeFileSync(go, '');
    c.t.equal(await container.exited(), 0);
    const ended = (entries: readonly JournalEntry[]): boolean => entries.some((entry) => summary(entry) === '6|end\n');
    const entries = await journal.waitForEntries(container.cid, ended);
    c.t.ok(accounted(c, entries, FLOOD, FLOOD_LINES) > 1000, 'some lines found no room');
  },
);

promise(
  'a journal that hangs stops no container, and tells later what is missing',
  { excludes: { c: 'C hangs with it' } },
  async (c) => {
    const journal = await running(c);
    const [data, go, written] = [c.workspace.path('data'), c.workspace.path('go'), c.workspace.path('written')];
    writeFileSync(data, Array.from({ length: FLOOD_LINES }, (_, i) => FLOOD(i)).join(''));
    const fake = [`container cat ${data}; touch ${written}; while [ ! -e ${go} ]; do sleep 0.05; done; echo end`];
    journal.signal('SIGSTOP');
    const container = logged(c, journal, { fake });
    await container.created();
    await waitFor('the container to have written all', () => existsSync(written));
    journal.signal('SIGCONT');
    writeFileSync(go, '');
    c.t.equal(await container.exited(), 0);
    const ended = (entries: readonly JournalEntry[]): boolean => entries.some((entry) => summary(entry) === '6|end\n');
    const entries = await journal.waitForEntries(container.cid, ended);
    c.t.ok(accounted(c, entries, FLOOD, FLOOD_LINES) > 1000, 'some lines found no room');
  },
);

promise('a container ends although its journal hangs for good', { excludes: { c: 'C hangs with it' } }, async (c) => {
  const journal = await running(c);
  journal.signal('SIGSTOP');
  const data = c.workspace.path('data');
  writeFileSync(data, Array.from({ length: FLOOD_LINES }, (_, i) => FLOOD(i)).join(''));
  const container = logged(c, journal, { fake: [`container cat ${data}; exit 7`] });
  await container.created();
  c.t.equal(await container.exited(40_000), 7);
  await container.ended(40_000);
});
