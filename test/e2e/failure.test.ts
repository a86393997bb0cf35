/**
 * Runtimes that fail: the caller hears what went wrong, in the runtime's own words, and nothing is left behind.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import { type Case, promise } from '../helpers/case.ts';
import type { Ended, SyncMessage } from '../helpers/conmon.ts';
import type { Container, ContainerOptions } from '../helpers/container.ts';
import { within } from '../helpers/wait.ts';

const SAYS_NOTHING = 'C 2.1.6 says nothing on the sync pipe when the runtime left nothing on stderr; 2.2.1 does';

interface Failed {
  readonly container: Container;
  /** undefined when the sync pipe ended without one. */
  readonly message: SyncMessage | undefined;
  readonly ended: Ended;
}

/** Runs a create that must fail, with --sync so that conmon's own status can be seen. */
async function failed(c: Case, options: ContainerOptions): Promise<Failed> {
  const container = c.container({ ...options, sync: true });
  const ended = await within('conmon to end', container.conmon.started);
  await container.conmon.syncClosed();
  const message = container.conmon.unread === '' ? undefined : await container.conmon.nextMessage();
  c.t.equal(container.conmon.unread, '', 'one message at most');
  return { container, message, ended };
}

/** A fake's verbs: `text` on stderr, then status 1. */
function complains(text: Buffer | string): (self: Container) => readonly string[] {
  return (self) => {
    const path = self.path('complaint');
    writeFileSync(path, text);
    return [`stderr ${path}`, 'exit 1'];
  };
}

const ownError: Ended = { code: 1, signal: null };

promise('a create that fails: -1 and the runtime’s stderr under the caller’s key, status 1', {}, async (c) => {
  for (const [style, key] of [
    ['crio', 'pid'],
    ['podman', 'data'],
  ] as const) {
    const { container, message, ended } = await failed(c, { style, fake: complains('no such thing\n') });
    c.t.equal(message?.bytes.toString(), `{"${key}": -1, "message": "no such thing\\n"}\n`, style);
    c.t.strictSame(ended, ownError);
    if (style === 'podman') {
      c.t.equal(container.conmon.packets.length, 1, 'in one packet');
    }
  }
});

promise('a create that fails does not keep the started process from returning 0', {}, async (c) => {
  const container = c.container({ fake: complains('no such thing\n') });
  await container.startedOk();
  c.t.strictSame((await container.failureMessage()).json, { pid: -1, message: 'no such thing\n' });
});

promise('the runtime’s text is escaped for JSON', {}, async (c) => {
  const text =
    'quote " backslash \\ slash / tab \t newline \n return \r bell \x07 escape \x1b[1m del \x7f utf8 żółw €\n';
  const { message } = await failed(c, { fake: complains(text) });
  c.t.equal(message?.json['message'], text);
  const raw = message?.bytes.toString() ?? '';
  c.t.match(raw, /bell \\u0007 escape \\u001b/, 'control characters as \\u00xx');
  c.t.ok(raw.includes('żółw €'), 'other characters as they are');
});

promise(
  'every control character is escaped',
  {
    differs: { c: 'C 2.1.6 leaves U+001F as it is, and its text ends at the first NUL' },
  },
  async (c) => {
    const codes = Array.from({ length: 32 }, (_, code) => code).filter(
      (code) => c.differs === undefined || code % 31 > 0,
    );
    const text = `${String.fromCharCode(...codes)}.\n`;
    const { message } = await failed(c, { fake: complains(text) });
    c.t.equal(message?.json['message'], text);
  },
);

promise('bytes from 0x80 on go through as they are, valid UTF-8 or not', {}, async (c) => {
  const bytes = Buffer.from([0x61, 0xff, 0xfe, 0x80, 0xc3, 0x28, 0xf0, 0x9f, 0x98, 0x62]);
  const { message } = await failed(c, { fake: complains(bytes) });
  c.t.ok(message?.bytes.includes(bytes));
});

promise(
  '100 KB on the runtime’s stderr: the message is the start or the end of it',
  {
    excludes: {
      c: 'C waits for the runtime without reading its stderr, and both wait for ever when 64 KiB are not enough',
    },
  },
  async (c) => {
    const text = Array.from({ length: 2500 }, (_, line) => `line ${line} of what the runtime says, and more\n`).join(
      '',
    );
    const { message, ended } = await failed(c, { fake: complains(text) });
    c.t.equal(message?.json['pid'], -1);
    const said = String(message?.json['message']);
    c.t.ok(said.length >= 4000, `${said.length} of ${text.length} characters`);
    c.t.ok(text.startsWith(said) || text.endsWith(said), 'unchanged');
    c.t.strictSame(ended, ownError);
  },
);

