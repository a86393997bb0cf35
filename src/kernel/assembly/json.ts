/**
 * Docker's json-file records: `{"log":"CONTENT\n","stream":...,"time":...}` and a newline. What follows the content is the
 * same for all records of a batch and is copied as it is, the tail; the driver makes it (src/log/json-file.ts). Content is
 * escaped as Docker's marshaller does. Blocks of 64 bytes while there is room: all bytes of a block that need something are
 * found first, as bits, and what lies between them is copied in whole vectors. What is left at the edges goes 16 bytes at a
 * time. Reads and writes up to 63 bytes past what it uses; all areas have that slack.
 */

// Offsets into a formatter's state: src/kernel/layout.ts names them for TypeScript.
const OUT: usize = 0;
const OPEN: usize = 4;
const CONTENT: usize = 8;
const RECORDS: usize = 12;
const TAIL: usize = 16;
const TAIL_BYTES: usize = 20;
const PENDING: usize = 24;
const PENDING_BYTES: usize = 28;

/** `{"log":"` */
const HEAD: u64 = 0x223a22676f6c227b;
const HEAD_BYTES: usize = 8;
/** Raw bytes of a line in one record, as Docker's copier cuts them. */
const CONTENT_MAX: usize = 16384;
/** `\n`, with which the tail begins; a partial record leaves it out. */
const ESCAPED_NEWLINE_BYTES: usize = 2;
/** `\u00xx` */
const UNIT_MAX: usize = 6;
/** Bytes of a UTF-8 sequence, and of one that the input's end cut. */
const SEQUENCE_MAX: usize = 4;
const PENDING_MAX: usize = 3;
const BLOCK: usize = 64;

const U_00: u32 = 0x3030755c; // \u00
const U_FF: u32 = 0x6666755c; // \uff
const U_20: u32 = 0x3032755c; // \u20

/** Lanes of all bytes that cannot go out as they are: controls, `"`, `&`, `<`, `>`, `\` and all beyond ASCII. */
// @ts-ignore: decorator
@inline
function special(chunk: v128): v128 {
  return v128.or(
    v128.or(
      i8x16.lt_s(chunk, i8x16.splat(0x20)), // signed: bytes from 0x80 on are negative
      i8x16.eq(v128.and(chunk, i8x16.splat(~4)), i8x16.splat(0x22)), // 0x22 and 0x26
    ),
    v128.or(
      i8x16.eq(v128.and(chunk, i8x16.splat(~2)), i8x16.splat(0x3c)), // 0x3c and 0x3e
      i8x16.eq(chunk, i8x16.splat(0x5c)),
    ),
  );
}

// @ts-ignore: decorator
@inline
function hex(digit: u32): u32 {
  return digit + (digit < 10 ? 0x30 : 0x57);
}

/** Both digits of a byte, the first one lowest. */
// @ts-ignore: decorator
@inline
function hexDigits(byte: u32): u32 {
  return hex(byte >> 4) | (hex(byte & 15) << 8);
}

/** Copies at most 64 bytes, always as if it were 64: how many, nobody can predict. @returns where the next ones go. */
// @ts-ignore: decorator
@inline
function copyShort(to: usize, from: usize, size: usize): usize {
  const a = v128.load(from);
  const b = v128.load(from, 16);
  const c = v128.load(from, 32);
  const d = v128.load(from, 48);
  v128.store(to, a);
  v128.store(to, b, 16);
  v128.store(to, c, 32);
  v128.store(to, d, 48);
  return to + size;
}

/** `\uXXXX` with a fixed first half: four characters, then two digits. */
// @ts-ignore: decorator
@inline
function storeEscape(to: usize, first4: u32, byte: u32): void {
  store<u32>(to, first4);
  store<u16>(to, <u16>hexDigits(byte), 4);
}


/** Ends a record: the tail, with its `\n` or without. @returns where the next one begins. */
// @ts-ignore: decorator
@inline
function closeRecord(to: usize, tail: usize, tailBytes: usize, whole: bool): usize {
  const skip: usize = whole ? 0 : ESCAPED_NEWLINE_BYTES;
  const size = tailBytes - skip;
  const source = tail + skip;
  for (let i: usize = 0; i < size; i += 16) v128.store(to + i, v128.load(source + i));
  return to + size;
}

