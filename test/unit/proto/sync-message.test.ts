/** Messages on the sync pipe: the bytes that engines parse. */
import t from 'tap';
import { encodeSyncMessage, syncKey } from '../../../src/proto/sync-message.ts';

const text = (bytes: Buffer) => bytes.toString('latin1');

t.test('the key is data with an api version, else exit_code for exec, else pid', async (t) => {
  t.equal(syncKey(true, true), 'data');
  t.equal(syncKey(true, false), 'data');
  t.equal(syncKey(false, true), 'exit_code');
  t.equal(syncKey(false, false), 'pid');
});

t.test('a value alone is one line without a message', async (t) => {
  t.equal(text(encodeSyncMessage('pid', 12345)), '{"pid": 12345}\n');
  t.equal(text(encodeSyncMessage('data', 0)), '{"data": 0}\n');
  t.equal(text(encodeSyncMessage('exit_code', -1)), '{"exit_code": -1}\n');
});

t.test('an empty message is none', async (t) => {
  t.equal(text(encodeSyncMessage('data', -1, Buffer.alloc(0))), '{"data": -1}\n');
});

t.test('a message is a JSON string', async (t) => {
  const message = encodeSyncMessage('exit_code', -1, Buffer.from('command timed out'));
  t.equal(text(message), '{"exit_code": -1, "message": "command timed out"}\n');
  t.same(JSON.parse(message.toString()), { exit_code: -1, message: 'command timed out' });
});

t.test('every byte comes back from a JSON parser as it was', async (t) => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  const bytes = encodeSyncMessage('data', -1, all);
  const line = text(bytes);
  t.equal(line.indexOf('\n'), line.length - 1, 'one line');
  t.notOk(
    bytes.subarray(0, -1).some((byte) => byte < 0x20 || byte === 0x7f),
    'no raw control character',
  );
  // As latin1 each byte is the character of the same number: what is >= 0x80 must be there as it is.
  t.equal(JSON.parse(line).message, text(all));
});

t.test('control characters are short escapes where JSON has them, else four hex digits', async (t) => {
  const message = Buffer.from('\b\t\n\f\r\x00\x01\x1b\x1f\x7f"\\/');
  t.equal(
    text(encodeSyncMessage('pid', -1, message)),
    '{"pid": -1, "message": "\\b\\t\\n\\f\\r\\u0000\\u0001\\u001b\\u001f\\u007f\\"\\\\/"}\n',
  );
});

t.test('bytes that are no UTF-8 stay as they are', async (t) => {
  const message = Buffer.from([0x80, 0xc3, 0x28, 0xff, 0xe2, 0x82, 0xac]);
  const bytes = encodeSyncMessage('data', -1, message);
  t.same(bytes.subarray(bytes.indexOf(0x80), -3), message);
});

t.test('a long message is one message', async (t) => {
  const message = Buffer.alloc(8191, '\x01');
  const parsed: unknown = JSON.parse(encodeSyncMessage('data', -1, message).toString());
  t.same(parsed, { data: -1, message: message.toString() });
});
