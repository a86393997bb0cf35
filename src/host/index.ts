/** What main loads when the first exec wants to join: everything that holds further sessions. */

export { Host } from './host.ts';
