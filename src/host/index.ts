/** What main loads when the first exec wants to join: everything that holds further sessions. */

export { buildId as build } from '../native/libexec.ts';
export { Host } from './host.ts';
