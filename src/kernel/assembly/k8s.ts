/**
 * CRI log records: `TIMESTAMP STREAM TAG CONTENT\n`. Blocks of 64 bytes while there is room: the newlines of a whole
 * block are found first, as bits, so that one line's end does not have to be known before the next is looked for. The
 * middle of a long line has a loop of its own, which only looks for its end. What is left at the edges goes 16 bytes at
 * a time. Reads up to 63 bytes past what it uses and writes up to 63 past its output; both areas have that slack, and lie
 * further than one block's output from address 0.
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

const BLOCK: usize = 64;
/** What one block can become at most, 64 empty lines: 64 * (45 + 1), and the bytes of a line that was open. */
const BLOCK_OUT_MAX: usize = 64 * 46 + 64;
/** A line that is longer is likely to go on: shorter ones pay more for the start of the loop than it gains (docs/adr/0066-long-lines.md). */
const LONG: usize = 512;

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
  let content: usize = open == 0 ? 0 : load<u32>(state, CONTENT);
  let records: u32 = load<u32>(state, RECORDS);

  const lastFrom = end - BLOCK;
  const lastTo = outEnd - BLOCK_OUT_MAX;

  while (from < end) {
    // ---- whole blocks, with room for whatever is in them; without an open record there is no content
    while (from <= lastFrom && to <= lastTo && content <= CONTENT_MAX - BLOCK) {
      const a = v128.load(from);
      const b = v128.load(from, 16);
      const c = v128.load(from, 32);
      const d = v128.load(from, 48);
      const inA = i8x16.eq(a, newlines);
      const inB = i8x16.eq(b, newlines);
      const inC = i8x16.eq(c, newlines);
      const inD = i8x16.eq(d, newlines);
      if (!v128.any_true(v128.or(v128.or(inA, inB), v128.or(inC, inD)))) {
        if (open == 0) {
          v128.store(to, prefix0);
          v128.store(to, prefix1, 16);
          v128.store(to, prefix2, 32);
          open = to;
          to += PREFIX_BYTES;
        }
        v128.store(to, a);
        v128.store(to, b, 16);
        v128.store(to, c, 32);
        v128.store(to, d, 48);
        to += BLOCK;
        content += BLOCK;
        from += BLOCK;
        if (content < LONG) continue;
        // ---- as much of it as there is, and room for it and its newline
        let most = CONTENT_MAX - content;
        if (end - from < most) most = end - from;
        if (outEnd - to - 1 < most) most = outEnd - to - 1;
        const begin = from;
        const stop = from + (most & ~(BLOCK - 1));
        const shift = to - from;
        while (from != stop) {
          const a = v128.load(from);
          const b = v128.load(from, 16);
          const c = v128.load(from, 32);
          const d = v128.load(from, 48);
          const ab = v128.or(i8x16.eq(a, newlines), i8x16.eq(b, newlines));
          const cd = v128.or(i8x16.eq(c, newlines), i8x16.eq(d, newlines));
          if (v128.any_true(v128.or(ab, cd))) break;
          v128.store(from + shift, a);
          v128.store(from + shift, b, 16);
          v128.store(from + shift, c, 32);
          v128.store(from + shift, d, 48);
          from += BLOCK;
        }
        content += from - begin;
        to = from + shift;
        continue;
      }
      let mask: u64 =
        <u64>i8x16.bitmask(inA) |
        (<u64>i8x16.bitmask(inB) << 16) |
        (<u64>i8x16.bitmask(inC) << 32) |
        (<u64>i8x16.bitmask(inD) << 48);
      let line = from;
      do {
        const next = from + <usize>ctz<u64>(mask) + 1;
        mask &= mask - 1;
        if (open == 0) {
          v128.store(to, prefix0);
          v128.store(to, prefix1, 16);
          v128.store(to, prefix2, 32);
          to += PREFIX_BYTES;
        }
        const size = next - line;
        v128.store(to, v128.load(line));
        if (size > 16) {
          v128.store(to, v128.load(line, 16), 16);
          if (size > 32) {
            v128.store(to, v128.load(line, 32), 32);
            v128.store(to, v128.load(line, 48), 48);
          }
        }
        to += size;
        line = next;
        open = 0;
        records++;
      } while (mask != 0);
      from += BLOCK;
      content = from - line;
      if (content != 0) {
        v128.store(to, prefix0);
        v128.store(to, prefix1, 16);
        v128.store(to, prefix2, 32);
        open = to;
        to += PREFIX_BYTES;
        v128.store(to, v128.load(line));
        if (content > 16) {
          v128.store(to, v128.load(line, 16), 16);
          if (content > 32) {
            v128.store(to, v128.load(line, 32), 32);
            v128.store(to, v128.load(line, 48), 48);
          }
        }
        to += content;
      }
    }
    if (from == end) break;

    // ---- one line, or as much of it as there is room for
    if (open == 0) {
      // Room for the prefix, one byte and the newline; content has its own check.
      if (to + PREFIX_BYTES + 2 > outEnd) break;
      v128.store(to, prefix0);
      v128.store(to, prefix1, 16);
      v128.store(to, prefix2, 32);
      open = to;
      to += PREFIX_BYTES;
    } else if (to + 2 > outEnd) break;

    // Content may grow to `stop`, by the record's limit, the input and the output (one byte stays for the newline).
    let room = CONTENT_MAX - content;
    if (outEnd - to - 1 < room) room = outEnd - to - 1;
    const stop = end - from < room ? end : from + room;
    const start = from;
    let found = false;
    while (from < stop) {
      const left = stop - from;
      const chunk = v128.load(from);
      v128.store(to, chunk);
      let mask = i8x16.bitmask(i8x16.eq(chunk, newlines));
      if (left < 16) mask &= (1 << <i32>left) - 1;
      if (mask != 0) {
        const n = <usize>ctz<i32>(mask) + 1;
        from += n;
        to += n;
        found = true;
        break;
      }
      const n = left < 16 ? left : 16;
      from += n;
      to += n;
    }
    if (found) {
      open = 0;
      content = 0;
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
    content = 0;
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
