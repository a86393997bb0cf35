/** The sync pipe: one message is one write, and a caller that is gone is no error. */
import { constants } from 'node:os';
import t from 'tap';
import { SyncPipe } from '../../../src/session/sync-pipe.ts';
import { fakeSys, textOf } from '../native/fake-sys.ts';
import { Complaints } from './complaints.ts';

const { EIO, EPIPE } = constants.errno;

/** A pipe that answers each write with the next of `answers`, then takes everything. */
function open(fd: number, answers: number[] = []) {
  const written: string[] = [];
  const closed: number[] = [];
  const complaints = new Complaints();
  const sys = fakeSys({
    write: (_fd, bytes, offset, length) => {
      const result = answers.shift() ?? length;
      if (result > 0) written.push(textOf(bytes, offset, result));
      return result;
    },
    close: (which) => {
      closed.push(which);
      return 0;
    },
  });
  return { pipe: new SyncPipe(sys, complaints.diag, 'data', fd), written, closed, complaints };
}

t.test('a message is one write', async (t) => {
  const { pipe, written } = open(3);
  pipe.send(17);
  pipe.send(-1, Buffer.from('why'));
  t.same(written, ['{"data": 17}\n', '{"data": -1, "message": "why"}\n']);
});

t.test('without a pipe nothing is written or closed', async (t) => {
  const { pipe, written, closed } = open(-1);
  pipe.send(17);
  pipe.close();
  t.same([written, closed], [[], []]);
  t.equal(pipe.fd, -1);
});

t.test('a short write goes on where it stopped', async (t) => {
  const { pipe, written } = open(3, [4, 1]);
  pipe.send(17);
  t.equal(written.join(''), '{"data": 17}\n');
});

t.test('a caller that is gone is no error; nothing more is sent', async (t) => {
  const { pipe, written, closed, complaints } = open(3, [-EPIPE]);
  pipe.send(17);
  pipe.send(18);
  t.same([written, closed, complaints.lines], [[], [3], []]);
  t.equal(pipe.fd, -1);
});

t.test('any other failure is told once', async (t) => {
  const { pipe, closed, complaints } = open(3, [-EIO]);
  pipe.send(17);
  pipe.send(18);
  t.same(complaints.lines, ['[conmon:e]: Unable to send message to parent: Input/output error']);
  t.same(closed, [3]);
});

t.test('closing twice closes once', async (t) => {
  const { pipe, closed } = open(3);
  pipe.close();
  pipe.close();
  t.same(closed, [3]);
});
