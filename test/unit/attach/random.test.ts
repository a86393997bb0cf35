/** Many clients that come, go, stall and talk at random: nobody loses a byte, and nobody is waited for in vain. */
import t from 'tap';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';
import { type FakeClient, Rig } from './rig.ts';

const RUNS = 40;
const STEPS = 300;

interface Visitor {
  readonly client: FakeClient;
  readonly said: string[];
  /** Everything that was written before it connected. */
  readonly writtenBefore: number;
  staying: boolean;
}

function brief(text: string): string {
  return text.length > 200 ? `${text.slice(0, 80)}...${text.slice(-80)} (${text.length})` : text;
}

t.test(`each client gets one unbroken piece of the output, stdin all input, seed ${SEED}`, async (t) => {
  for (let run = 0; run < RUNS; run++) {
    const random = seededRandom(SEED + run);
    const rig = new Rig({ capacityBytes: 4096 });
    const visitors: Visitor[] = [];
    let [written, records, packets] = ['', 0, 0];
    const arrive = (): void => {
      const client = rig.connect();
      client.room = random.pick([0, 1, 3, Number.POSITIVE_INFINITY]);
      visitors.push({ client, said: [], writtenBefore: written.length, staying: true });
    };
    const someone = (): Visitor | undefined => {
      const there = visitors.filter(({ staying }) => staying);
      return there.length === 0 ? undefined : random.pick(there);
    };
    const acts: (() => void)[] = [
      () => {
        if (visitors.filter(({ staying }) => staying).length < 6) arrive();
      },
      () => {
        for (let i = random.below(8); i >= 0; i--) {
          const text = `<${records}${'x'.repeat(random.pick([0, 1, 7, 100, 1000]))}>`;
          if (!rig.tryPut(text)) return;
          records++;
          written += text;
        }
      },
      () => {
        const visitor = someone();
        if (visitor) visitor.client.room = random.pick([0, 1, 2, 10, Number.POSITIVE_INFINITY]);
      },
      () => {
        const visitor = someone();
        for (let i = random.below(4); visitor && i >= 0; i--) {
          const text = `(${packets++}${'y'.repeat(random.below(50))})`;
          visitor.client.send(text);
          visitor.said.push(text);
        }
      },
      () => {
        rig.stdinRoom = random.pick([0, 1, 20, 1000]);
      },
      () => {
        const visitor = someone();
        if (visitor === undefined || random.below(3) > 0) return;
        visitor.staying = false;
        visitor.client.hangUp(visitor.client.input.length === 0 && random.below(2) === 0);
      },
    ];
    rig.openStdin();
    arrive(); // the server starts when somebody is there
    rig.run(
      ...Array.from({ length: STEPS }, () => () => random.pick(acts)()),
      () => {
        rig.stdinRoom = Number.POSITIVE_INFINITY;
        for (const { client } of visitors) client.room = Number.POSITIVE_INFINITY;
      },
      () => rig.end(),
    );
    for (const [i, { client, said, writtenBefore, staying }] of visitors.entries()) {
      const text = client.text.slice('2:'.length);
      const at = written.indexOf(text, writtenBefore);
      if (at === -1 || (staying && !written.endsWith(text))) t.fail(`run ${run}: client ${i} got ${brief(text)}`);
      if (text !== '' && !text.startsWith('<'))
        t.fail(`run ${run}: client ${i} starts within a record: ${brief(text)}`);
      const heard = (rig.stdinText.match(/\([^()]*\)/g) ?? []).filter((packet) => said.includes(packet));
      if (heard.join() !== said.join()) t.fail(`run ${run}: stdin got ${brief(heard.join())} of ${brief(said.join())}`);
    }
    if (rig.stdinText.replaceAll(/\([^()]*\)/g, '') !== '')
      t.fail(`run ${run}: packets are mixed: ${brief(rig.stdinText)}`);
    if (!visitors.every(({ client }) => client.closed)) t.fail(`run ${run}: a socket was left open`);
    if (rig.counters.clients !== visitors.length) t.fail(`run ${run}: ${rig.counters.clients} clients were counted`);
  }
  t.pass(`${RUNS} runs`);
});
