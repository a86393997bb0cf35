/** What main loads once the runtime is on its way: everything that starts threads. */

export { Output } from './output.ts';
