/** Wait statuses as callers see them. */
import { constants } from 'node:os';
import t from 'tap';
import { exitStatus } from '../../../src/session/wait-status.ts';

t.test('an exit status is itself', async (t) => {
  for (let status = 0; status < 256; status++) t.equal(exitStatus(status << 8), status);
});

t.test('a signal is 128 and its number, with a core dump or without', async (t) => {
  for (const signal of Object.values(constants.signals)) {
    t.equal(exitStatus(signal), 128 + signal);
    t.equal(exitStatus(signal | 0x80), 128 + signal);
  }
});
