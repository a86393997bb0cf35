/**
 * As ./direct-random.test.ts, with the container's end at any moment: together with clients that come, leave, stop reading or
 * stop writing in the same wake-up, more of them than the log thread sends to, a short ring, and a limit for who stalls.
 */
import t from 'tap';
import { PACKET_PAYLOAD_MAX } from '../../../src/proto/attach-messages.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { type FakeClient, Rig } from './rig.ts';

const RUNS = 150;
const MUCH = Number.POSITIVE_INFINITY;
const ROOMS = [0, 1, 5, MUCH, MUCH, MUCH];
/** Many times what a run needs. */
const SENDS_MAX = 100_000;

interface Visitor {
  readonly client: FakeClient;
  /** Of what was written; -1 = it was not let in. */
  acceptedAt: number;
  staying: boolean;
}

class Run {
  readonly random: ReturnType<typeof seededRandom>;
  readonly rig: Rig;
  readonly visitors: Visitor[] = [];
  readonly #most: number;
  written = '';
  direct = 0;
  own = 0;
  deaths = 0;
  #records = 0;
  #ended = false;
  #inLogThread = false;
  #deathDue = false;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.#most = this.random.below(3) === 0 ? 11 : 4;
    this.rig = new Rig({
      capacityBytes: 1 << 14,
      clientsMax: 12,
      stallTimeoutMs: this.random.below(2) === 0 ? 500 : 0,
      closeStdin: this.random.below(2) === 0,
    });
    const { sendPackets, write, accept4 } = this.rig.sys;
    this.rig.sys.sendPackets = (...call) => {
      if (this.direct + ++this.own > SENDS_MAX) throw new Error('it sends without end');
      return sendPackets(...call);
    };
    this.rig.sys.write = (...call) => {
      if (!this.#inLogThread) return write(...call);
      if (++this.direct + this.own > SENDS_MAX) throw new Error('it sends without end');
      const dies = this.#deathDue;
      if (dies && this.random.below(2) === 0) throw new Error('dies');
      const result = write(...call);
      if (dies) throw new Error('dies');
      return result;
    };
    this.rig.sys.accept4 = (...call) => {
      const [first] = this.rig.backlog;
      const fd = accept4(...call);
      const visitor = this.visitors.find(({ client }) => client === first);
      if (fd >= 0 && visitor) visitor.acceptedAt = this.written.length;
      return fd;
    };
    this.rig.onCall = () => {
      if (this.random.below(20) === 0) this.logStep();
    };
  }

  go(): void {
    const { random, rig } = this;
    const acts: readonly (() => void)[] = [
      ...Array.from({ length: 5 }, () => () => this.logStep()),
      () => this.#arrive(),
      () => this.#changeRooms(),
      () => this.#there()[0]?.client.send('input'),
      () => this.#leave(3, (client) => client.hangUp(random.below(2) === 0)),
      () => this.#leave(20, (client) => client.refuseOutput()),
      () => {
        if (random.below(8) === 0) this.#there()[0]?.client.endInput();
      },
    ];
    rig.openStdin();
    this.#arrive();
    const some = (): void => {
      for (let n = 1 + random.below(3); n > 0; n--) random.pick(acts)();
    };
    rig.run(...Array.from({ length: random.below(200) }, () => some), () => this.#endAtOnce());
  }

  /** One step of the log thread: as it would go on, or on its death what main does. */
  logStep(): void {
    if (this.#inLogThread || this.#ended) return;
    this.#inLogThread = true;
    try {
      if (this.rig.sendDue) {
        this.#deathDue = this.random.below(30) === 0;
        this.rig.sendDirect();
      } else if (this.rig.feedDue) this.rig.feedLog();
      else this.#commit();
    } catch (error) {
      if (!String(error).includes('dies')) throw error;
      this.deaths++;
      this.rig.sendDue = false;
      this.rig.baton.logThreadDied();
      this.rig.wake();
    } finally {
      this.#inLogThread = false;
      this.#deathDue = false;
    }
  }

  #commit(): void {
    const length = this.random.pick([0, 1, 10, 300, 300, 300, PACKET_PAYLOAD_MAX - 8]);
    const text = `<${this.#records}${'x'.repeat(length)}>`;
    if (!this.rig.commit(text)) return;
    this.#records++;
    this.written += text;
  }

  #there(): Visitor[] {
    return this.visitors.filter(({ staying, client }) => staying && !client.closed);
  }

  #arrive(): void {
    if (this.#there().length >= this.#most) return;
    const client = this.rig.connect();
    client.room = this.random.pick(ROOMS);
    this.visitors.push({ client, acceptedAt: -1, staying: true });
  }

  #changeRooms(): void {
    for (const { client } of this.#there()) client.room = this.random.below(4) === 0 ? this.random.pick(ROOMS) : MUCH;
  }

  #leave(oneIn: number, how: (client: FakeClient) => void): void {
    const there = this.#there();
    if (there.length === 0 || this.random.below(oneIn) !== 0) return;
    const visitor = this.random.pick(there);
    visitor.staying = false;
    how(visitor.client);
  }

  #endAtOnce(): void {
    for (let n = this.random.below(30); n > 0; n--) this.logStep();
    while (this.rig.sendDue) this.rig.sendDirect();
    this.rig.feedLog();
    const how = this.random.below(4);
    if (how > 0) while (this.#there().length > 0) this.#leave(1, (client) => client.hangUp());
    if (how > 1) this.#arrive();
    for (const { client } of this.visitors) client.room = MUCH;
    this.#ended = true;
    this.rig.end();
  }
}

t.test(`the end, at any moment, costs nobody a byte, seed ${SEED}`, async (t) => {
  const total = { direct: 0, own: 0, deaths: 0, doubtful: 0, stalled: 0 };
  for (let i = 0; i < RUNS; i++) {
    const run = new Run(SEED + i);
    run.go();
    const { rig, visitors, written } = run;
    const doubtful = rig.complaints.lines.filter((line) => line.includes('the log worker died')).length;
    if (rig.logText !== written) t.fail(`run ${i}: the log has ${rig.logText.length} of ${written.length} bytes`);
    let shortened = 0;
    for (const [who, { client, acceptedAt, staying }] of visitors.entries()) {
      const text = client.text.slice('2:'.length);
      const at = text === '' ? acceptedAt : written.indexOf(text);
      if (at === -1 && acceptedAt !== -1) t.fail(`run ${i}: client ${who} got ${text.length} bytes that are no piece`);
      if (at > acceptedAt) t.fail(`run ${i}: client ${who} lacks its beginning: from ${at}, accepted at ${acceptedAt}`);
      if (text !== '' && !text.startsWith('<')) t.fail(`run ${i}: client ${who} begins amid a record`);
      if (staying && acceptedAt !== -1 && at + text.length !== written.length) shortened++;
      if (!client.closed && acceptedAt !== -1) t.fail(`run ${i}: client ${who} was left open`);
    }
    const excused = doubtful + rig.counters.stalledClients;
    if (shortened > excused) t.fail(`run ${i}: ${shortened} clients lack the end, ${excused} were told of`);
    if (rig.clientFds.some((fd) => fd !== 0)) t.fail(`run ${i}: an fd is still noted`);
    total.direct += run.direct;
    total.own += run.own;
    total.deaths += run.deaths;
    total.doubtful += doubtful;
    total.stalled += rig.counters.stalledClients;
  }
  t.ok(total.direct > 500 && total.own > 500, `both threads had their share: ${JSON.stringify(total)}`);
  t.ok(total.deaths > 5, 'some log threads died');
});
