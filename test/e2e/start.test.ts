import { promise } from '../helpers/case.ts';
import { realRuntimes } from '../helpers/runtimes.ts';

for (const style of ['crio', 'podman'] as const) {
  promise(`a container started as ${style} starts it`, { runtimes: realRuntimes() }, async (c) => {
    const container = c.container({ style, script: 'echo hello; echo oops >&2; exit 7' });
    await container.run();
    c.t.equal(await container.finished(), 7);
    const log = container.log();
    c.t.equal(log.stdout.toString(), 'hello\n');
    c.t.equal(log.stderr.toString(), 'oops\n');
  });
}
