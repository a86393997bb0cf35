/** A diag whose lines a test can read. */
import { Diag, type DiagLevel } from '../../../src/diag/diag.ts';
import { fakeSys, textOf } from '../native/fake-sys.ts';

export class Complaints {
  /** `[conmon:w]: text`, without the newline. */
  readonly lines: string[] = [];
  readonly diag: Diag;

  constructor(level: DiagLevel = 'info') {
    const sys = fakeSys({
      write: (_fd, bytes, offset, length) => {
        this.lines.push(textOf(bytes, offset, length).trimEnd());
        return length;
      },
    });
    this.diag = new Diag(sys, { level, syslogName: undefined });
  }
}
