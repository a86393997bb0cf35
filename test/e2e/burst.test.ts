/**
 * Many short containers: whatever races between output, exit and clean-up there are, no line is lost to them.
 */
import { promise } from '../helpers/case.ts';
import { mapBounded } from '../helpers/wait.ts';

promise('100 containers that print one line and exit at once lose none', { runtimes: ['runc', 'crun'] }, async (c) => {
  const wrong = await mapBounded(
    Array.from({ length: 100 }, (_, index) => index),
    4,
    async (index) => {
      const container = c.container({ script: `echo line ${index}`, style: index % 2 === 0 ? 'crio' : 'podman' });
      await container.run();
      const status = await container.finished();
      await container.delete();
      const log = container.log();
      const text = `${log.stdout}|${log.stderr}|${status}`;
      return text === `line ${index}\n||0` ? [] : [{ index, text }];
    },
  );
  c.t.strictSame(wrong.flat(), []);
});