for (const [name, verbs] of [
  ['fails without a word', ['exit 3']],
  ['is killed by a signal', ['kill 9']],
  ['exits 0 without a pid file', ['exit 0']],
] as const) {
  promise(`a runtime that ${name}: -1 on the sync pipe, status 1`, { differs: { c: SAYS_NOTHING } }, async (c) => {
    const { message, ended } = await failed(c, { fake: [...verbs] });
    c.t.equal(message?.json['pid'], c.differs === undefined ? -1 : undefined);
    c.t.strictSame(ended, ownError);
  });
}

promise(
  'a runtime that exits 0 without a pid file but with a complaint: the complaint is told',
  {
    differs: { c: 'C 2.1.6 says nothing when the pid file is missing; 2.2.1 does' },
  },
  async (c) => {
    const fake = (self: Container) => [...complains('cannot do that\n')(self).slice(0, 1), 'exit 0'];
    const { message, ended } = await failed(c, { fake });
    c.t.strictSame(message?.json, c.differs === undefined ? { pid: -1, message: 'cannot do that\n' } : undefined);
    c.t.strictSame(ended, ownError);
  },
);

for (const [name, content, seenByC] of [
  ['empty', '', 0],
  ['a word', 'abc', 0],
  ['a negative number', '-5', -5],
  ['zero', '0', 0],
  ['a number with a tail', '12x', undefined],
  ['a number too large', '99999999999', undefined],
] as const) {
  promise(
    `a pid file that holds ${name}: -1 and a message that names the file, status 1`,
    {
      ...(seenByC === undefined
        ? { excludes: { c: 'C takes whatever atoi makes of the pid file for a pid' } }
        : { differs: { c: 'C takes whatever atoi makes of the pid file for a pid' } }),
    },
    async (c) => {
      if (c.differs !== undefined) {
        const container = c.container({ fake: [`pid-file ${content}`] });
        c.t.equal((await container.failureMessage()).json['pid'], seenByC);
        return;
      }
      const { container, message, ended } = await failed(c, { fake: [`pid-file ${content}`] });
      c.t.equal(message?.json['pid'], -1);
      c.t.ok(String(message?.json['message']).includes(container.containerPidfile), String(message?.json['message']));
      c.t.strictSame(ended, ownError);
    },
  );
}

promise(
  'a runtime that cannot be executed although it may: -1 on the sync pipe, status 1',
  {
    differs: { c: SAYS_NOTHING },
  },
  async (c) => {
    const runtimePath = c.workspace.path('broken-runtime');
    writeFileSync(runtimePath, '#!/nonexistent/interpreter\n');
    chmodSync(runtimePath, 0o755);
    const { message, ended } = await failed(c, { runtimePath });
    c.t.equal(message?.json['pid'], c.differs === undefined ? -1 : undefined);
    c.t.strictSame(ended, ownError);
  },
);

promise('a real runtime that cannot create: its own words', { runtimes: ['runc', 'crun'] }, async (c) => {
  const container = c.container({ process: { args: ['/no/such/program'] } });
  await container.startedOk();
  const { json } = await container.failureMessage();
  c.t.equal(json['pid'], -1);
  c.t.match(json['message'], /no\/such\/program|No such file/);
});

promise(
  'a bundle that does not exist: the caller hears of it, status 1',
  {
    differs: { c: 'C finds out as a daemon and says nothing on the sync pipe' },
  },
  async (c) => {
    const bundle = '/nonexistent/bundle';
    const { container, message, ended } = await failed(c, { fake: ['exit 1'], args: ['-b', bundle] });
    c.t.strictSame(ended, ownError);
    if (c.differs === undefined) {
      c.t.match(`${container.conmon.stderr}${message?.json['message']}`, bundle, 'by name');
    } else {
      c.t.equal(message, undefined);
    }
  },
);

promise('the runtime’s stderr after a successful create is container output, not a failure', {}, async (c) => {
  const container = c.container({
    fake: (self) => [...complains('a warning\n')(self).slice(0, 1), 'container sleep 0.05; echo out; echo err >&2'],
  });
  await container.created();
  c.t.equal(await container.exited(), 0);
  c.t.equal(container.log().stderr.toString(), 'a warning\nerr\n');
  c.t.equal(container.log().stdout.toString(), 'out\n');
});
