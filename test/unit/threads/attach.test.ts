/** The attach worker in the real pool: it comes with the first client, leaves after the last, dies, and comes again. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { F_GETFD } from '../../../src/native/constants.ts';
import { giveMemoryBack } from '../../../src/native/garbage.ts';
import { sys } from '../../../src/native/sys.ts';
import { fdsOf } from '../../helpers/proc.ts';
import { waitFor } from '../../helpers/wait.ts';
import { Place } from './place.ts';

/** How many fds this process has, once a thread that ends has closed its own. */
async function settledFds(): Promise<number> {
  let [last, sinceMs] = [fdsOf(process.pid).size, performance.now()];
  return await waitFor('the fds to settle', () => {
    const now = fdsOf(process.pid).size;
    if (now !== last) [last, sinceMs] = [now, performance.now()];
    return performance.now() - sinceMs > 200 ? last : undefined;
  });
}

/**
 * Without what nobody holds any longer, garbage and what malloc has free, and without files' pages: 50 MiB of Node's executable are this
 * process's own or not as other processes of that Node come and go.
 */
function anonymousKiB(): number {
  giveMemoryBack();
  return Number(/^Anonymous: +(\d+)/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))?.[1]);
}

t.test('the worker comes with the first client, leaves after the last, and comes again', async (t) => {
  const place = new Place(t, { unusedMs: 30 });
  place.begin();
  t.equal(place.calls, 0, 'nobody is there, nothing is started');
  let open = 0;
  for (let round = 0; round < 5; round++) {
    const [client, other] = [await place.connect(), await place.connect()];
    await client.send(`hello ${round}`);
    await waitFor('the input', () => place.heard() === `hello ${round}`);
    await place.streams.print(`round ${round}\n`);
    await client.waitForText(`round ${round}\n`);
    await other.waitForText(`round ${round}\n`);
    t.equal(client.text, `round ${round}\n`, 'nothing of before');
    client.close();
    other.close();
    await waitFor('the worker to leave', () => place.lefts === place.calls && place.lefts > round);
    await place.streams.print('nobody sees this\n');
    await waitFor('it in the log', () => place.streams.records.length === 2 * (round + 1));
    if (round === 0) open = await settledFds();
  }
  await waitFor('no fd to be left behind', () => fdsOf(process.pid).size <= open);
  t.equal(sys.fcntl(place.stdin.writeFd, F_GETFD, 0) >= 0, true, 'stdin is still open');
});

t.test('clients that come just as the worker leaves are served, all of them', async (t) => {
  const place = new Place(t, { unusedMs: 1 });
  place.begin();
  for (let round = 0; round < 100; round++) {
    await sleep(round % 4); // before, while and after it leaves
    const client = await place.connect();
    await client.send(`${round},`);
    let heard = '';
    await waitFor(
      `round ${round}`,
      () => {
        heard += place.heard();
        return heard === `${round},`;
      },
      { intervalMs: 1 },
    );
    if (round % 10 === 0) {
      await place.streams.print(`round ${round}\n`);
      await client.waitForText(`round ${round}\n`);
    }
    client.close();
  }
  t.ok(place.calls > 20, `${place.calls} workers`);
  t.equal(place.deaths.length, 0);
});

t.test('without a log too, and an output of before is not repeated', async (t) => {
  const place = new Place(t, { unusedMs: 20, plan: (streams) => streams.nowhere });
  place.begin();
  for (let round = 0; round < 3; round++) {
    const client = await place.connect();
    await client.send('hello');
    await waitFor('the input', () => place.heard() === 'hello');
    await place.streams.print(`round ${round}\n`);
    await client.waitForText(`round ${round}\n`);
    t.equal(client.text, `round ${round}\n`);
    client.close();
    await waitFor('the worker to leave', () => place.lefts === round + 1);
    await place.streams.print('x'.repeat(200_000)); // more than a pipe holds: somebody reads it
    await waitFor('it to be read', () => sys.fionread(place.streams.out.readFd) === 0);
  }
});

