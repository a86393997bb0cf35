/** What main loads once the runtime is on its way: everything that starts threads. */

export { loadLogCode, MainLogs, mayBeOnMain } from './main-logs.ts';
export { Output } from './output.ts';
export { loadPiscina, type Pool } from './pool.ts';
export { SharedPool } from './shared-pool.ts';
