/** The log thread's counters, one value a worker. What is lost is counted here and said in the exit diagnostics. */

import type { LogCounters } from '../proto/log-messages.ts';

export function newCounters(): LogCounters {
  return {
    readBytes: 0,
    writtenBytes: 0,
    records: 0,
    reads: 0,
    writes: 0,
    beyondLimitBytes: 0,
    droppedBytes: 0,
    droppedRecords: 0,
  };
}
