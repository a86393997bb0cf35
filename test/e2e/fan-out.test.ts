/** Several logs of one container, and none of its own: each gets everything, and passthrough takes all from the others. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { promise } from '../helpers/case.ts';
import { line, readNumbered, SAY } from '../helpers/numbered.ts';
import { waitFor } from '../helpers/wait.ts';

const LINES = 30_000;

promise(
  'any number of files of any drivers get everything',
  { runtimes: ['runc'], excludes: { c: 'C writes the last k8s-file alone, and has no json-file' } },
  async (c) => {
    const k8s = ['one', 'two', 'three'].map((name) => c.workspace.path('logs', `${name}.log`));
    const json = ['four', 'five'].map((name) => c.workspace.path('logs', `${name}.json`));
    const logPaths = [...k8s, ...json.map((path) => `json-file:${path}`), `k8s-file:${k8s[0]}`, 'none'];
    const container = c.container({ script: `${SAY}; say 1 ${LINES}`, logPaths });
    await container.run();
    c.t.equal(await container.finished(), 0);
    const all = Array.from({ length: LINES }, (_, i) => i + 1);
    for (const path of k8s) {
      const { numbers, recoveries, others } = readNumbered(readFileSync(path));
      c.t.same([numbers.length, recoveries, others], [LINES, [], []], path);
      c.t.ok(
        numbers.every((n, i) => n === all[i]),
        'in order',
      );
    }
    for (const path of json) {
      const records = readFileSync(path, 'utf8').split('\n').slice(0, -1);
      c.t.equal(records.length, LINES, path);
      const wrong = records.findIndex((record, i) => {
        const { log, stream } = JSON.parse(record) as Record<string, unknown>;
        return log !== `${line(i + 1)}\n` || stream !== 'stdout';
      });
      c.t.equal(wrong, -1, 'in order');
    }
  },
);

promise(
  'with passthrough the container has conmon’s own streams; a file beside it is made and stays empty',
  {},
  async (c) => {
    const path = c.workspace.path('logs', 'beside.log');
    const container = c.container({
      fake: ['container echo out; echo err >&2; exit 3'],
      logPaths: ['passthrough', path],
      style: 'podman',
    });
    await container.created();
    c.t.equal(await container.exited(), 3);
    await container.ended();
    await waitFor('the output', () => container.conmon.stdout === 'out\n' && /^err$/m.test(container.conmon.stderr));
    c.t.equal(statSync(path).size, 0);
    for (const name of ['attach', 'ctl', 'winsz'])
      c.t.notOk(existsSync(`${container.bundle}/${name}`), `there is no ${name}`);
  },
);
