// Tables and failures for a terminal or a file: aligned columns, no colours. Pure.

import type { Failure, Table } from '../harness/environment.ts';

/** Lays out one table; the first column is flush left, the figures flush right. Ends with a newline. */
export function formatTable(table: Table): string {
  const lines = [table.header, ...table.rows];
  const widths = table.header.map((_, column) => Math.max(...lines.map((cells) => (cells[column] ?? '').length)));
  const layOut = (cells: readonly string[]): string =>
    widths
      .map((width, column) =>
        column === 0 ? (cells[column] ?? '').padEnd(width) : (cells[column] ?? '').padStart(width),
      )
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  const [header = [], ...rows] = lines;
  const notes = table.notes.map((note) => `  ${note}`);
  return `${[table.title, '', layOut(header), rule, ...rows.map(layOut), ...notes].join('\n')}\n`;
}

/** One line for each failure; those that say the same of the same row are counted. */
export function failureLines(failures: readonly Failure[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const { scenario, variant, subject, failure } of failures) {
    const line = `${scenario}, ${variant}, ${subject}: ${failure}`;
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  return [...counts].map(([line, count]) => (count === 1 ? line : `${line} (${count} times)`));
}
