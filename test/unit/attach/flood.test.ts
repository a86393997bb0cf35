/** A flood for several clients, whose packets go out several at once: each gets what it takes, and nobody gets a gap. */
import t from 'tap';
import { ENOMEM } from '../../../src/native/constants.ts';
import { PACKET_PAYLOAD_MAX } from '../../../src/proto/attach-messages.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { type FakeClient, Rig } from './rig.ts';

const CAPACITY = 1 << 20;
const RECORD = 34 * PACKET_PAYLOAD_MAX;
/** After so many records it counts as a flood. */
const FLOOD_RECORDS = 5;

/** A record whose bytes tell their place. */
function record(number: number, length = RECORD): string {
  let text = '';
  for (let i = 0; text.length < length; i++) text += `${number}.${i} `;
  return text.slice(0, length);
}

function flooded(rig: Rig): (() => void)[] {
  return Array.from({ length: FLOOD_RECORDS }, (_, i) => () => rig.put(record(i)));
}

const before = Array.from({ length: FLOOD_RECORDS }, (_, i) => record(i)).join('');

t.test(
  'a client in whose packets there is a gap is disconnected and that is told; the others get everything',
  async (t) => {
    const rig = new Rig({ capacityBytes: CAPACITY, closeStdin: true });
    const clients = [rig.connect(), rig.connect(), rig.connect()];
    let packet = 0;
    rig.run(
      ...flooded(rig),
      () => {
        // The second client's, or whoever is second: the eighth of 34.
        rig.batchFault = () => (++packet === 34 + 8 ? ENOMEM : 0);
        clients[0]?.send('input');
        rig.openStdin();
        rig.put(record(5));
      },
      () => rig.put('after'),
      () => rig.end(),
    );
    t.ok(packet >= 3 * 34, 'several at once');
    const all = `2:${before}${record(5)}after`;
    const whole = clients.filter(({ text }) => text === all);
    t.equal(whole.length, 2, 'who got everything');
    const [cut] = clients.filter(({ text }) => text !== all);
    const gap = record(5).slice(0, 7 * PACKET_PAYLOAD_MAX) + record(5).slice(8 * PACKET_PAYLOAD_MAX);
    t.equal(cut?.text === `2:${before}${gap}`, true, 'what was sent after the gap, and nothing more');
    t.equal(cut?.closed, true);
    t.match(rig.complaints.lines.join('\n'), /attach client disconnected: the kernel did not send 7712 bytes to it/);
    t.equal(rig.stdinText, 'input');
  },
);

t.test(`clients with room for a few packets, or many, get all of a flood, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  let batched = 0;
  for (let run = 0; run < 10; run++) {
    const rig = new Rig({ capacityBytes: CAPACITY });
    const clients: FakeClient[] = [rig.connect(), rig.connect(), rig.connect()];
    let written = before;
    const steps = Array.from({ length: 60 }, (_, i) => () => {
      for (const client of clients) client.room = random.pick([0, 1, 3, 4, 20, 33, 34, 50, 200]);
      const length = 1 + random.below(random.pick([100, PACKET_PAYLOAD_MAX, RECORD]));
      const text = record(i, length);
      if (rig.tryPut(text)) written += text;
    });
    rig.run(
      ...flooded(rig),
      ...steps,
      () => {
        for (const client of clients) client.room = Number.POSITIVE_INFINITY;
      },
      () => rig.end(),
    );
    t.ok(
      clients.every(({ text }) => text === `2:${written}`),
      `run ${run}`,
    );
    batched += rig.batched;
  }
  t.ok(batched > 1000, `${batched} packets went out several at once`);
});
