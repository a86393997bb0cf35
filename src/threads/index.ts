/** What main loads once the runtime is on its way: everything that starts threads. */

export { LogWorker } from './log-worker.ts';
export { WorkerPool } from './pool.ts';
