/** A record that a full FIFO has cut is finished before the other stream has its turn. */
import { closeSync, mkdtempSync, constants as open, openSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ownDriverState } from '../../../src/log/driver-state.ts';
import { K8sFormat } from '../../../src/log/k8s-format.ts';
import { openLog } from '../../../src/log/open-log.ts';
import { RecordFile } from '../../../src/log/record-file.ts';
import { Timestamp } from '../../../src/log/timestamp.ts';
import { F_SETPIPE_SZ } from '../../../src/native/constants.ts';
import { sys } from '../../../src/native/sys.ts';
import { STDERR, STDOUT } from '../../../src/proto/stream.ts';
import { outputOffset } from '../../../src/ring/layout.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { DriverRig } from './driver-rig.ts';
import { fileSink } from './sink-rig.ts';

/** A k8s-file driver over a FIFO of one page, and its reader. */
class FifoRig {
  readonly rig: DriverRig;
  readonly fd: number;
  read = '';
  readonly #test: Test;
  readonly #path: string;
  readonly #state = ownDriverState();
  readonly #reader: number;
  readonly #bytes = Buffer.alloc(1 << 16);

  constructor(t: Test) {
    this.#test = t;
    this.rig = new DriverRig(t);
    const dir = mkdtempSync(join(tmpdir(), 'conmon-lanes-'));
    t.teardown(() => rmSync(dir, { recursive: true }));
    this.#path = join(dir, 'fifo');
    t.equal(sys.mkfifo(this.#path, 0o600), 0);
    this.#reader = openSync(this.#path, open.O_RDONLY | open.O_NONBLOCK);
    t.teardown(() => closeSync(this.#reader));
    this.fd = openLog(this.#path);
    sys.fcntl(this.fd, F_SETPIPE_SZ, 4096);
    this.rig.driver.close();
    this.takeOver();
  }

  /** Also as a thread that goes on with what another one has left in the shared memory. */
  takeOver(): void {
    const { rig, fd } = this;
    const { diag } = rig.complaints;
    const format = new K8sFormat(rig.memory, rig.kernel, new Timestamp(rig.clock, () => 0));
    const notice = (text: string): Uint8Array => format.notice(text);
    const state = this.#state;
    const sink = fileSink({ sys, diag, counters: rig.counters, path: this.#path, fd, state, notice });
    rig.driver = new RecordFile({
      memory: rig.memory,
      format,
      sink,
      counters: rig.counters,
      state,
      firstState: 4,
      outputs: [outputOffset(rig.geometry, 0), outputOffset(rig.geometry, 1)],
      outputBytes: rig.geometry.outputBytes,
      forget: () => this.#test.fail('nobody rests here'),
    });
  }

  take(): void {
    const length = sys.read(this.#reader, this.#bytes, 0, this.#bytes.length);
    if (length > 0) this.read += this.#bytes.toString('latin1', 0, length);
  }

  /** Reads and retries until all is through. */
  takeAll(): void {
    for (let i = 0; i < 10; i++) {
      this.take();
      if (this.rig.driver.stalled) this.rig.driver.retry();
    }
    this.take();
    this.#test.equal(this.rig.driver.stalled, false);
  }
}

/** The FIFO is full amid a record of stderr, and stdout holds a prompt. */
function cut(t: Test): FifoRig {
  const fifo = new FifoRig(t);
  fifo.rig.consume(STDOUT, Buffer.from('prompt> '));
  fifo.rig.consume(STDERR, Buffer.from(`${'e'.repeat(7000)}\n`));
  t.equal(fifo.rig.driver.stalled, true, 'the FIFO is full amid the record');
  return fifo;
}

function isWhole(t: Test, { read, rig }: FifoRig): void {
  const records = read.split('\n');
  t.match(records[0], /^\S+ stderr F e{7000}$/);
  t.match(records[1], /^\S+ stdout P prompt> $/);
  t.same(records.slice(2), ['']);
  t.same(rig.complaints.lines, []);
}

t.test('a prompt that is settled while a FIFO holds the beginning of a stderr record comes after it', async (t) => {
  const fifo = cut(t);
  fifo.rig.driver.settle(STDOUT, false);
  fifo.takeAll();
  isWhole(t, fifo);
});

t.test(
  'who takes over amid a record of stderr ends it first, also when all it has to do is to settle stdout',
  async (t) => {
    for (const room of [false, true]) {
      const fifo = cut(t);
      fifo.takeOver();
      if (room) fifo.take();
      fifo.rig.driver.settle(STDOUT, false);
      t.equal(fifo.rig.driver.stalled, !room);
      fifo.takeAll();
      isWhole(t, fifo);
    }
  },
);

t.test('what one stream says waits for what the other could not write before it', async (t) => {
  const rig = new DriverRig(t);
  let full = true;
  rig.driver.close();
  rig.calls = { sys: realSysBut({ write: (...call) => (full ? -constants.errno.ENOSPC : sys.write(...call)) }) };
  rig.driver = rig.takeOver();
  t.equal(rig.consume(STDOUT, Buffer.from('a\n')), true, 'kept, for later');
  t.equal(rig.driver.stalled, true);
  t.equal(rig.consume(STDERR, Buffer.from('b\n')), false, 'not taken: it stays in the ring');
  full = false;
  rig.driver.retry();
  t.equal(rig.consume(STDERR, Buffer.from('b\n')), true);
  t.match(rig.content.toString(), /F a\n.* stderr F b\n$/);
});
