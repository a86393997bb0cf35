/**
 * sd_notify: what a container tells the service manager of its host, through conmon, under the real runtimes and beside
 * conmon C.
 */
import { copyFileSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../../src/native/constants.ts';
import { sys } from '../../src/native/sys.ts';
import { type Case, promise } from '../helpers/case.ts';
import type { Container, ContainerOptions } from '../helpers/container.ts';
import { nativeHelper } from '../helpers/native.ts';
import { waitFor, within } from '../helpers/wait.ts';

const ONLY_READY = 'C 2.1.6 hands on nothing but READY=1 or else WATCHDOG=1, found anywhere in a datagram';

/** The service manager: takes what comes. */
class Manager {
  readonly path: string;
  readonly heard: string[] = [];
  readonly #fd = sys.socket(SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
  readonly #bytes = new Uint8Array(65_536);

  constructor(c: Case) {
    this.path = c.workspace.path('manager');
    const result = sys.bind(this.#fd, this.path);
    if (result < 0) throw new Error(sys.strerror(result));
    c.workspace.defer(() => void sys.close(this.#fd));
  }

  hear(): readonly string[] {
    for (;;) {
      const length = sys.read(this.#fd, this.#bytes, 0, this.#bytes.length);
      if (length < 0) return this.heard;
      this.heard.push(Buffer.from(this.#bytes.subarray(0, length)).toString('latin1'));
    }
  }
}

/** C conmon does not look once more when the container ends: what was said last may be lost. */
const lingering = (c: Case): string => (c.monitor.name === 'c' ? 'sleep 0.5; ' : '');

/** As an engine does: the directory is there before conmon goes on. @returns a container that has its pid. */
async function notifier(c: Case, manager: string, script: string, options: ContainerOptions = {}): Promise<Container> {
  const file = c.workspace.path('script');
  const tool = c.workspace.path('tool');
  copyFileSync(nativeHelper('notify'), tool);
  const container = c.container({
    process: { args: ['/bin/sh', file], uid: 1000, gid: 1000 },
    holdStart: true,
    ...options,
    args: ['--sdnotify-socket', manager, ...(options.args ?? [])],
  });
  mkdirSync(`${container.bundle}/notify`);
  writeFileSync(file, `notify() { ${tool} ${container.bundle}/notify/notify.sock "$@"; }\n${script}\n`);
  container.conmon.go();
  await container.created();
  return container;
}

promise(
  'what a container of any user says reaches the service manager, what it may not say does not',
  { runtimes: ['runc', 'crun'], differs: { c: ONLY_READY } },
  async (c) => {
    const manager = new Manager(c);
    const container = await notifier(
      c,
      manager.path,
      `notify 'STATUS=warming up' 'FDSTORE=1\\nMAINPID=1' 'MAINPID=1\\nREADY=1\\nSTATUS=up'
       notify WATCHDOG=1 WATCHDOG=trigger RELOADING=1 STOPPING=1; ${lingering(c)}exit 6`,
    );
    c.t.equal(statSync(`${container.bundle}/notify/notify.sock`).mode & 0o7777, 0o777);
    await container.start();
    c.t.equal(await container.finished(), 6);
    c.t.strictSame(
      manager.hear(),
      c.differs === undefined
        ? ['STATUS=warming up', 'READY=1\nSTATUS=up', 'WATCHDOG=1', 'WATCHDOG=trigger', 'RELOADING=1', 'STOPPING=1']
        : ['READY=1', 'WATCHDOG=1'],
    );
  },
);

promise('readiness is told with every log driver, passthrough too', { runtimes: ['runc'] }, async (c) => {
  for (const driver of ['passthrough', 'none', 'k8s-file']) {
    const manager = new Manager(c);
    const logPaths = driver === 'k8s-file' ? undefined : [driver];
    const script = `notify READY=1; ${lingering(c)}exit 0`;
    const container = await notifier(c, manager.path, script, logPaths === undefined ? {} : { logPaths });
    await container.start();
    c.t.equal(await container.finished(), 0, driver);
    c.t.strictSame(manager.hear(), ['READY=1'], driver);
    rmSync(manager.path);
  }
});

promise(
  'an empty datagram does not end the relay',
  { runtimes: ['runc'], differs: { c: 'C takes an empty datagram for the end of its socket' } },
  async (c) => {
    const manager = new Manager(c);
    const container = await notifier(c, manager.path, `notify '' READY=1; sleep 0.2; exit 0`);
    await container.start();
    c.t.equal(await container.finished(), 0);
    c.t.strictSame(manager.hear(), c.differs === undefined ? ['READY=1'] : []);
  },
);

promise(
  'a service manager that comes late is found',
  { runtimes: ['runc'], differs: { c: 'C hands on nothing more once a message could not be sent' } },
  async (c) => {
    const path = c.workspace.path('manager');
    const late = c.workspace.path('late');
    const script = `notify -w READY=1; echo early; while [ ! -e ${late} ]; do sleep 0.01; done; notify READY=1; sleep 0.2; exit 0`;
    const container = await notifier(c, path, script);
    await container.start();
    await waitFor('the first message to be read', () => container.log().stdout.length > 0);
    const manager = new Manager(c);
    writeFileSync(late, '');
    c.t.equal(await container.finished(), 0);
    c.t.strictSame(manager.hear(), c.differs === undefined ? ['READY=1'] : []);
  },
);

promise(
  'a service manager that is not there costs the container nothing, nor does a flood of messages its exit',
  { runtimes: ['runc'] },
  async (c) => {
    const container = await notifier(
      c,
      c.workspace.path('nobody'),
      `( while :; do notify STATUS=x MAINPID=1 STATUS=y || :; done ) & echo begun; sleep 0.3; exit 7`,
    );
    await container.start();
    c.t.equal(await container.finished(), 7);
    c.t.equal(container.log().stdout.toString(), 'begun\n');
  },
);

promise(
  'without BUNDLE/notify there is no container, and the caller is told why',
  { differs: { c: 'C starts its daemon first, which then dies in silence' } },
  async (c) => {
    const container = c.container({
      fake: ['container exit 0'],
      args: ['--sdnotify-socket', c.workspace.path('manager')],
    });
    const { code } = await within('conmon to return', container.conmon.started);
    if (c.differs === undefined) {
      c.t.equal(code, 1);
      c.t.match(
        container.conmon.stderr,
        /Failed to open notify directory .*\/bundle\/notify: No such file or directory/,
      );
    } else c.t.equal(code, 0);
    c.t.equal(existsSync(container.exitFile), false);
  },
);

promise('a failed create leaves no notify socket', { differs: { c: 'C leaves it' } }, async (c) => {
  const container = c.container({
    fake: ['exit 1'],
    args: ['--sdnotify-socket', c.workspace.path('manager')],
    holdStart: true,
  });
  mkdirSync(`${container.bundle}/notify`);
  container.conmon.go();
  await container.conmon.syncClosed();
  c.t.equal(existsSync(`${container.bundle}/notify/notify.sock`), c.differs !== undefined);
});
