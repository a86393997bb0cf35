/**
 * The log thread and the attach thread in every order that chance comes upon: the log thread's steps (commit, send, feed the log, death
 * amid a send) happen between any two steps of the attach thread. What two processors do at once is test/unit/threads/direct.test.ts.
 */
import t from 'tap';
import { PACKET_PAYLOAD_MAX } from '../../../src/proto/attach-messages.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { type FakeClient, Rig } from './rig.ts';

const RUNS = 60;
const STEPS = 250;
const MUCH = Number.POSITIVE_INFINITY;
const ROOMS = [0, 1, 5, MUCH, MUCH, MUCH];

interface Visitor {
  readonly client: FakeClient;
  readonly writtenBefore: number;
  staying: boolean;
}

function brief(text: string): string {
  return text.length > 200 ? `${text.slice(0, 80)}...${text.slice(-80)} (${text.length})` : text;
}

t.test(`no order of steps loses, doubles or mixes a byte, seed ${SEED}`, async (t) => {
  const total = { direct: 0, own: 0, deaths: 0, doubtful: 0, rewinds: 0 };
  for (let run = 0; run < RUNS; run++) {
    const random = seededRandom(SEED + run);
    const rig = new Rig({ capacityBytes: 1 << 15 });
    const visitors: Visitor[] = [];
    let [written, records, ended, logThread, deathDue] = ['', 0, false, false, false];

    const { sendPackets, write } = rig.sys;
    rig.sys.sendPackets = (...call) => {
      total.own++;
      return sendPackets(...call);
    };
    rig.sys.write = (...call) => {
      if (!logThread) return write(...call);
      total.direct++;
      if (deathDue && random.below(2) === 0) throw new Error('dies');
      const result = write(...call);
      if (deathDue) throw new Error('dies');
      return result;
    };
    /** One step of the log thread: as it would go on, or on its death what main does, and then the next one. */
    const logStep = (): void => {
      if (logThread || ended) return;
      logThread = true;
      try {
        if (rig.sendDue) {
          deathDue = random.below(30) === 0;
          rig.sendDirect();
        } else if (rig.feedDue) rig.feedLog();
        else {
          const length = random.pick([0, 1, 10, 300, 300, PACKET_PAYLOAD_MAX]);
          const text = `<${records}${'x'.repeat(length)}>`;
          if (rig.commit(text)) {
            records++;
            written += text;
          }
        }
      } catch (error) {
        if (!String(error).includes('dies')) throw error;
        total.deaths++;
        rig.baton.logThreadDied();
        rig.wake();
      } finally {
        logThread = false;
        deathDue = false;
      }
    };
    rig.onCall = () => {
      if (random.below(20) === 0) logStep();
    };
    const arrive = (): void => {
      const client = rig.connect();
      client.room = random.pick(ROOMS);
      visitors.push({ client, writtenBefore: written.length, staying: true });
    };
    const there = () => visitors.filter(({ staying, client }) => staying && !client.closed);
    const acts: (() => void)[] = [
      logStep,
      logStep,
      logStep,
      logStep,
      () => {
        if (there().length < 5) arrive();
      },
      () => {
        for (const { client } of there()) client.room = random.below(4) === 0 ? random.pick(ROOMS) : MUCH;
      },
      () => {
        const visitor = there()[0];
        if (visitor) visitor.client.send('input');
      },
      () => {
        const visitor = random.below(4) === 0 ? there().at(random.below(2) - 1) : undefined;
        if (visitor === undefined) return;
        visitor.staying = false;
        visitor.client.hangUp();
      },
    ];
    rig.openStdin();
    arrive();
    rig.run(
      ...Array.from({ length: STEPS }, () => () => random.pick(acts)()),
      () => {
        for (const { client } of visitors) client.room = Number.POSITIVE_INFINITY;
      },
      () => {
        while (rig.sendDue) rig.sendDirect();
        rig.feedLog();
        ended = true;
        rig.end();
      },
    );
    if (rig.logText !== written) t.fail(`run ${run}: the log has ${brief(rig.logText)}`);
    total.rewinds += rig.rewinds;
    const told = rig.complaints.lines.filter((line) => line.includes('the log worker died')).length;
    total.doubtful += told;
    let shortened = 0;
    for (const [i, { client, writtenBefore, staying }] of visitors.entries()) {
      const text = client.text.slice('2:'.length);
      const at = written.indexOf(text, writtenBefore);
      if (at === -1 || (text !== '' && !text.startsWith('<'))) t.fail(`run ${run}: client ${i} got ${brief(text)}`);
      if (staying && !written.endsWith(text)) shortened++;
    }
    if (shortened > told) t.fail(`run ${run}: ${shortened} clients lack the end, ${told} were told of`);
    if (!visitors.every(({ client }) => client.closed)) t.fail(`run ${run}: a socket was left open`);
  }
  t.ok(total.direct > 1000 && total.own > 1000, `both threads had their share: ${JSON.stringify(total)}`);
  t.ok(total.rewinds > 20, 'the ring has often gone back to its start');
  t.ok(total.deaths > 5 && total.doubtful > 0, 'some log threads died');
});