/** Whether `byte` can follow the `have` bytes that are there of a sequence beginning with `first` (Unicode, table 3-7). */
// @ts-ignore: decorator
@inline
function continues(first: u32, have: u32, byte: u32): bool {
  if ((byte & 0xc0) != 0x80) return false;
  if (have != 1) return true;
  if (first == 0xe0) return byte >= 0xa0;
  if (first == 0xed) return byte < 0xa0;
  if (first == 0xf0) return byte >= 0x90;
  if (first == 0xf4) return byte < 0x90;
  return true;
}

/** Bytes of the sequence that begins with `first`; 0 when none does. */
// @ts-ignore: decorator
@inline
function sequenceBytes(first: u32): u32 {
  if (first < 0xc2 || first > 0xf4) return 0;
  return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/** The same of the bytes in `word`, lowest first, if they are a whole valid sequence; else 0. */
// @ts-ignore: decorator
@inline
function validSequence(word: u32): u32 {
  const first = word & 0xff;
  const second = (word >> 8) & 0xff;
  if (first < 0xe0) return first >= 0xc2 && (word & 0xc000) == 0x8000 ? 2 : 0;
  if (!continues(first, 1, second)) return 0;
  if (first < 0xf0) return (word & 0xc00000) == 0x800000 ? 3 : 0;
  return first < 0xf5 && (word & 0xc0c00000) == 0x80800000 ? 4 : 0;
}

/** U+2028 and U+2029, which end a line in JavaScript: E2 80 A8 and A9. */
// @ts-ignore: decorator
@inline
function isSeparator(word: u32): bool {
  return (word & 0xfeffff) == 0xa880e2;
}

/**
 * Formats `length` bytes at `src` to the state's output position, below `outEnd`. A line without an end stays open: the next
 * call goes on with it, or {@link jsonFlush} closes it as partial. A UTF-8 sequence that the input's end cuts is kept in the
 * state until its rest comes; one that would pass a record's maximum begins the next record.
 * @returns how many bytes were taken; fewer than `length` when the output is full.
 */
export function json(state: usize, src: usize, length: usize, outEnd: usize): usize {
  const end = src + length;
  const tail: usize = load<u32>(state, TAIL);
  const tailBytes: usize = load<u32>(state, TAIL_BYTES);
  // One pass writes at most the end of one record, the head of another and one unit. So does the end of the stream, with
  // three units: what is pending.
  const passMax = tailBytes + HEAD_BYTES + PENDING_MAX * UNIT_MAX;
  // What a block can become at most, 64 empty lines; with a tail of many labels there may never be as much room.
  const blockMax = BLOCK * (HEAD_BYTES + tailBytes) + BLOCK * UNIT_MAX;
  // The last record's end always finds room.
  const limit = outEnd - (passMax + tailBytes);
  let from = src;
  let to: usize = load<u32>(state, OUT);
  let open: usize = load<u32>(state, OPEN);
  let content: usize = load<u32>(state, CONTENT);
  let records: u32 = load<u32>(state, RECORDS);
  let pending: u32 = load<u32>(state, PENDING);
  if (to + 2 * passMax + tailBytes > outEnd) return 0;

  while (from < end && to + passMax <= limit) {
    // ---- whole blocks, with room for whatever is in them
    while (
      end - from >= BLOCK + SEQUENCE_MAX - 1 &&
      limit - to >= blockMax &&
      pending == 0 &&
      (open == 0 || content <= CONTENT_MAX - BLOCK - SEQUENCE_MAX)
    ) {
      const a = v128.load(from);
      const b = v128.load(from, 16);
      const c = v128.load(from, 32);
      const d = v128.load(from, 48);
      let mask: u64 =
        <u64>i8x16.bitmask(special(a)) |
        (<u64>i8x16.bitmask(special(b)) << 16) |
        (<u64>i8x16.bitmask(special(c)) << 32) |
        (<u64>i8x16.bitmask(special(d)) << 48);
      if (open == 0) {
        store<u64>(to, HEAD);
        open = to;
        to += HEAD_BYTES;
        content = 0;
      }
      if (mask == 0) {
        v128.store(to, a);
        v128.store(to, b, 16);
        v128.store(to, c, 32);
        v128.store(to, d, 48);
        to += BLOCK;
        content += BLOCK;
        from += BLOCK;
        continue;
      }
      const blockEnd = from + BLOCK;
      let at = from;
      do {
        const bit = <usize>ctz<u64>(mask);
        const position = from + bit;
        to = copyShort(to, at, position - at);
        content += position - at;
        at = position + 1;
        mask &= mask - 1;
        const byte: u32 = load<u8>(position);
        if (byte == 0x0a) {
          to = closeRecord(to, tail, tailBytes, true);
          records++;
          store<u64>(to, HEAD);
          open = to;
          to += HEAD_BYTES;
          content = 0;
        } else if (byte < 0x80) {
          // Without a branch: which byte comes next nobody can predict.
          const short = (byte == 0x22) | (byte == 0x5c) | (byte == 0x0d);
          const second: u32 = byte == 0x0d ? 0x72 : byte;
          const long: u64 = <u64>U_00 | (<u64>hexDigits(byte) << 32);
          store<u64>(to, short ? <u64>(0x5c | (second << 8)) : long);
          to += short ? 2 : UNIT_MAX;
          content++;
        } else {
          // Such bytes seldom come alone.
          at = position;
          do {
            const word = load<u32>(at);
            if ((word & 0x80) == 0) break;
            const size: usize = validSequence(word);
            if (size == 0) {
              storeEscape(to, U_FF, 0xfd);
              to += UNIT_MAX;
              at++;
            } else if (isSeparator(word)) {
              storeEscape(to, U_20, (word >> 16) & 0x2f);
              to += UNIT_MAX;
              at += size;
            } else {
              store<u32>(to, word);
              to += size;
              at += size;
            }
          } while (at < blockEnd);
          content += at - position;
          const done = at - from;
          mask = done < BLOCK ? mask & (~(<u64>0) << <u64>done) : 0;
        }
      } while (mask != 0);
      if (at < blockEnd) {
        to = copyShort(to, at, blockEnd - at);
        content += blockEnd - at;
        at = blockEnd;
      }
      from = at;
    }
    if (from == end) break;

    // ---- the rest of a sequence that an input's end has cut
    if (pending != 0) {
      const first: u32 = load<u8>(state, PENDING_BYTES);
      const byte: u32 = load<u8>(from);
      const goesOn = continues(first, pending, byte);
      if (goesOn) {
        store<u8>(state + pending, <u8>byte, PENDING_BYTES);
        from++;
        pending++;
        if (pending < sequenceBytes(first)) continue;
      }
      // Now it is known what it is: one character, or so many bytes that are none. Invalid ones may be cut apart.
      if (open != 0 && content + (goesOn ? <usize>pending : 1) > CONTENT_MAX) {
        to = closeRecord(to, tail, tailBytes, false);
        open = 0;
        records++;
      }
      if (open == 0) {
        store<u64>(to, HEAD);
        open = to;
        to += HEAD_BYTES;
        content = 0;
      }
      const word = load<u32>(state, PENDING_BYTES);
      if (!goesOn) {
        // None of them begins a sequence. What the record does not take stays, and is as invalid alone.
        do {
          storeEscape(to, U_FF, 0xfd);
          to += UNIT_MAX;
          content++;
          pending--;
        } while (pending != 0 && content < CONTENT_MAX);
        store<u32>(state, 0x80, PENDING_BYTES);
      } else {
        if (pending == 3 && isSeparator(word)) {
          storeEscape(to, U_20, (word >> 16) & 0x2f);
          to += UNIT_MAX;
        } else {
          store<u32>(to, word);
          to += pending;
        }
        content += pending;
        pending = 0;
      }
      continue;
    }

    if (open == 0) {
      store<u64>(to, HEAD);
      open = to;
      to += HEAD_BYTES;
      content = 0;
    }

    // ---- what needs no escape, up to the record's limit, the input's and the output's
    let room = CONTENT_MAX - content;
    if (limit - to < room) room = limit - to;
    const stop = end - from < room ? end : from + room;
    const start = from;
    let found = false;
    while (from < stop) {
      const left = stop - from;
      const chunk = v128.load(from);
      v128.store(to, chunk);
      let mask = i8x16.bitmask(special(chunk));
      if (left < 16) mask &= (1 << <i32>left) - 1;
      if (mask != 0) {
        const n = <usize>ctz<i32>(mask);
        from += n;
        to += n;
        found = true;
        break;
      }
      const n = left < 16 ? left : 16;
      from += n;
      to += n;
    }
    content += from - start;
    if (from == end) break;
    const byte: u32 = load<u8>(from);
    if (!found) {
      // The output is full, and the loop's own check ends it, or the record is: then the next byte tells how it ends.
      if (content < CONTENT_MAX) continue;
      if (byte != 0x0a) {
        to = closeRecord(to, tail, tailBytes, false);
        open = 0;
        records++;
        continue;
      }
    }
    if (to + passMax > limit) break;

    // ---- a byte that does
    if (byte == 0x0a) {
      to = closeRecord(to, tail, tailBytes, true);
      open = 0;
      records++;
      from++;
    } else if (byte < 0x80) {
      if (byte == 0x22 || byte == 0x5c) {
        store<u16>(to, <u16>(0x5c | (byte << 8)));
        to += 2;
      } else if (byte == 0x0d) {
        store<u16>(to, 0x725c);
        to += 2;
      } else {
        storeEscape(to, U_00, byte);
        to += UNIT_MAX;
      }
      content++;
      from++;
    } else if (end - from < 4) {
      // Perhaps not all of it is here: the way of the pending bytes finds out.
      if (sequenceBytes(byte) == 0) {
        storeEscape(to, U_FF, 0xfd);
        to += UNIT_MAX;
        content++;
      } else {
        store<u8>(state, <u8>byte, PENDING_BYTES);
        pending = 1;
      }
      from++;
    } else {
      do {
        const word = load<u32>(from);
        if ((word & 0x80) == 0) break;
        const size: usize = validSequence(word);
        const taken: usize = size == 0 ? 1 : size;
        if (content + taken > CONTENT_MAX) {
          to = closeRecord(to, tail, tailBytes, false);
          open = 0;
          records++;
          break;
        }
        if (size == 0) {
          storeEscape(to, U_FF, 0xfd);
          to += UNIT_MAX;
        } else if (isSeparator(word)) {
          storeEscape(to, U_20, (word >> 16) & 0x2f);
          to += UNIT_MAX;
        } else {
          store<u32>(to, word);
          to += size;
        }
        from += taken;
        content += taken;
      } while (end - from >= 4 && to + passMax <= limit);
    }
  }

  // A record that was begun and then found no content is none yet.
  if (open != 0 && content == 0) {
    to = open;
    open = 0;
  }
  store<u32>(state, <u32>to, OUT);
  store<u32>(state, <u32>open, OPEN);
  store<u32>(state, <u32>content, CONTENT);
  store<u32>(state, records, RECORDS);
  store<u32>(state, pending, PENDING);
  return from - src;
}

/**
 * Closes an open record as partial: no `\n` in its log. With `last` the stream is over: what is pending of a sequence has
 * lost its rest and goes out as U+FFFD first. There is always room: {@link json} keeps it, for a tail that has not grown.
 * @returns 1 when a record was closed, 0 when none was open.
 */
export function jsonFlush(state: usize, last: u32): u32 {
  const tail: usize = load<u32>(state, TAIL);
  const tailBytes: usize = load<u32>(state, TAIL_BYTES);
  let to: usize = load<u32>(state, OUT);
  let open: usize = load<u32>(state, OPEN);
  let content: usize = open == 0 ? 0 : load<u32>(state, CONTENT);
  let records: u32 = load<u32>(state, RECORDS);
  if (last != 0) {
    for (let pending = load<u32>(state, PENDING); pending != 0; pending--) {
      if (open != 0 && content == CONTENT_MAX) {
        to = closeRecord(to, tail, tailBytes, false);
        records++;
        open = 0;
      }
      if (open == 0) {
        store<u64>(to, HEAD);
        open = to;
        to += HEAD_BYTES;
        content = 0;
      }
      storeEscape(to, U_FF, 0xfd);
      to += UNIT_MAX;
      content++;
    }
    store<u32>(state, 0, PENDING);
  }
  const closed: u32 = open == 0 ? 0 : 1;
  if (closed != 0) {
    to = closeRecord(to, tail, tailBytes, false);
    records++;
  }
  store<u32>(state, <u32>to, OUT);
  store<u32>(state, 0, OPEN);
  store<u32>(state, 0, CONTENT);
  store<u32>(state, records, RECORDS);
  return closed;
}
