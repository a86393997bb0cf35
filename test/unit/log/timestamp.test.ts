/** The beginning of CRI records: format, local offsets, and what is kept from one record to the next. */
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { type OffsetAt, Timestamp } from '../../../src/log/timestamp.ts';
import { CLOCK_REALTIME } from '../../../src/native/constants.ts';
import { STDERR, STDOUT, type Stream } from '../../../src/proto/stream.ts';
import { seededRandom } from '../../helpers/random.ts';
import { fakeSys, SEED } from '../native/fake-sys.ts';

/** A clock that a test sets, with the number of times that the offset was asked for. */
class Clock {
  seconds = 0;
  nanoseconds = 0;
  asked = 0;
  readonly timestamp: Timestamp;

  constructor(offsetAt: OffsetAt) {
    const sys = fakeSys({
      clockGettime: (clock, out) => {
        if (clock !== CLOCK_REALTIME) throw new Error(`clock ${clock}`);
        out[0] = this.seconds;
        out[1] = this.nanoseconds;
        return 0;
      },
    });
    this.timestamp = new Timestamp(sys, (epochMs) => {
      this.asked++;
      return offsetAt(epochMs);
    });
  }

  at(text: string, nanoseconds: number): this {
    this.seconds = Date.parse(text) / 1000;
    this.nanoseconds = nanoseconds;
    return this;
  }

  prefix(stream: Stream = STDOUT): string {
    const memory = new Uint8Array(64).fill(0x2e);
    this.timestamp.write(memory, 8, stream);
    const text = Buffer.from(memory).toString('latin1');
    if (!/^\.{8}[^.]{19}\.[^.]*\.{11}$/.test(text)) throw new Error(`written outside of its 45 bytes: ${text}`);
    return text.slice(8, 8 + 45);
  }
}

const at = (text: string, nanoseconds: number, minutes = 0) => new Clock(() => minutes).at(text, nanoseconds);

t.test('a prefix has the time, the stream and tag F', async (t) => {
  t.equal(at('2026-11-23T18:00:00Z', 123456789).prefix(), '2026-11-23T18:00:00.123456789+00:00 stdout F ');
  t.equal(at('2026-11-23T18:00:00Z', 123456789).prefix(STDERR), '2026-11-23T18:00:00.123456789+00:00 stderr F ');
});

t.test('nanoseconds have nine digits, leading zeros too', async (t) => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '000000000'],
    [1, '000000001'],
    [42_000, '000042000'],
    [100_000_000, '100000000'],
    [999_999_999, '999999999'],
  ];
  for (const [nanoseconds, digits] of cases)
    t.equal(at('2026-01-02T03:04:05Z', nanoseconds).prefix().slice(0, 29), `2026-01-02T03:04:05.${digits}`);
});

t.test('the local offset is numeric, east and west, also with half and quarter hours', async (t) => {
  const cases: readonly (readonly [number, string])[] = [
    [60, '2026-11-23T19:00:00.000000000+01:00'],
    [-300, '2026-11-23T13:00:00.000000000-05:00'],
    [-210, '2026-11-23T14:30:00.000000000-03:30'],
    [330, '2026-11-23T23:30:00.000000000+05:30'],
    [345, '2026-11-23T23:45:00.000000000+05:45'],
    [840, '2026-11-24T08:00:00.000000000+14:00'],
    [-720, '2026-11-23T06:00:00.000000000-12:00'],
    [-30, '2026-11-23T17:30:00.000000000-00:30'],
  ];
  for (const [minutes, text] of cases) t.equal(at('2026-11-23T18:00:00Z', 0, minutes).prefix().slice(0, 35), text);
});

t.test('the date changes with the local day, month and year', async (t) => {
  t.match(at('2026-12-31T23:30:00Z', 0, 60).prefix(), /^2027-01-01T00:30:00\./);
  t.match(at('2028-03-01T00:30:00Z', 0, -60).prefix(), /^2028-02-29T23:30:00\./);
  t.match(at('1970-01-01T00:00:00Z', 0).prefix(), /^1970-01-01T00:00:00\./);
  t.match(at('2038-01-19T03:14:08Z', 0).prefix(), /^2038-01-19T03:14:08\./, 'past 2^31 seconds');
});

t.test('the next second is the next second, and the clock may go back', async (t) => {
  const clock = at('2026-11-23T18:00:59Z', 999_999_999);
  t.match(clock.prefix(), /^2026-11-23T18:00:59\.999999999/);
  t.match(clock.at('2026-11-23T18:01:00Z', 0).prefix(), /^2026-11-23T18:01:00\.000000000/);
  t.match(clock.at('2026-11-23T18:00:59Z', 5).prefix(), /^2026-11-23T18:00:59\.000000005/);
  t.match(
    clock.prefix(STDERR),
    /^2026-11-23T18:00:59\.000000005\+00:00 stderr F /,
    'the other stream, the same second',
  );
});

