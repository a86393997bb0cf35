/** What of a container's notification reaches the host's service manager. */
import t from 'tap';
import { RELAYED_MAX, relayedPart } from '../../../src/proto/sd-notify.ts';
import { seededRandom } from '../../helpers/random.ts';
import { SEED } from '../native/fake-sys.ts';

function relayed(text: string): string {
  return relayedPart(Buffer.from(text, 'latin1')).bytes.toString('latin1');
}

t.test('each allowed line passes as it is, alone and in company', async (t) => {
  const lines = [
    'READY=1',
    'RELOADING=1',
    'STOPPING=1',
    'WATCHDOG=1',
    'WATCHDOG=trigger',
    'STATUS=Processing requests… 100 %',
    'STATUS=',
    'ERRNO=2',
    'BUSERROR=org.freedesktop.DBus.Error.TimedOut',
    'MONOTONIC_USEC=123456789',
  ].map((line) => Buffer.from(line).toString('latin1'));
  for (const line of lines) {
    t.equal(relayed(line), line);
    t.equal(relayed(`${line}\n`), line);
    t.equal(relayed(`MAINPID=1\n${line}\nFDSTORE=1`), line);
  }
  t.equal(relayed(lines.join('\n')), lines.join('\n'));
});

t.test('nothing else passes, however like an allowed line it looks', async (t) => {
  const lines = [
    'MAINPID=1',
    'MAINPIDFDID=1',
    'FDSTORE=1',
    'FDSTOREREMOVE=1',
    'FDNAME=x',
    'FDPOLL=0',
    'NOTIFYACCESS=all',
    'EXTEND_TIMEOUT_USEC=1000000',
    'WATCHDOG_USEC=1',
    'BARRIER=1',
    'READY=0',
    'READY=11',
    'READY=1 ',
    ' READY=1',
    'XREADY=1',
    'ready=1',
    'STOPPING=0',
    'WATCHDOG=',
    'XSTATUS=x',
    'STATUS',
    'STATUS=a\0b',
    '\0READY=1',
    'READY=1\rMAINPID=1',
  ];
  for (const line of lines) {
    const { bytes, refusedLines } = relayedPart(Buffer.from(line, 'latin1'));
    t.equal(bytes.length, 0, JSON.stringify(line));
    t.equal(refusedLines, 1, JSON.stringify(line));
  }
});

t.test('empty datagrams and lines are nothing, and nothing was refused', async (t) => {
  for (const text of ['', '\n', '\n\n\n', '\0'])
    t.match(relayedPart(Buffer.from(text)), { refusedLines: 0, bytes: [] });
  t.equal(relayed('\n\nREADY=1\n\n\nSTOPPING=1\n'), 'READY=1\nSTOPPING=1');
});

t.test('a string that was sent with its NUL passes', async (t) => {
  t.equal(relayed('READY=1\0'), 'READY=1');
  t.equal(relayed('READY=1\0\0'), '');
});

t.test('what the service manager would not read is left out, the rest passes', async (t) => {
  const long = `STATUS=${'x'.repeat(RELAYED_MAX)}`;
  t.equal(relayed(`${long}\nREADY=1`), 'READY=1');
  const fits = `STATUS=${'x'.repeat(RELAYED_MAX - 'STATUS='.length - '\nREADY=1'.length)}`;
  t.equal(relayed(`${fits}\nREADY=1`).length, RELAYED_MAX);
  t.equal(relayed(`${fits}y\nREADY=1`), `${fits}y`);
});

t.test(`random datagrams: only allowed lines come out, in order, seed ${SEED}`, async (t) => {
  const random = seededRandom(SEED);
  const allowed =
    /^(READY=1|RELOADING=1|STOPPING=1|WATCHDOG=1|WATCHDOG=trigger|(STATUS|ERRNO|BUSERROR|MONOTONIC_USEC)=[^\0]*)$/s;
  const pieces = ['READY=1', 'MAINPID=', 'STATUS=', 'WATCHDOG=trigger', '\n', '\n', '\0', '=', '1', ' ', '\xff'];
  for (let i = 0; i < 10_000; i++) {
    let text = '';
    for (let n = random.below(12); n >= 0; n--)
      text += random.below(4) === 0 ? String.fromCharCode(random.below(256)) : random.pick(pieces);
    const lines = text
      .replace(/\0$/, '')
      .split('\n')
      .filter((line) => line !== '');
    const wanted = lines.filter((line) => allowed.test(line));
    const { bytes, refusedLines } = relayedPart(Buffer.from(text, 'latin1'));
    if (bytes.toString('latin1') !== wanted.join('\n') || refusedLines !== lines.length - wanted.length)
      t.fail(JSON.stringify(text));
  }
  t.pass('10000 datagrams');
});
