/**
 * What containers write is in a json-file, as Docker writes it, and a JSON parser that knows nothing of us reads it back.
 * C conmon has no such driver.
 */
import { randomInt } from 'node:crypto';
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { nativeHelper } from '../helpers/native.ts';
import { seededRandom } from '../helpers/random.ts';
import { waitFor } from '../helpers/wait.ts';

const EXCLUDES = { c: 'it has no json-file' };
const SEED = Number(process.env['E2E_SEED'] ?? randomInt(2 ** 31));

interface JsonRecord {
  readonly log: string;
  readonly stream: 'stdout' | 'stderr';
  readonly attrs?: Readonly<Record<string, string>>;
  readonly time: string;
}

function records(path: string): JsonRecord[] {
  const text = readFileSync(path, 'utf8');
  if (text !== '' && !text.endsWith('\n')) throw new Error('the file ends amid a record');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as JsonRecord);
}

function text(all: readonly JsonRecord[], stream: string): string {
  return all
    .filter((record) => record.stream === stream)
    .map(({ log }) => log)
    .join('');
}

promise('both streams, with the fields that Docker writes, in its order', { excludes: EXCLUDES }, async (c) => {
  const path = c.workspace.path('c.json');
  const from = Date.now();
  const fake = ["container printf 'out <1>\\n'; sleep 0.1; printf 'e\"rr\\n' >&2; sleep 0.1; printf part"];
  const container = c.container({ fake, logPaths: [`json-file:${path}`] });
  await container.created();
  await container.exited();
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  const time = '"time":"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{0,8}[1-9])?Z"';
  c.t.match(lines[0], new RegExp(`^\\{"log":"out \\\\u003c1\\\\u003e\\\\n","stream":"stdout",${time}\\}$`));
  c.t.match(lines[1], new RegExp(`^\\{"log":"e\\\\"rr\\\\n","stream":"stderr",${time}\\}$`));
  c.t.match(lines[2], new RegExp(`^\\{"log":"part","stream":"stdout",${time}\\}$`));
  c.t.equal(lines.length, 3);
  const times = records(path).map((record) => Date.parse(record.time));
  c.t.ok(times.every((each) => each >= from - 1 && each <= Date.now() + 1));
  c.t.equal(statSync(path).mode & 0o777, 0o640);
});

promise('tag and labels are attrs', { excludes: EXCLUDES }, async (c) => {
  const path = c.workspace.path('c.json');
  const args = ['--log-tag', 'a "tag"', '--log-label', 'APP=web', '--log-label', 'AN=x'];
  const container = c.container({ fake: ['container echo x'], logPaths: [`json-file:${path}`], args });
  await container.created();
  await container.exited();
  const [record] = records(path);
  c.t.strictSame(record?.attrs, { AN: 'x', APP: 'web', tag: 'a "tag"' });
  c.t.strictSame(Object.keys(record ?? {}), ['log', 'stream', 'attrs', 'time']);
});

promise('a prompt is there while the container goes on', { excludes: EXCLUDES }, async (c) => {
  const [path, go] = [c.workspace.path('c.json'), c.workspace.path('go')];
  const fake = [`container printf 'prompt: \\342\\202'; while [ ! -e ${go} ]; do sleep 0.05; done; printf '\\254\\n'`];
  const container = c.container({ fake, logPaths: [`json-file:${path}`] });
  await container.created();
  await waitFor('the prompt', () => records(path).length === 1);
  c.t.equal(text(records(path), 'stdout'), 'prompt: ');
  writeFileSync(go, '');
  await container.exited();
  c.t.strictSame(
    records(path).map(({ log }) => log),
    ['prompt: ', '€\n'],
  );
});

promise(
  `any text of a real container, cut anywhere, seed ${SEED}`,
  { runtimes: ['runc', 'crun'], excludes: EXCLUDES },
  async (c) => {
    const random = seededRandom(SEED);
    const words = [
      'plain text',
      'é',
      '日本語',
      '😀',
      '\u2028',
      '"quoted"',
      '\\',
      '\x00',
      '\t',
      '\x1b[0m',
      '<&>',
      '\r',
      '\n',
      '\n\n',
    ];
    const streams = ['', ''] as [string, string];
    const chunks: { fd: 1 | 2; bytes: Buffer }[] = [];
    for (let i = 0; i < 120; i++) {
      const fd = random.pick([1, 2] as const);
      const length = random.pick([1, 5, 100, 5000]);
      const piece = Array.from({ length }, () => random.pick(words)).join('');
      streams[fd - 1] += piece;
      const bytes = Buffer.from(piece);
      // Written in two: characters are cut between two writes.
      const cut = random.below(bytes.length + 1);
      chunks.push({ fd, bytes: bytes.subarray(0, cut) }, { fd, bytes: bytes.subarray(cut) });
    }
    const [program, data, plan] = [c.workspace.path('scribble'), c.workspace.path('data'), c.workspace.path('plan')];
    copyFileSync(nativeHelper('scribble'), program);
    writeFileSync(data, Buffer.concat(chunks.map(({ bytes }) => bytes)));
    const written = chunks.filter(({ bytes }) => bytes.length > 0);
    writeFileSync(plan, written.map(({ fd, bytes }) => `${fd} ${bytes.length} ${random.pick([0, 0, 300])}\n`).join(''));
    const path = c.workspace.path('c.json');
    const container = c.container({ process: { args: [program, data, plan] }, logPaths: [`json-file:${path}`] });
    await container.run();
    c.t.equal(await container.finished(), 0);
    const all = records(path);
    c.t.ok(text(all, 'stdout') === streams[0], 'stdout');
    c.t.ok(text(all, 'stderr') === streams[1], 'stderr');
    c.t.ok(
      all.every(({ log }) => Buffer.byteLength(log) <= 16_385 && !log.slice(0, -1).includes('\n')),
      'a record is a line, or a part of one',
    );
  },
);

promise('a full file is replaced between two records', { excludes: EXCLUDES }, async (c) => {
  const path = c.workspace.path('c.json');
  const fake = ['container i=0; while [ $i -lt 500 ]; do echo "line $i"; i=$((i+1)); done'];
  const args = ['--log-size-max', '4000'];
  const container = c.container({ fake, logPaths: [`json-file:${path}`], args });
  await container.created();
  await container.exited();
  const all = records(path);
  c.t.ok(statSync(path).size <= 4000, `${statSync(path).size} bytes`);
  c.t.equal(all.at(-1)?.log, 'line 499\n');
  const first = Number(/\d+/.exec(all[0]?.log ?? '')?.[0]);
  c.t.strictSame(
    all.map(({ log }) => log),
    Array.from({ length: 500 - first }, (_, i) => `line ${first + i}\n`),
  );
});

promise('k8s-file and json-file together both get everything', { excludes: EXCLUDES }, async (c) => {
  const path = c.workspace.path('c.json');
  const container = c.container({
    fake: ["container printf 'a\\nb'"],
    logPaths: [`json-file:${path}`, c.workspace.path('c.log')],
  });
  await container.created();
  await container.exited();
  c.t.equal(text(records(path), 'stdout'), 'a\nb');
  c.t.match(readFileSync(c.workspace.path('c.log'), 'utf8'), / stdout F a\n.* stdout P b\n$/);
});
