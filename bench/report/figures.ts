// Which plots a report has, from the samples of the scenarios that were run. Pure: samples in, SVG out.

import type { Sample, Subject } from '../harness/environment.ts';
import { type BarPlot, barPlot, linePlot, type Series } from './plot.ts';
import { metric, quantiles, variantsOf } from './select.ts';
import { median } from './statistics.ts';

/** Those that there are figures for. */
export function plotsOf(samples: readonly Sample[]): readonly string[] {
  const plots = [
    ...throughputPlots(samples),
    latencyPlot(samples, 'Latency, write to log', false),
    latencyPlot(samples, 'Latency, write to client', true),
    memoryPlot(samples),
    startPlot(samples),
  ];
  return plots.filter((plot) => plot !== '');
}

const subjects: readonly Subject[] = ['rival', 'ours', 'floor'];

/** By line length, over the rows whose name is nothing but a length. */
function throughputPlots(all: readonly Sample[]): readonly string[] {
  const samples = all.filter(({ scenario, variant }) => scenario === 'throughput' && /^\d+$/.test(variant));
  const lines = (name: string): readonly Series[] =>
    subjects.map((subject) => ({
      name: subject,
      style: subject,
      points: variantsOf(samples).map((variant) => {
        const values = metric(samples, variant, subject, name);
        return { x: Number(variant), y: median(values), low: Math.min(...values), high: Math.max(...values) };
      }),
    }));
  const common = { xLabel: 'bytes a line', xLog: true, yLog: false } as const;
  return [
    linePlot({ title: 'Throughput by line length', yLabel: 'payload MB/s', series: lines('payloadMBps'), ...common }),
    linePlot({
      title: 'CPU of the monitor',
      yLabel: 's per GB of payload',
      series: lines('cpuSecondsPerGB'),
      ...common,
    }),
  ];
}

/** To the log, or to a client: the rows of the latency scenario tell by their name. */
function latencyPlot(all: readonly Sample[], title: string, toClient: boolean): string {
  const samples = all.filter(
    ({ scenario, variant }) => scenario === 'latency' && variant.startsWith('client, ') === toClient,
  );
  const series = variantsOf(samples).flatMap((variant, index) =>
    (['rival', 'ours'] as const).map((subject) => ({
      name: `${subject}, ${variant.replace('client, ', '')}`,
      style: index === 0 ? subject : `${subject}2`,
      points: quantiles.map((each, x) => ({ x, y: median(metric(samples, variant, subject, `${each}Us`)) })),
    })),
  );
  return linePlot({
    title,
    xLabel: 'quantile',
    yLabel: 'microseconds',
    xLog: false,
    yLog: true,
    series: series.slice(0, 4),
    xNames: new Map(quantiles.map((each, x) => [x, each === 'p999' ? 'p99.9' : each])),
  });
}

function memoryPlot(all: readonly Sample[]): string {
  const samples = all.filter(({ scenario, variant }) => scenario === 'memory' && /^\d+ containers?$/.test(variant));
  const series = (['rival', 'ours'] as const).flatMap((subject) =>
    (['privateMiB', 'pssMiB'] as const).map((name) => ({
      name: `${subject}, ${name === 'pssMiB' ? 'PSS' : 'private'}`,
      style: name === 'pssMiB' ? `${subject}2` : subject,
      points: variantsOf(samples).map((variant) => ({
        x: Number.parseInt(variant, 10),
        y: median(metric(samples, variant, subject, name)),
      })),
    })),
  );
  const common = { xLabel: 'containers', yLabel: 'MiB for each', xLog: true, yLog: false } as const;
  return linePlot({ title: 'Memory by number of containers', series, ...common });
}

/** What somebody waits for, one bar each: a container's start, an exec session, the news of an exit. */
function startPlot(all: readonly Sample[]): string {
  const samples = all.filter(({ scenario }) => scenario === 'startup');
  const barsOf = (
    title: string,
    variant: string,
    parts: readonly (readonly [string, string, string])[],
  ): readonly Bar[] =>
    (['rival', 'ours'] as const).flatMap((subject) => {
      let before = 0;
      const segments = parts.flatMap(([name, key, style]) => {
        const at = median(metric(samples, variant, subject, key));
        if (!Number.isFinite(at)) return [];
        const segment = { name, style, length: at - before };
        before = at;
        return [segment];
      });
      return segments.length === 0 ? [] : [{ name: `${title}, ${subject}`, segments }];
    });
  const variants = variantsOf(samples);
  const bars = [
    ...variants.flatMap((variant) =>
      barsOf(variant, variant, [
        ['exec to runtime', 'toRuntimeMs', 'seg1'],
        ['to pid on sync pipe', 'toSyncMs', 'seg2'],
      ]),
    ),
    ...variants.flatMap((variant) =>
      barsOf(variant === 'exec session' ? variant : `exec, ${variant}`, variant, [
        ['whole exec session', 'sessionMs', 'seg3'],
      ]),
    ),
    ...variants.flatMap((variant) =>
      barsOf(`exit, ${variant}`, variant, [["container's exit to exit file", 'exitNoticeMs', 'seg4']]),
    ),
  ];
  return bars.length === 0 ? '' : barPlot({ title: 'Start-up, exec sessions, exit', xLabel: 'ms', bars });
}

type Bar = BarPlot['bars'][number];
