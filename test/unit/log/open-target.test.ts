/** What the log worker gets for each log that was asked for. */
import { closeSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type AskedLog, type LogIdentity, openTargets } from '../../../src/log/open-target.ts';
import { sys } from '../../../src/native/sys.ts';
import { Complaints } from '../session/complaints.ts';

const RULES = { rotate: false, allowlistDirs: [] };
const dir = mkdtempSync(join(tmpdir(), 'conmon-targets-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

const NOBODY = {
  cid: 'c'.repeat(64),
  name: undefined,
  logTag: undefined,
  logLabels: [],
  noContainerPartialMessage: false,
};

const open = (logs: readonly AskedLog[], identity: LogIdentity) =>
  openTargets(sys, new Complaints().diag, logs, identity, RULES);

t.test('files are opened, in the order asked for; none and passthrough need nobody', async (t) => {
  const [a, b] = [join(dir, 'a'), join(dir, 'b')];
  const targets = open(
    [{ driver: 'json-file', path: a }, { driver: 'none' }, { driver: 'k8s-file', path: b }, { driver: 'passthrough' }],
    NOBODY,
  );
  t.match(targets, [
    { driver: 'json-file', path: a, attributes: {} },
    { driver: 'k8s-file', path: b },
  ]);
  t.ok(existsSync(a) && existsSync(b));
  for (const target of targets) if ('fd' in target) closeSync(target.fd);
});

t.test('json-file records carry labels by name and the tag', async (t) => {
  const labelled = { ...NOBODY, logTag: 't=1', logLabels: ['A=x=y', 'B=', 'A=z'] };
  const [target] = open([{ driver: 'json-file', path: join(dir, 'c') }], labelled);
  t.match(target, { attributes: { A: 'z', B: '', tag: 't=1' } });
  if (target !== undefined && 'fd' in target) closeSync(target.fd);
});

t.test('journald is told whose entries they are', async (t) => {
  const identity = { ...NOBODY, name: 'web', logTag: 'tag', logLabels: ['A=1'], noContainerPartialMessage: true };
  t.same(open([{ driver: 'journald' }], identity), [
    {
      driver: 'journald',
      socketPath: '/run/systemd/journal/socket',
      cid: NOBODY.cid,
      name: 'web',
      tag: 'tag',
      labels: ['A=1'],
      tellPartial: false,
    },
  ]);
  t.match(open([{ driver: 'journald' }], NOBODY), [{ tellPartial: true, name: undefined, tag: undefined }]);
});

t.test('a file that cannot be opened is an error that names it', async (t) => {
  const path = join(dir, 'missing/x');
  t.throws(() => open([{ driver: 'json-file', path }], NOBODY), { code: 'LOG_OPEN_FAILED' });
});
