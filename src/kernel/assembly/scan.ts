/**
 * Finds the ends of lines: where each newline of a batch is, for formats whose records are not text in a row (journald).
 * Blocks of 64 bytes, then 16. Reads up to 15 bytes past its input, which has that slack; writes nothing past its table.
 */

const NEWLINE: u8 = 0x0a;
const BLOCK: usize = 64;

/**
 * Writes the offset behind each newline of `length` bytes at `src`, relative to `src`, to the u32 words at `table`.
 * @param max how many words the table has; the search ends when it is full
 * @returns how many were written
 */
export function scan(src: usize, length: usize, table: usize, max: u32): u32 {
  const newlines = i8x16.splat(NEWLINE);
  const end = src + length;
  const tableEnd = table + ((<usize>max) << 2);
  let at = table;
  let from = src;
  while (end - from >= BLOCK) {
    let mask: u64 =
      <u64>i8x16.bitmask(i8x16.eq(v128.load(from), newlines)) |
      (<u64>i8x16.bitmask(i8x16.eq(v128.load(from, 16), newlines)) << 16) |
      (<u64>i8x16.bitmask(i8x16.eq(v128.load(from, 32), newlines)) << 32) |
      (<u64>i8x16.bitmask(i8x16.eq(v128.load(from, 48), newlines)) << 48);
    for (; mask != 0; mask &= mask - 1) {
      if (at == tableEnd) return max;
      store<u32>(at, <u32>(from - src) + <u32>ctz<u64>(mask) + 1);
      at += 4;
    }
    from += BLOCK;
  }
  while (from < end) {
    let mask: u32 = i8x16.bitmask(i8x16.eq(v128.load(from), newlines));
    const left = end - from;
    if (left < 16) mask &= (1 << <u32>left) - 1;
    for (; mask != 0; mask &= mask - 1) {
      if (at == tableEnd) return max;
      store<u32>(at, <u32>(from - src) + ctz<u32>(mask) + 1);
      at += 4;
    }
    from += 16;
  }
  return <u32>((at - table) >> 2);
}
