/** The time of json-file records: Go's RFC3339Nano, in UTC. */
import t from 'tap';
import { UTC_TIME_MAX_BYTES, UtcTime } from '../../../src/log/utc-time.ts';
import { sys } from '../../../src/native/sys.ts';
import { seededRandom } from '../../helpers/random.ts';
import { fakeSys, SEED } from '../native/fake-sys.ts';

/** A clock that stands where it is put. */
class Clock {
  second = 0;
  nanosecond = 0;
  readonly #time = new UtcTime(
    fakeSys({
      clockGettime: (_clock, out) => {
        out[0] = this.second;
        out[1] = this.nanosecond;
        return 0;
      },
    }),
  );

  at(second: number, nanosecond: number): string {
    this.second = second;
    this.nanosecond = nanosecond;
    const bytes = Buffer.alloc(UTC_TIME_MAX_BYTES + 2, '.');
    const size = this.#time.write(bytes, 1);
    if (size > UTC_TIME_MAX_BYTES) throw new Error(`${size} bytes`);
    return bytes.toString('latin1', 1, 1 + size);
  }
}

t.test('trailing zeros of the fraction are left out, and the point when nothing is left', async (t) => {
  const clock = new Clock();
  const second = Date.parse('2026-02-28T23:59:59Z') / 1000;
  for (const [nanosecond, fraction] of [
    [0, ''],
    [1, '.000000001'],
    [10, '.00000001'],
    [100_000_000, '.1'],
    [123_456_789, '.123456789'],
    [123_456_780, '.12345678'],
    [999_999_999, '.999999999'],
    [50_000, '.00005'],
  ] as const)
    t.equal(clock.at(second, nanosecond), `2026-02-28T23:59:59${fraction}Z`);
  t.equal(clock.at(second + 1, 0), '2026-03-01T00:00:00Z', 'the next second');
});

t.test(`any time reads back as itself, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const clock = new Clock();
  for (let i = 0; i < 2000; i++) {
    const second = random.below(2 ** 31);
    const nanosecond = random.pick([random.below(1e9), random.below(1000) * 1e6, random.below(10) * 1e8]);
    const text = clock.at(second, nanosecond);
    const [, whole, fraction = ''] = /^(.{19})(?:\.(\d*[1-9]))?Z$/.exec(text) ?? [];
    if (Date.parse(`${whole}Z`) !== second * 1000 || Number(fraction.padEnd(9, '0')) !== nanosecond)
      t.fail(`${second}.${nanosecond}: ${text}`);
  }
  t.pass();
});

t.test('the real clock is read', async (t) => {
  const before = Date.now();
  const bytes = Buffer.alloc(UTC_TIME_MAX_BYTES);
  const size = new UtcTime(sys).write(bytes, 0);
  const ms = Date.parse(bytes.toString('latin1', 0, size));
  t.ok(ms >= before - 1 && ms <= Date.now(), bytes.toString('latin1', 0, size));
});
