/**
 * One line of progress: rewritten in place on a terminal, a new line each second elsewhere. Writes to the stream it is
 * given and knows nothing of what it shows.
 */

const ERASE_TO_END = '\u001b[K';
const INTERVAL_MS = 1000;

export class LiveLine {
  readonly #stream: NodeJS.WriteStream;
  #shownAt = performance.now();
  #isOpen = false;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  show(text: string): void {
    if (this.#stream.isTTY) {
      this.#stream.write(`\r${text}${ERASE_TO_END}`);
      this.#isOpen = true;
    } else if (performance.now() - this.#shownAt >= INTERVAL_MS) {
      this.#stream.write(`${text}\n`);
      this.#shownAt = performance.now();
    }
  }

  /** Leaves the last text where it is and goes on below. */
  end(): void {
    if (this.#isOpen) this.#stream.write('\n');
    this.#isOpen = false;
  }
}
