/**
 * Checks the import directions of docs/architecture.md: what a room may know. Run by `make arch`; exits 1 and names each
 * import that goes the wrong way. Reads files as text, executes none.
 */

import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** Rooms by level, lowest first. A file may import from lower levels and from its own room, never from a sibling room. */
const LEVELS: readonly (readonly string[])[] = [
  ['src/native'],
  ['src/diag'],
  ['src/ring/layout.ts'],
  ['src/proto'],
  ['src/kernel'],
  ['src/ring', 'src/log', 'src/attach', 'src/session', 'src/cli'],
  ['workers', 'src/threads', 'src/host'],
  ['src/daemon'],
  ['src/main.ts'],
];

/** Imports of types alone that go sideways on purpose, with the reason. */
const TYPE_ONLY: Readonly<Record<string, string>> = {
  'src/session -> src/cli': 'the frozen Options are what a session is given',
};

/** Rooms of their own, outside the daemon: they may use anything below main. */
const OUTSIDE = ['src/demo', 'src/client'];

interface Place {
  readonly room: string;
  readonly level: number;
}

function placeOf(file: string): Place | undefined {
  let found: Place | undefined;
  for (const [level, rooms] of LEVELS.entries())
    for (const room of rooms)
      if ((file === room || file.startsWith(`${room}/`)) && (found === undefined || room.length > found.room.length))
        found = { room, level };
  return found;
}

const problems: string[] = [];
const IMPORT =
  /(?:^|\n)\s*(import|export)\s+(type\s)?[^;'"]*?from\s+'(\.[^']+)'|(?:import|require)\(\s*'(\.[^']+)'\s*\)/g;

for (const file of globSync(['src/**/*.ts', 'workers/*.ts'])) {
  if (file.startsWith('src/kernel/assembly/') || OUTSIDE.some((room) => file.startsWith(`${room}/`))) continue;
  const from = placeOf(file);
  if (from === undefined) {
    problems.push(`${file}: belongs to no room`);
    continue;
  }
  for (const match of readFileSync(file, 'utf8').matchAll(IMPORT)) {
    const target = normalize(join(dirname(file), match[3] ?? match[4] ?? ''));
    if (target.endsWith('.cjs')) continue; // a bundle, loaded later
    if (OUTSIDE.some((room) => target.startsWith(`${room}/`))) {
      problems.push(`${file}: imports ${target}, which is outside the daemon`);
      continue;
    }
    const to = placeOf(target);
    if (to === undefined) problems.push(`${file}: imports ${target}, which belongs to no room`);
    else if (to.room === from.room || to.level < from.level) continue;
    else if (match[2] !== undefined && `${from.room} -> ${to.room}` in TYPE_ONLY) continue;
    else problems.push(`${file}: ${from.room} must not import ${target} (${to.room})`);
  }
}

for (const problem of problems) console.error(problem);
console.log(problems.length === 0 ? 'imports go one way' : `${problems.length} imports go the wrong way`);
process.exitCode = problems.length === 0 ? 0 : 1;
