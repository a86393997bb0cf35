/** Memory that is held for a run: touched, free bit by bit as others take it, and gone at the end. */
import { readFile } from 'node:fs/promises';
import t from 'tap';
import { holdMemory } from '../../../bench/harness/flood.ts';
import { buildProgram, programPath } from '../../../bench/harness/native.ts';
import { parseField, processesOf } from '../../../bench/harness/procfs.ts';
import { waitFor } from '../../../bench/harness/wait.ts';

await buildProgram('hold-memory');
const { signal } = new AbortController();
const MIB = 2 ** 20;
/** So much more than is left free at a time that machines with other work on them do not take all of it meanwhile. */
const ASKED_BYTES = 500 * MIB;

async function holders(): Promise<readonly number[]> {
  return (await processesOf(programPath('hold-memory'))).map(({ pid }) => pid);
}

t.test('it is touched, part of it free from the start, and all of it once it is released', async (t) => {
  const before = await holders();
  const memory = await holdMemory(ASKED_BYTES, signal);
  const [pid] = (await holders()).filter((other) => !before.includes(other));
  const status = await readFile(`/proc/${pid}/status`, 'latin1');
  t.ok(parseField(status, 'VmHWM') * 1024 >= ASKED_BYTES, 'as much as was asked for was there at once');
  t.ok(parseField(status, 'VmRSS') < parseField(status, 'VmHWM'), 'some is free already');
  await memory.release();
  await waitFor('its end', async () => !(await holders()).includes(pid ?? 0), { limitMs: 10_000 });
});

t.test('who is interrupted hears it, and nobody holds memory', async (t) => {
  const stop = new AbortController();
  const before = await holders();
  const memory = await holdMemory(MIB, stop.signal);
  stop.abort(new Error('interrupted'));
  await t.rejects(memory.release());
  await waitFor('its end', async () => (await holders()).every((pid) => before.includes(pid)), { limitMs: 10_000 });
});
