/**
 * CRI log records: `TIMESTAMP STREAM TAG CONTENT\n`. One pass: copy 16 bytes, look for newlines among them, go on or
 * close the record. Reads and writes up to 15 bytes past what it uses; both areas have that slack.
 */

// Offsets into a formatter's state: src/kernel/layout.ts names them for TypeScript.
const OUT: usize = 0;
const OPEN: usize = 4;
const CONTENT: usize = 8;
const RECORDS: usize = 12;
const PREFIX: usize = 16;

const PREFIX_BYTES: usize = 45;
const TAG: usize = 43;
const CONTENT_MAX: usize = 8192;
const NEWLINE: u8 = 0x0a;
const PARTIAL: u8 = 0x50;

/**
 * Formats `length` bytes at `src` to the state's output position, below `outEnd`. A line without an end stays open: the
 * next call goes on with it, or {@link k8sFlush} closes it as partial.
 * @returns how many bytes were taken; fewer than `length` when the output is full.
 */
export function k8s(state: usize, src: usize, length: usize, outEnd: usize): usize {
  const end = src + length;
  const newlines = i8x16.splat(NEWLINE);
  const prefix0 = v128.load(state, PREFIX);
  const prefix1 = v128.load(state, PREFIX + 16);
  const prefix2 = v128.load(state, PREFIX + 32);
  let from = src;
  let to: usize = load<u32>(state, OUT);
  let open: usize = load<u32>(state, OPEN);
  let content: usize = load<u32>(state, CONTENT);
  let records: u32 = load<u32>(state, RECORDS);

  while (from < end) {
    if (open == 0) {
      // Room for the prefix, one byte and the newline; content has its own check.
      if (to + PREFIX_BYTES + 2 > outEnd) break;
      v128.store(to, prefix0);
      v128.store(to, prefix1, 16);
      v128.store(to, prefix2, 32);
      open = to;
      to += PREFIX_BYTES;
      content = 0;
    } else if (to + 2 > outEnd) break;

    // Content may grow to `stop`, by the record's limit, the input and the output (one byte stays for the newline).
    let room = CONTENT_MAX - content;
    if (outEnd - to - 1 < room) room = outEnd - to - 1;
    const stop = end - from < room ? end : from + room;
    const start = from;
    let found = false;
    while (from + 16 <= stop) {
      const chunk = v128.load(from);
      v128.store(to, chunk);
      const mask = i8x16.bitmask(i8x16.eq(chunk, newlines));
      if (mask != 0) {
        const n = <usize>ctz<i32>(mask) + 1;
        from += n;
        to += n;
        found = true;
        break;
      }
      from += 16;
      to += 16;
    }
    if (!found && from < stop) {
      const rest = stop - from;
      const chunk = v128.load(from);
      v128.store(to, chunk);
      const mask = i8x16.bitmask(i8x16.eq(chunk, newlines)) & ((1 << <i32>rest) - 1);
      if (mask != 0) {
        const n = <usize>ctz<i32>(mask) + 1;
        from += n;
        to += n;
        found = true;
      } else {
        from += rest;
        to += rest;
      }
    }
    if (found) {
      open = 0;
      records++;
      continue;
    }
    content += from - start;
    if (content < CONTENT_MAX) continue; // input or output is used up: the loop's own checks end it
    if (from == end) break; // full: whether it is P or F, the next byte tells
    if (load<u8>(from) == NEWLINE) from++;
    else store<u8>(open, PARTIAL, TAG);
    store<u8>(to++, NEWLINE);
    open = 0;
    records++;
  }

  store<u32>(state, <u32>to, OUT);
  store<u32>(state, <u32>open, OPEN);
  store<u32>(state, <u32>content, CONTENT);
  store<u32>(state, records, RECORDS);
  return from - src;
}

/**
 * Closes an open record as partial (`P`). There is always room: {@link k8s} keeps one byte for this newline.
 * @returns 1 when a record was closed, 0 when none was open.
 */
export function k8sFlush(state: usize): u32 {
  const open: usize = load<u32>(state, OPEN);
  if (open == 0) return 0;
  const to: usize = load<u32>(state, OUT);
  store<u8>(open, PARTIAL, TAG);
  store<u8>(to, NEWLINE);
  store<u32>(state, <u32>(to + 1), OUT);
  store<u32>(state, 0, OPEN);
  store<u32>(state, load<u32>(state, RECORDS) + 1, RECORDS);
  return 1;
}
