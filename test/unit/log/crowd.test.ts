/** Large writes have blocks allocated before them unless many processes want the CPUs; that is looked at now and then. */
import { availableParallelism } from 'node:os';
import t, { type Test } from 'tap';
import { LARGE_BYTES } from '../../../src/log/blocks.ts';
import { allowedCpus, Crowd } from '../../../src/log/crowd.ts';
import { EXT4_MAGIC } from '../../../src/native/files.ts';
import { sys } from '../../../src/native/sys.ts';
import { realSysBut } from '../native/fake-sys.ts';
import { Disk } from './sink-rig.ts';

const MIB = 1 << 20;

/** A crowd on two CPUs, whose /proc/loadavg is the test's. */
class Rig {
  ready = 1;
  looks = 0;
  readonly crowd = new Crowd(
    () => {
      this.looks++;
      return `0.20 17.18 33.12 ${this.ready}/80 11206\n`;
    },
    () => 2,
  );
}

t.test('eight ready to run for each CPU are a crowd, fewer are none', (t) => {
  for (const [ready, many] of [
    [1, false],
    [15, false],
    [16, true],
    [100, true],
  ] as const) {
    const rig = new Rig();
    rig.ready = ready;
    t.equal(rig.crowd.isThere(MIB), many, `${ready}, known before the first write`);
  }
  t.end();
});

t.test('it is looked at once for 32 MiB', (t) => {
  const rig = new Rig();
  t.equal(rig.crowd.isThere(MIB), false);
  rig.ready = 100;
  for (let written = 0; written < 32; written++) t.equal(rig.crowd.isThere(MIB), false);
  t.equal(rig.looks, 1);
  t.equal(rig.crowd.isThere(MIB), true, 'one that has come');
  rig.ready = 1;
  for (let written = 0; written < 32; written++) t.equal(rig.crowd.isThere(MIB), true);
  t.equal(rig.crowd.isThere(MIB), false, 'and gone');
  t.equal(rig.looks, 3);
  t.end();
});

t.test('where the kernel does not tell there is no crowd', (t) => {
  const fails = (): never => {
    throw new Error('ENOENT');
  };
  t.equal(new Crowd(fails, () => 2).isThere(MIB), false);
  t.equal(new Crowd(() => '0 0 0 100/100 1', fails).isThere(MIB), false);
  t.equal(
    new Crowd(
      () => 'something else',
      () => 2,
    ).isThere(MIB),
    false,
  );
  t.end();
});

t.test('the real one is told by the kernel', (t) => {
  t.type(new Crowd().isThere(MIB), 'boolean');
  t.equal(new Crowd(undefined, () => 0).isThere(MIB), true, 'whoever asks is one that runs');
  t.equal(new Crowd(() => `0 0 0 ${8 * availableParallelism()}/9 1`).isThere(MIB), true);
  t.equal(new Crowd(() => `0 0 0 ${8 * availableParallelism() - 1}/9 1`).isThere(MIB), false);
  t.end();
});

t.test('each bit of Cpus_allowed is a CPU', (t) => {
  for (const [mask, cpus] of [
    ['1', 1],
    ['2', 1],
    ['5', 2],
    ['ff,ffffffff', 40],
    ['80000000,00000000', 1],
  ] as const)
    t.equal(allowedCpus(`Name:\tnode\nCpus_allowed:\t${mask}\nCpus_allowed_list:\t0-63\n`), cpus, mask);
  t.equal(allowedCpus('Name:\tnode\n'), 1);
  t.end();
});

t.test('the look before the first large write loads no module of Node', (t) => {
  const { getBuiltinModule } = process;
  t.teardown(() => {
    process.getBuiltinModule = getBuiltinModule;
  });
  const loaded: string[] = [];
  process.getBuiltinModule = ((id: string) => {
    loaded.push(id);
    return getBuiltinModule(id);
  }) as typeof getBuiltinModule;
  new Crowd().isThere(1);
  t.same(loaded, []);
  t.end();
});

function asked(t: Test, isThere: boolean): readonly string[] {
  const calls: string[] = [];
  const disk = new Disk(
    t,
    {},
    {
      crowd: { isThere: () => isThere },
      sys: realSysBut({
        fstatfs: () => EXT4_MAGIC,
        fallocate: () => calls.push('fallocate') - 1, // the first answer is 0, done; no later one is wanted
        write: (fd, bytes, offset, length) => {
          calls.push('write');
          return sys.write(fd, bytes, offset, length);
        },
      }),
    },
  );
  const record = `${'x'.repeat(LARGE_BYTES - 1)}\n`;
  disk.write(record);
  t.equal(disk.content, record);
  return calls;
}

t.test('in a crowd a large write is made without blocks, else with them', (t) => {
  t.same(asked(t, true), ['write']);
  t.same(asked(t, false), ['fallocate', 'write']);
  t.end();
});
