/**
 * The files by which clients find a container: attach socket, fifos, the short symlink; and the fds behind them.
 */
import { existsSync, lstatSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { acceptedClients, attach, attachEarly, go, shellContainer } from '../helpers/attach-case.ts';
import { AttachClient } from '../helpers/attach-client.ts';
import { promise } from '../helpers/case.ts';
import { fdsOf } from '../helpers/proc.ts';
import { waitFor } from '../helpers/wait.ts';

promise(
  'the attach socket is in the bundle, mode 0700, and SOCKET_DIR/CUUID a symlink to it that goes at the end',
  { differs: { c: 'C 2.1.6 leaves the link' } },
  async (c) => {
    const container = shellContainer(c, 'exit 0');
    const link = `${container.socketDir}/${container.cid}`;
    await container.created();
    c.t.equal(readlinkSync(link), container.bundle);
    c.t.equal(lstatSync(`${container.bundle}/attach`).isSocket(), true);
    c.t.equal((lstatSync(`${container.bundle}/attach`).mode & 0o777).toString(8), '700');
    for (const fifo of ['ctl', 'winsz']) {
      c.t.equal(lstatSync(`${container.bundle}/${fifo}`).isFIFO(), true);
      c.t.equal((lstatSync(`${container.bundle}/${fifo}`).mode & 0o777).toString(8), c.differs ? '640' : '660', fifo);
    }
    go(container);
    await container.finished();
    c.t.equal(existsSync(link) || isLink(link), c.differs !== undefined);
  },
);

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

promise(
  'a container that is started again at once keeps what clients find it by: the end of the first takes nothing of it',
  { excludes: { c: '2.2.1 removes the symlink of whoever made it; 2.1.6 none' } },
  async (c) => {
    const first = shellContainer(c, 'exit 0');
    await first.created();
    const again = ['-b', first.bundle, '-u', first.cid, '--socket-dir-path', first.socketDir];
    const second = shellContainer(c, 'echo hello; exit 3', again);
    await second.created();
    go(first);
    await first.finished();
    await first.ended();
    const client = await attach(c, first);
    go(second);
    c.t.equal(await second.finished(), 3);
    await client.waitForEnd();
    c.t.equal(client.text, 'hello\n');
    c.t.notOk(isLink(`${first.socketDir}/${first.cid}`), 'its own end does');
  },
);

promise('with --full-attach there is no symlink', {}, async (c) => {
  const container = shellContainer(c, 'exit 0', ['--full-attach']);
  await container.created();
  c.t.equal(isLink(`${container.socketDir}/${container.cid}`), false);
  const client = await attach(c, container);
  go(container);
  await container.finished();
  await client.waitForEnd();
});

promise('an old symlink is replaced, also one that leads nowhere', {}, async (c) => {
  const link = (self: { socketDir: string; cid: string }) => `${self.socketDir}/${self.cid}`;
  for (const target of ['/nowhere', c.workspace.directory('elsewhere')]) {
    const container = c.container({
      fake: (self) => {
        symlinkSync(target, link(self));
        return [`container while [ ! -e ${self.path('go')} ]; do sleep 0.01; done`];
      },
    });
    await container.created();
    c.t.equal(readlinkSync(link(container)), container.bundle);
    go(container);
    await container.finished();
  }
});

promise('old files with the names of attach, ctl and winsz are replaced', {}, async (c) => {
  const container = c.container({
    fake: (self) => {
      for (const name of ['attach', 'ctl', 'winsz']) writeFileSync(`${self.bundle}/${name}`, 'old');
      return [`container while [ ! -e ${self.path('go')} ]; do sleep 0.01; done; echo new`];
    },
  });
  await container.created();
  const client = await attachEarly(c, container);
  c.t.equal(lstatSync(`${container.bundle}/ctl`).isFIFO(), true);
  c.t.equal(lstatSync(`${container.bundle}/winsz`).isFIFO(), true);
  go(container);
  await container.finished();
  await client.waitForEnd();
  c.t.equal(client.text, 'new\n');
});

promise('a symlink of exactly sun_path’s length is cut by one character, others are not', {}, async (c) => {
  for (const length of [106, 107, 108, 150]) {
    const cuuid = 'u'.repeat(40);
    const directory = c.workspace.directory('s'.repeat(length - 1 - cuuid.length - 1 - c.workspace.dir.length));
    const container = shellContainer(c, 'exit 0', ['--socket-dir-path', directory, '-u', cuuid]);
    await container.created();
    const link = `${directory}/${length === 107 ? cuuid.slice(1) : cuuid}`;
    c.t.equal(link.length, length === 107 ? 106 : length);
    c.t.equal(readlinkSync(link), container.bundle, `${length} characters`);
    go(container);
    await container.finished();
  }
});

promise('a bundle’s path may be longer than any socket address', {}, async (c) => {
  for (const fullAttach of [false, true]) {
    const bundle = c.workspace.directory(...new Array<string>(9).fill('d'.repeat(200)), String(fullAttach));
    const args = ['-b', bundle, ...(fullAttach ? ['--full-attach'] : [])];
    const container = shellContainer(c, 'echo far away', args);
    await container.created();
    const client = await AttachClient.connect(
      fullAttach ? `${bundle}/attach` : `${container.socketDir}/${container.cid}/attach`,
    );
    c.workspace.defer(() => client.close());
    await waitFor('the client to be accepted', () => acceptedClients(container) === 1);
    go(container);
    c.t.equal(await container.finished(), 0);
    await client.waitForEnd();
    c.t.equal(client.text, 'far away\n', `${bundle.length} characters`);
  }
});

promise(
  'clients that come and go leave no fd behind',
  { differs: { c: 'C keeps the socket of a client that has left until its next write to it fails' } },
  async (c) => {
    const container = shellContainer(c, 'while [ ! -e stop ]; do sleep 0.01; echo x; done', [
      '-i',
      '--leave-stdin-open',
    ]);
    await container.created();
    go(container);
    const visit = async (i: number) => {
      const client = await attach(c, container, { paused: i % 3 === 0 });
      if (i % 2 === 0) await client.send('hello');
      if (i % 4 === 1) client.endInput();
      if (i % 5 === 0) await waitFor('output', () => client.packets > 0 || client.readable);
      client.close();
    };
    await visit(0);
    await waitFor('the first to be gone', () => acceptedClients(container) === 0);
    const before = fdsOf(container.daemonPid).size;
    for (let i = 0; i < 200; i++) await visit(i);
    const after = await waitFor('the fds to be closed', () => {
      const fds = fdsOf(container.daemonPid).size;
      return fds <= before ? fds : undefined;
    });
    c.t.equal(after, before);
    writeFileSync(container.path('stop'), '');
    c.t.equal(await container.finished(), 0);
  },
);

promise('fds that a client sends along are not kept', {}, async (c) => {
  const container = shellContainer(c, 'dd bs=1 count=20 of=got 2>/dev/null', ['-i', '--leave-stdin-open']);
  await container.created();
  go(container);
  const client = await attach(c, container);
  await waitFor('the client to be accepted', () => acceptedClients(container) === 1);
  const before = fdsOf(container.daemonPid).size;
  for (let i = 0; i < 10; i++) client.sendWithFd('x');
  await waitFor('the input to be taken', () => size(container.path('got')) === 10);
  c.t.equal(fdsOf(container.daemonPid).size, before);
  await client.send('0123456789');
  c.t.equal(await container.finished(), 0);
});

/** 0 when there is no such file. */
function size(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
