/** Reads journald's native protocol and journalctl's export format, which is the same but for what ends an entry. */

const NEWLINE = 0x0a;
const EQUALS = 0x3d;

/** Fields of one entry; one that occurs more than once has several values. */
export type JournalEntry = ReadonlyMap<string, readonly Buffer[]>;

/** One message. Throws when it is not well-formed. */
export function decodeEntry(bytes: Buffer): JournalEntry {
  const [entry, ...more] = decodeEntries(bytes);
  if (entry === undefined || more.length > 0) throw new Error(`${1 + more.length} entries`);
  return entry;
}

/** Entries with an empty line after each; after the last one it may be missing. */
export function decodeEntries(bytes: Buffer): JournalEntry[] {
  const entries: JournalEntry[] = [];
  let entry = new Map<string, Buffer[]>();
  for (let at = 0; at < bytes.length; ) {
    const lineEnd = bytes.indexOf(NEWLINE, at);
    if (lineEnd === -1) throw new Error(`no newline behind byte ${at}`);
    if (lineEnd === at) {
      entries.push(entry);
      entry = new Map();
      at++;
      continue;
    }
    const equals = bytes.subarray(at, lineEnd).indexOf(EQUALS);
    const name = bytes.toString('latin1', at, equals === -1 ? lineEnd : at + equals);
    let value: Buffer;
    if (equals !== -1) {
      value = bytes.subarray(at + equals + 1, lineEnd);
      at = lineEnd + 1;
    } else {
      const size = Number(bytes.readBigUInt64LE(lineEnd + 1));
      const from = lineEnd + 9;
      value = bytes.subarray(from, from + size);
      if (value.length !== size || bytes[from + size] !== NEWLINE)
        throw new Error(`${name}: ${size} bytes are not there`);
      at = from + size + 1;
    }
    entry.set(name, [...(entry.get(name) ?? []), value]);
  }
  return entry.size > 0 ? [...entries, entry] : entries;
}

/** The one value of a field as text, undefined when there is none. */
export function field(entry: JournalEntry, name: string): string | undefined {
  const values = entry.get(name);
  if (values !== undefined && values.length > 1) throw new Error(`${name} occurs ${values.length} times`);
  return values?.[0]?.toString('latin1');
}
