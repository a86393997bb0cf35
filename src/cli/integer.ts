/**
 * Integers as C's strtol reads them with base 0: the number syntax of GOption and of the CONMON_* variables.
 * Main thread, pure. It never guesses: anything but a whole number from the first to the last character is refused.
 */

/** `malformed` and `out-of-range` are told apart because GOption words them differently. */
export type IntegerOutcome =
  | { readonly kind: 'integer'; readonly value: number }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'out-of-range' };

/**
 * Blanks in front, a sign, then hex (0x), octal (0) or decimal digits; nothing after them.
 * Source: strtol(3) with base 0; isspace(3) in the C locale. Checked against GLib 2.74, which is built without C23's 0b.
 */
const STRTOL = /^[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))$/;

/**
 * Reads a signed integer of 32 or 64 bits.
 * @returns the value as a number. Above 2^53 the nearest number is returned, which is enough for byte limits that
 * no log reaches; the range check itself is exact.
 */
export function parseInteger(text: string, bits: 32 | 64): IntegerOutcome {
  const match = STRTOL.exec(text);
  if (match === null) return { kind: 'malformed' };
  const [, sign, hex, octal, decimal] = match;
  const magnitude = BigInt(hex !== undefined ? `0x${hex}` : octal !== undefined ? `0o0${octal}` : (decimal ?? '0'));
  const signed = sign === '-' ? -magnitude : magnitude;
  if (BigInt.asIntN(bits, signed) !== signed) return { kind: 'out-of-range' };
  return { kind: 'integer', value: Number(signed) };
}
