// Plots as SVG text: lines over a linear or logarithmic axis, and bars of time. Pure; nothing in them runs or is loaded.

export interface Series {
  readonly name: string;
  /** Class of the stylesheet that gives the colour: `rival`, `ours`, `floor`. */
  readonly style: string;
  readonly points: readonly { readonly x: number; readonly y: number; readonly low?: number; readonly high?: number }[];
}

export interface LinePlot {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Logarithmic where the values span decades. */
  readonly xLog: boolean;
  readonly yLog: boolean;
  readonly series: readonly Series[];
  /** Names of x values that are no numbers, by value. */
  readonly xNames?: ReadonlyMap<number, string>;
}

export interface BarPlot {
  readonly title: string;
  readonly xLabel: string;
  /** One bar each, of segments that follow each other. */
  readonly bars: readonly {
    readonly name: string;
    readonly segments: readonly { readonly name: string; readonly style: string; readonly length: number }[];
  }[];
}

const width = 640;
const height = 340;
const margin = { left: 70, right: 20, top: 46, bottom: 48 };
const barHeight = 26;

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** A plot of lines; an empty string when there is nothing to show. */
export function linePlot(plot: LinePlot): string {
  const points = plot.series
    .flatMap((series) => series.points)
    .filter(({ x, y }) => usable(x, plot.xLog) && usable(y, plot.yLog));
  if (points.length === 0) return '';
  const xScale = scale(
    points.map(({ x }) => x),
    plot.xLog,
    margin.left + 10,
    width - margin.right - 10,
    false,
  );
  const yScale = scale(
    points.map(({ y, high }) => high ?? y),
    plot.yLog,
    height - margin.bottom,
    margin.top,
    !plot.yLog,
  );
  const xTicks = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b);
  const parts = [
    ...yScale.ticks.map((tick) => {
      const at = fixed(yScale.at(tick));
      return `<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${at}" y2="${at}"/><text x="${margin.left - 6}" y="${at}" dy="4" text-anchor="end">${label(tick)}</text>`;
    }),
    ...xTicks.map((tick) => {
      const name = plot.xNames?.get(tick) ?? label(tick);
      return `<text x="${fixed(xScale.at(tick))}" y="${height - margin.bottom + 16}" text-anchor="middle">${escapeXml(name)}</text>`;
    }),
    `<text x="${(margin.left + width - margin.right) / 2}" y="${height - 8}" text-anchor="middle">${escapeXml(plot.xLabel)}</text>`,
    `<text transform="translate(14 ${(margin.top + height - margin.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(plot.yLabel)}</text>`,
  ];
  for (const series of plot.series) {
    const own = series.points
      .filter(({ x, y }) => usable(x, plot.xLog) && usable(y, plot.yLog))
      .toSorted((a, b) => a.x - b.x);
    if (own.length === 0) continue;
    const path = own.map(({ x, y }) => `${fixed(xScale.at(x))},${fixed(yScale.at(y))}`).join(' ');
    parts.push(`<polyline class="${series.style}" points="${path}"/>`);
    for (const { x, y, low, high } of own) {
      const at = fixed(xScale.at(x));
      if (low !== undefined && high !== undefined && usable(low, plot.yLog))
        parts.push(
          `<line class="${series.style}" x1="${at}" x2="${at}" y1="${fixed(yScale.at(low))}" y2="${fixed(yScale.at(high))}"/>`,
        );
      parts.push(
        `<circle class="${series.style}" cx="${at}" cy="${fixed(yScale.at(y))}" r="3.5"><title>${escapeXml(series.name)}: ${label(y)}</title></circle>`,
      );
    }
  }
  parts.push(...legend(plot.series, true));
  return svg(plot.title, height, parts);
}

/** Bars of consecutive segments; an empty string when there is nothing to show. */
export function barPlot(plot: BarPlot): string {
  const longest = Math.max(...plot.bars.map(({ segments }) => segments.reduce((sum, { length }) => sum + length, 0)));
  if (!(longest > 0)) return '';
  const left = 190;
  const across = (width - left - margin.right - 60) / longest;
  const names = new Map(plot.bars.flatMap(({ segments }) => segments.map(({ name, style }) => [name, style] as const)));
  const total = margin.top + plot.bars.length * (barHeight + 10) + 40;
  const parts = [
    ...legend(
      [...names].map(([name, style]) => ({ name, style })),
      false,
    ),
  ];
  for (const [row, { name, segments }] of plot.bars.entries()) {
    const top = margin.top + 8 + row * (barHeight + 10);
    parts.push(`<text x="${left - 8}" y="${top + barHeight / 2}" dy="4" text-anchor="end">${escapeXml(name)}</text>`);
    let at = left;
    for (const segment of segments) {
      const size = Math.max(segment.length, 0) * across;
      parts.push(
        `<rect class="${segment.style}" x="${fixed(at)}" y="${top}" width="${fixed(size)}" height="${barHeight}"><title>${escapeXml(segment.name)}: ${label(segment.length)}</title></rect>`,
      );
      at += size;
    }
    const sum = segments.reduce((all, { length }) => all + length, 0);
    parts.push(`<text x="${fixed(at + 6)}" y="${top + barHeight / 2}" dy="4">${label(sum)}</text>`);
  }
  parts.push(`<text x="${width / 2}" y="${total - 8}" text-anchor="middle">${escapeXml(plot.xLabel)}</text>`);
  return svg(plot.title, total, parts);
}

function svg(title: string, tall: number, parts: readonly string[]): string {
  return `<figure><figcaption>${escapeXml(title)}</figcaption><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${tall}" role="img" aria-label="${escapeXml(title)}">${parts.join('')}</svg></figure>`;
}

/** Names above the plot, with the look of their lines or the colour of their bars, in at most two lines; `length` of a name in pixels is a guess. */
function legend(
  entries: readonly { readonly name: string; readonly style: string }[],
  lines: boolean,
): readonly string[] {
  let x = 16;
  let y = 14;
  return entries.map(({ name, style }) => {
    const size = 30 + name.length * 6.5;
    if (x + size > width) {
      x = 16;
      y += 18;
    }
    const mark = lines
      ? `<polyline class="${style}" points="${fixed(x - 6)},${y - 4} ${fixed(x + 12)},${y - 4}"/>`
      : `<rect class="${style}" x="${fixed(x)}" y="${y - 9}" width="10" height="10"/>`;
    const text = `${mark}<text x="${fixed(x + 15)}" y="${y}">${escapeXml(name)}</text>`;
    x += size;
    return text;
  });
}

function usable(value: number, log: boolean): boolean {
  return Number.isFinite(value) && (!log || value > 0);
}

/** Maps values to coordinates, with about five ticks. */
function scale(values: readonly number[], log: boolean, from: number, to: number, fromZero: boolean) {
  const map = (value: number): number => (log ? Math.log10(value) : value);
  let low = fromZero ? 0 : Math.min(...values.map(map));
  let high = Math.max(...values.map(map));
  if (high === low) {
    low -= 1;
    high += 1;
  }
  if (fromZero) high *= 1.05;
  const ticks: number[] = [];
  if (log) for (let power = Math.floor(low); power <= Math.ceil(high); power++) ticks.push(10 ** power);
  else {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = ([1, 2, 5, 10].find((each) => each * power >= rough) ?? 10) * power;
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
  }
  if (log) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  return { ticks, at: (value: number): number => from + ((map(value) - low) / (high - low)) * (to - from) };
}

function fixed(value: number): string {
  return value.toFixed(1);
}

/** A figure of at most three digits, thousands as k. */
function label(value: number): string {
  if (value >= 10_000) return `${Number((value / 1000).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}
