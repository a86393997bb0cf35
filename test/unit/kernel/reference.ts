/**
 * CRI records the slow way, byte by byte, straight from the contract (section 6): what the kernel must produce.
 */

const NEWLINE = 0x0a;
const CONTENT_MAX_BYTES = 8192;

/** A timestamp and a stream name with a blank after each, as one record begins; the tag follows. */
export type Lead = string;

export class ReferenceFormatter {
  readonly #output: Buffer[] = [];
  readonly #content: number[] = [];
  /** The lead of the record that is open; undefined when none is. */
  #lead: Lead | undefined;
  records = 0;

  /** Takes more bytes of the stream; records that begin in them carry `lead`. */
  feed(bytes: Uint8Array, lead: Lead): void {
    for (const byte of bytes) {
      // Only the byte after a full record tells whether its line ends there.
      if (this.#content.length === CONTENT_MAX_BYTES && byte !== NEWLINE) this.#close('P');
      this.#lead ??= lead;
      if (byte === NEWLINE) this.#close('F');
      else this.#content.push(byte);
    }
  }

  /** Nothing more for now: a held part goes out. */
  settle(): void {
    if (this.#lead !== undefined) this.#close('P');
  }

  get holdsPartial(): boolean {
    return this.#lead !== undefined;
  }

  /** All closed records so far. */
  get output(): Buffer {
    return Buffer.concat(this.#output);
  }

  /** The records that were closed since it was last asked. */
  take(): Buffer {
    return Buffer.concat(this.#output.splice(0));
  }

  #close(tag: 'F' | 'P'): void {
    this.#output.push(Buffer.from(`${this.#lead}${tag} `, 'latin1'), Buffer.from(this.#content), Buffer.of(NEWLINE));
    this.#content.length = 0;
    this.#lead = undefined;
    this.records++;
  }
}