t.test('every second has its own text, in both streams', async (t) => {
  const clock = at('2026-12-31T17:59:00Z', 0, 345);
  const first = clock.seconds;
  for (let second = first; second < first + 2 * 3600; second += second % 7 === 0 ? 3 : 1) {
    clock.seconds = second;
    const text = `${new Date((second + 345 * 60) * 1000).toISOString().slice(0, 19)}.000000000+05:45`;
    const [stdout, stderr] = [clock.prefix(), clock.prefix(STDERR)];
    if (stdout !== `${text} stdout F ` || stderr !== `${text} stderr F `) t.fail(`${stdout} and ${stderr} at ${text}`);
  }
});

t.test('a change to and from summer time shows at its second', async (t) => {
  const [spring, autumn] = [Date.parse('2026-03-29T01:00:00Z'), Date.parse('2026-10-25T01:00:00Z')];
  const clock = new Clock((epochMs) => (epochMs >= spring && epochMs < autumn ? 120 : 60));
  t.match(clock.at('2026-03-29T00:59:59Z', 7).prefix(), /^2026-03-29T01:59:59\.000000007\+01:00/);
  t.match(clock.at('2026-03-29T01:00:00Z', 0).prefix(), /^2026-03-29T03:00:00\.000000000\+02:00/);
  t.match(clock.at('2026-10-25T00:59:59Z', 0).prefix(), /^2026-10-25T02:59:59\.000000000\+02:00/);
  t.match(clock.at('2026-10-25T01:00:00Z', 0).prefix(), /^2026-10-25T02:00:00\.000000000\+01:00/);
});

t.test('a prefix where one stands already is the same as anywhere else', async (t) => {
  const clock = at('2026-11-23T18:00:58Z', 0, 345);
  const fresh = at('2026-11-23T18:00:58Z', 0, 345);
  const memories = [new Uint8Array(200), new Uint8Array(200)];
  const random = seededRandom(SEED);
  const expected = memories.map((memory) => memory.slice());
  for (let i = 0; i < 2000; i++) {
    const [memory, copy] = random.below(20) === 0 ? [memories[1], expected[1]] : [memories[0], expected[0]];
    if (memory === undefined || copy === undefined) throw new Error('no memory');
    const stream = random.below(2) === 0 ? STDOUT : STDERR;
    const offset = (stream === STDOUT ? 3 : 70) + (random.below(20) === 0 ? 4 : 0);
    clock.seconds += [0, 0, 1, 59, -1, 3600][random.below(6)] ?? 0;
    clock.nanoseconds = random.below(1e9);
    fresh.seconds = clock.seconds;
    fresh.nanoseconds = clock.nanoseconds;
    clock.timestamp.write(memory, offset, stream);
    copy.set(Buffer.from(fresh.prefix(stream), 'latin1'), offset);
    if (!Buffer.from(memory).equals(copy)) {
      t.equal(Buffer.from(memory).toString('latin1'), Buffer.from(copy).toString('latin1'), `write ${i}, seed ${SEED}`);
      return;
    }
  }
});

t.test('the offset is asked for once a quarter of an hour, not once a record', async (t) => {
  const clock = at('2026-11-23T18:00:00Z', 0);
  for (let second = 0; second < 900; second++) {
    clock.seconds++;
    clock.prefix();
  }
  t.ok(clock.asked <= 2, `asked ${clock.asked} times`);
});

t.test("without an offset of the test's own it is that of TZ", async (t) => {
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const code = `
    import { Timestamp } from ${url('../../../src/log/timestamp.ts')};
    const sys = { clockGettime: (clock, out) => { out[0] = 1795456800; out[1] = 5; return 0; } };
    const memory = new Uint8Array(45);
    new Timestamp(sys).write(memory, 0, 2);
    console.log(Buffer.from(memory).toString());`;
  for (const [zone, text] of [
    ['UTC', '2026-11-23T18:00:00.000000005+00:00 stdout F \n'],
    ['America/St_Johns', '2026-11-23T14:30:00.000000005-03:30 stdout F \n'],
    ['Asia/Kathmandu', '2026-11-23T23:45:00.000000005+05:45 stdout F \n'],
  ] as const) {
    const options = { env: { ...process.env, TZ: zone }, encoding: 'utf8', timeout: 20_000 } as const;
    t.equal(execFileSync(process.execPath, ['--input-type=module', '--eval', code], options), text, zone);
  }
});
