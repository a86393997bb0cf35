/** A record that a full FIFO has cut is finished before the other stream has its turn. */
import { closeSync, mkdtempSync, constants as open, openSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
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

t.test('a prompt that is settled while a FIFO holds the beginning of a stderr record comes after it', async (t) => {
  const rig = new DriverRig(t);
  const dir = mkdtempSync(join(tmpdir(), 'conmon-lanes-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'fifo');
  t.equal(sys.mkfifo(path, 0o600), 0);
  const reader = openSync(path, open.O_RDONLY | open.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  const fd = openLog(path);
  sys.fcntl(fd, F_SETPIPE_SZ, 4096);
  const state = ownDriverState();
  const format = new K8sFormat(rig.memory, rig.kernel, new Timestamp(rig.clock, () => 0));
  const notice = (text: string): Uint8Array => format.notice(text);
  const sink = fileSink({ sys, diag: rig.complaints.diag, counters: rig.counters, path, fd, state, notice });
  rig.driver.close();
  const driver = new RecordFile({
    memory: rig.memory,
    format,
    sink,
    counters: rig.counters,
    state,
    firstState: 4,
    outputs: [outputOffset(rig.geometry, 0), outputOffset(rig.geometry, 1)],
    outputBytes: rig.geometry.outputBytes,
    forget: () => t.fail('nobody rests here'),
  });
  rig.driver = driver;

  let read = '';
  const bytes = Buffer.alloc(1 << 16);
  const take = (): void => {
    const length = sys.read(reader, bytes, 0, bytes.length);
    if (length > 0) read += bytes.toString('latin1', 0, length);
  };
  rig.consume(STDOUT, Buffer.from('prompt> '));
  rig.consume(STDERR, Buffer.from(`${'e'.repeat(7000)}\n`));
  t.equal(driver.stalled, true, 'the FIFO is full amid the record');
  driver.settle(STDOUT, false);
  for (let i = 0; i < 10; i++) {
    take();
    if (driver.stalled) driver.retry();
  }
  take();
  t.equal(driver.stalled, false);
  const records = read.split('\n');
  t.match(records[0], /^\S+ stderr F e{7000}$/);
  t.match(records[1], /^\S+ stdout P prompt> $/);
  t.same(records.slice(2), ['']);
  t.same(rig.complaints.lines, []);
});

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
