/**
 * The one error that the demo programs show to people: its message names the thing and what is wrong with it.
 * Everything else that is thrown is a fault of the program itself and keeps its stack.
 */

export class DemoError extends Error {
  override readonly name = 'DemoError';
}

/** `ENOENT: no such file or directory` of a Node error, without the syscall and the path that the caller names itself. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code: unknown = 'code' in error ? error.code : undefined;
  const message = error.message.split(', ')[0] ?? error.message;
  return typeof code === 'string' && message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message;
}

/** The errno name of a Node error (`ENOENT`), or undefined. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