t.test('workers that come and go take no memory with them', async (t) => {
  const place = new Place(t, { unusedMs: 1 });
  place.begin();
  const visit = async () => {
    const lefts = place.lefts;
    const client = await place.connect();
    await client.send('x');
    await waitFor('the input', () => place.heard() === 'x', { intervalMs: 1 });
    client.close();
    await waitFor('the worker to leave', () => place.lefts > lefts, { intervalMs: 1 });
  };
  // Pages of a heap that is gone are the next one's, and wait for it for some seconds: the least of several looks counts.
  const leastOf = async (looks: number) => {
    let least = Number.POSITIVE_INFINITY;
    for (let look = 0; look < looks; look++) {
      for (let i = 0; i < 10; i++) await visit();
      least = Math.min(least, anonymousKiB());
    }
    return least;
  };
  await leastOf(4); // compiled code
  const before = await leastOf(4);
  for (let i = 0; i < 40; i++) await visit();
  const grown = (await leastOf(4)) - before;
  t.comment(`${before} KiB, ${grown} more after 80 more workers`);
  // A thread that stays costs 2 MiB and more.
  t.ok(grown < 80 * 48, `${grown} KiB after 80 more workers`);
});

t.test('input that a client has ended stays ended when the worker has left', async (t) => {
  const place = new Place(t, { unusedMs: 20, closeStdin: true });
  place.begin();
  const first = await place.connect();
  await first.send('last words');
  first.endInput();
  await waitFor('the worker to have closed stdin', () => sys.fcntl(place.stdin.writeFd, F_GETFD, 0) < 0);
  t.equal(place.heard(), 'last words');
  first.close();
  await waitFor('the worker to leave', () => place.lefts === 1);
  const second = await place.connect();
  await second.send('nobody hears this');
  await waitFor('the next worker', () => place.calls === 2);
  await place.streams.print('still here\n');
  await second.waitForText('still here\n');
  t.equal(place.heard(), '');
  second.close();
});

t.test('stdin that comes after the worker has left is the next worker’s', async (t) => {
  const place = new Place(t, { unusedMs: 20 });
  const early = await place.connect();
  await waitFor('the worker', () => place.calls === 1);
  early.close();
  await waitFor('the worker to leave', () => place.lefts === 1);
  place.begin();
  const client = await place.connect();
  await client.send('hello');
  await waitFor('the input', () => place.heard() === 'hello');
  client.close();
});

t.test(
  'when the attach worker dies its clients are disconnected, the log goes on, the next clients are served',
  async (t) => {
    const place = new Place(t);
    place.begin();
    let open = 0;
    for (let round = 0; round < 2; round++) {
      const clients = [await place.connect(), await place.connect()];
      for (const client of clients) await client.send(`hello ${round}`);
      let heard = '';
      await waitFor('the input', () => {
        heard += place.heard();
        return heard === `hello ${round}hello ${round}`;
      });
      await place.streams.print(`before ${round}\n`);
      for (const client of clients) await client.waitForText(`before ${round}\n`);
      await place.kill();
      for (const client of clients) await client.waitForEnd();
      for (const client of clients) client.close();
      await place.streams.print('x'.repeat(3_000_000)); // more than the ring keeps for a client
      await place.streams.print(`\nafter ${round}\n`);
      await waitFor('the log', () => place.streams.records.includes(`stdout F after ${round}`));
      if (round === 0) open = await settledFds();
    }
    t.match(place.deaths, [/attach worker died \(1 of 3\): .*doorbell/, /attach worker died \(2 of 3\)/]);
    await waitFor('no fd to be left behind', () => fdsOf(process.pid).size <= open);
    const client = await place.connect();
    await client.send('hello again');
    await waitFor('the input', () => place.heard() === 'hello again');
    await place.streams.print('last\n');
    await client.waitForText('last\n');
    t.equal(client.text, 'last\n');
    place.output.end(true);
    await client.waitForEnd();
    await place.streams.ended();
    client.close();
  },
);

t.test('after the third death main is told that nobody serves, and the log goes on', async (t) => {
  const place = new Place(t);
  place.begin();
  for (let death = 1; death <= 3; death++) {
    const client = await place.connect();
    await client.send('hello');
    await waitFor('the input', () => place.heard() === 'hello');
    t.equal(place.refusals, 0);
    await place.kill();
    await client.waitForEnd();
    client.close();
    await waitFor('main to listen again', () => place.lefts === death);
  }
  const client = await place.connect();
  await waitFor('the refusal', () => place.refusals === 1);
  client.close();
  await place.streams.print('still here\n');
  await waitFor('the log', () => place.streams.records.includes('stdout F still here'));
});
