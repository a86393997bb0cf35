/**
 * Why a run stops before its container has ended. Not an error: the run cleans up and ends with the signal's status.
 */

import { constants } from 'node:os';

export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  /** As a shell gives it: 128 + the signal's number. */
  readonly status: number;

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGPIPE') {
    super(`stopped by ${signal}`);
    this.status = 128 + constants.signals[signal];
  }
}
