/**
 * Surprises, as opposed to expected outcomes (full, EAGAIN, EOF), which are return values. No I/O.
 */

/** What went wrong and where: a stable code, the system call, the path or fd, and libc's text for the errno. */
export interface ErrorDetail {
  readonly syscall?: string;
  readonly path?: string;
  readonly fd?: number;
  readonly reason?: string;
  readonly cause?: unknown;
}

/** An error of conmon's own. `message` is what the user reads: it names the thing. `code` is stable. */
export class ConmonError extends Error {
  readonly code: string;
  readonly detail: ErrorDetail;

  constructor(code: string, message: string, detail: ErrorDetail = {}) {
    super(detail.reason === undefined ? message : `${message} ${detail.reason}`, { cause: detail.cause });
    this.name = 'ConmonError';
    this.code = code;
    this.detail = detail;
  }
}

/** The text of anything that was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
