/** Packets of a flood that go out several at once: none lost, doubled or out of order, and none that does not fit. Real sockets. */
import t from 'tap';
import { PACKETS_A_CALL, PacketSender } from '../../../src/attach/packet-sender.ts';
import {
  EAGAIN,
  ENOMEM,
  EPIPE,
  MSG_DONTWAIT,
  SO_SNDBUF,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from '../../../src/native/constants.ts';
import { sys as realSys, type Sys } from '../../../src/native/sys.ts';
import { PACKET_PAYLOAD_MAX } from '../../../src/proto/attach-messages.ts';
import { seededRandom } from '../../helpers/random.ts';
import { realSysBut, SEED } from '../native/fake-sys.ts';

const RECORD_OFFSET = 8;
const RECORD_MAX = 600_000;
const TYPE = 2;
const FLOOD_BYTES = 1 << 20;
const ENOSYS = -38;

interface Seen {
  /** Results of packets that were sent several at once. */
  readonly batched: number[];
  /** Calls of sendmmsg. */
  single: number;
  setups: number;
  destroyed: number;
}

/** A sender, a client's socket, and what the client reads. */
class Line {
  readonly seen: Seen = { batched: [], single: 0, setups: 0, destroyed: 0 };
  readonly bytes = new Uint8Array(RECORD_OFFSET + RECORD_MAX);
  readonly sender: PacketSender;
  readonly roomBytes: number;
  readonly fd: number;
  readonly clientFd: number;
  read = Buffer.alloc(0);
  readonly #packet = Buffer.alloc(8193);

  constructor(test: { teardown(end: () => void): void }, calls: (sys: Sys) => Partial<Sys> = () => ({})) {
    const { seen } = this;
    const asked = realSysBut(calls(realSys));
    this.sender = new PacketSender({
      ...asked,
      sendPackets: (...call) => {
        if (call[0] === this.fd) seen.single++; // and not what it measures with
        return asked.sendPackets(...call);
      },
      ioSetup: (...call) => {
        seen.setups++;
        return asked.ioSetup(...call);
      },
      ioDestroy: (...call) => {
        seen.destroyed++;
        return asked.ioDestroy(...call);
      },
      ioGetevents: (context, results) => {
        const count = asked.ioGetevents(context, results);
        seen.batched.push(...results.subarray(0, count));
        return count;
      },
    });
    const fds = new Int32Array(2);
    realSys.socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, fds);
    [this.fd = -1, this.clientFd = -1] = fds;
    this.roomBytes = this.sender.prepare(this.fd);
    this.bytes[0] = TYPE;
    test.teardown(() => {
      realSys.close(this.fd);
      this.hangUp();
      this.sender.close();
    });
  }

  hangUp(): void {
    realSys.close(this.clientFd);
  }

  /** Sends what of `record` there is from `at` on. */
  send(length: number, at = 0): number {
    return this.sender.send(this.fd, this.roomBytes, this.bytes, 0, RECORD_OFFSET + at, length - at);
  }

  /** The client reads at most so many packets. @returns how many there were. */
  take(most = Number.POSITIVE_INFINITY): number {
    const parts = [this.read];
    for (let i = 0; i < most; i++) {
      const length = realSys.recvmsg(this.clientFd, this.#packet, 0, 8193, new Int32Array(1), MSG_DONTWAIT);
      if (length <= 0) break;
      if (this.#packet[0] !== TYPE) throw new Error(`a packet of type ${this.#packet[0]}`);
      parts.push(Buffer.from(this.#packet.subarray(1, length)));
    }
    this.read = Buffer.concat(parts);
    return parts.length - 1;
  }

  /** So much goes out that several packets are sent at once from then on; the client reads it. */
  flood(): void {
    for (let sent = 0; sent < FLOOD_BYTES; ) {
      sent += this.send(10 * PACKET_PAYLOAD_MAX);
      this.take();
    }
    this.read = Buffer.alloc(0);
    this.seen.single = 0;
  }
}

/** Bytes that tell their place. */
function fill(bytes: Uint8Array, from: number): void {
  const words = new DataView(bytes.buffer, bytes.byteOffset);
  for (let i = 0; i + 4 <= bytes.length; i += 4) words.setUint32(i, from + i);
}

t.test(`a client that reads now and then gets all of it in order, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const line = new Line(t);
  const written: Buffer[] = [];
  for (let total = 0; total < 20 * FLOOD_BYTES; ) {
    const length = 4 * (1 + random.below(random.pick([10, 10_000, RECORD_MAX / 4])));
    const record = line.bytes.subarray(RECORD_OFFSET, RECORD_OFFSET + length);
    fill(record, total);
    written.push(Buffer.from(record));
    total += length;
    for (let at = 0; at < length; ) {
      const sent = line.send(length, at);
      if (sent < 0 || line.sender.lostBytes > 0) throw new Error(`sent ${sent}, lost ${line.sender.lostBytes}`);
      at += sent;
      if (line.sender.full && line.take(random.below(60)) === 0) continue;
      if (random.below(3) === 0) line.take(random.below(40));
    }
  }
  line.take();
  t.ok(Buffer.concat(written).equals(line.read), 'byte for byte');
  t.ok(line.seen.batched.length > 500 && line.seen.single > 50, `${line.seen.batched.length}, ${line.seen.single}`);
  t.ok(
    line.seen.batched.every((result) => result > 0),
    'each packet of several had room',
  );
  t.equal(line.seen.setups, 1);
});

t.test('little output is sent with sendmmsg: no context is made', async (t) => {
  const line = new Line(t);
  for (let i = 0; i < 10; i++) {
    t.equal(line.send(60_000), 60_000);
    line.take();
  }
  t.same(line.seen, { batched: [], single: 10, setups: 0, destroyed: 0 });
});

t.test('a flood goes out many packets a call, up to what the socket holds; then it is full', async (t) => {
  const line = new Line(t);
  line.flood();
  const most = PACKETS_A_CALL * PACKET_PAYLOAD_MAX;
  t.equal(line.send(RECORD_MAX), most, 'a call');
  t.equal(line.seen.batched.slice(-PACKETS_A_CALL).length, PACKETS_A_CALL);
  t.equal(line.seen.single, 0);
  let rest = 0;
  while (!line.sender.full) rest += line.send(RECORD_MAX);
  t.equal(line.take() * PACKET_PAYLOAD_MAX, most + rest);
  t.ok(
    line.seen.batched.every((result) => result === PACKET_PAYLOAD_MAX + 1),
    'nothing was tried that does not fit',
  );
  t.equal(line.seen.single, 1, 'sendmmsg found it full');
});

t.test('a client that is gone is an error', async (t) => {
  const line = new Line(t);
  line.flood();
  line.hangUp();
  t.equal(line.send(RECORD_MAX), EPIPE);
  t.equal(line.sender.full, false);
  t.equal(line.sender.lostBytes, 0);
});

/** Answers `errno` for these packets of a call, as if the kernel had not sent them. */
function failing(packets: readonly number[], errno: number) {
  return (sys: Sys): Partial<Sys> => ({
    ioGetevents: (context, results) => {
      const count = sys.ioGetevents(context, results);
      for (const i of packets) results[i] = errno;
      return count;
    },
  });
}

t.test('a packet that failed amid others is lost, and that is told', async (t) => {
  const line = new Line(t, failing([3, 4, 9], ENOMEM));
  line.flood();
  t.equal(line.send(9 * PACKET_PAYLOAD_MAX + 10), 3 * PACKET_PAYLOAD_MAX, 'up to it');
  t.equal(line.sender.lostBytes, 2 * PACKET_PAYLOAD_MAX, 'the last one is not amid others');
  t.equal(line.sender.full, false);
});

t.test('packets that failed at the end are sent again', async (t) => {
  const line = new Line(t, failing([5, 6], ENOMEM));
  line.flood();
  t.equal(line.send(7 * PACKET_PAYLOAD_MAX), 5 * PACKET_PAYLOAD_MAX);
  t.equal(line.sender.lostBytes, 0);
  t.equal(line.sender.full, false);
});

t.test('where the kernel charges otherwise than was measured, packets are sent with sendmmsg', async (t) => {
  const line = new Line(t, failing([0, 1, 2, 3], EAGAIN));
  line.flood();
  t.equal(line.send(4 * PACKET_PAYLOAD_MAX), 0);
  t.equal(line.sender.full, false);
  t.equal(line.seen.destroyed, 1);
  t.equal(line.seen.single, 0);
  t.equal(line.send(4 * PACKET_PAYLOAD_MAX), 4 * PACKET_PAYLOAD_MAX);
  t.equal(line.seen.single, 1);
});

for (const [what, calls] of [
  ['a kernel without io_setup', { ioSetup: () => ENOSYS }],
  ['no socket to measure with', { socketpair: () => EAGAIN }],
  ['a socket that does not tell its charge', { siocoutq: () => ENOSYS }],
  ['io_submit that is refused', { ioSubmitPackets: () => ENOSYS }],
] as const)
  t.test(`${what}: sendmmsg does it, and it is not asked again`, async (t) => {
    const line = new Line(t, () => calls);
    line.flood();
    let sent = 0;
    for (let i = 0; i < 3 && sent === 0; i++) sent = line.send(8 * PACKET_PAYLOAD_MAX);
    t.equal(sent, 8 * PACKET_PAYLOAD_MAX);
    line.take();
    t.equal(line.send(8 * PACKET_PAYLOAD_MAX), 8 * PACKET_PAYLOAD_MAX);
    t.equal(line.seen.batched.length, 0);
    t.ok(line.seen.setups <= 1);
  });

t.test('a socket of unknown room gets what it takes', async (t) => {
  const line = new Line(t, (sys) => ({
    getsockopt: (fd, name, out) => (name === SO_SNDBUF ? ENOSYS : sys.getsockopt(fd, name, out)),
  }));
  t.equal(line.roomBytes, 0);
  line.flood();
  t.equal(line.send(8 * PACKET_PAYLOAD_MAX), 8 * PACKET_PAYLOAD_MAX);
  t.equal(line.seen.batched.length, 0);
});

t.test('fewer results than packets are a bug, and no silence', async (t) => {
  const line = new Line(t, () => ({ ioGetevents: () => 3 }));
  line.flood();
  t.throws(() => line.send(RECORD_MAX), { message: /3 results of 51 packets/ });
});
