// What a run of the bench works with: the two monitors, the directory for logs, the sizes, the way to stop.
// Main thread only. Values, no behaviour.

export type Side = 'rival' | 'ours';

/** Whose figure it is; the floor is a plain pipe-to-file copy. */
export type Subject = Side | 'floor';

export interface Environment {
  /** Absolute paths of the two conmon binaries; they may be the same one. */
  readonly monitors: Readonly<Record<Side, string>>;
  /** Logs, bundles and sockets live in fresh directories below it; removed at the end. */
  readonly workDir: string;
  readonly quick: boolean;
  /** Pairs of runs; undefined = the scenario's own choice. */
  readonly pairs: number | undefined;
  /** Aborted by Ctrl-C: every wait ends, what was started is ended. */
  readonly signal: AbortSignal;
}

/** One measured run of one subject. Units are in the metric names. */
export interface Sample {
  readonly scenario: string;
  /** What distinguishes rows of one scenario, e.g. the line length. */
  readonly variant: string;
  readonly subject: Subject;
  readonly metrics: Readonly<Record<string, number>>;
}

/** A run that does not count, and why. */
export interface Failure {
  readonly scenario: string;
  readonly variant: string;
  readonly subject: Subject;
  readonly failure: string;
}

/** One uninterruptible unit of a bench: runs in the order in which the scenario lists them. */
export interface Step {
  readonly variant: string;
  readonly subject: Subject;
  /** A guess, for the first estimates of the time left. */
  readonly expectedMs: number;
  readonly run: () => Promise<readonly Sample[]>;
}

export interface Scenario {
  readonly name: string;
  /** All steps in order; rivals alternate. */
  steps(environment: Environment): readonly Step[];
  /** Tables of whatever has been measured so far: a bench that was interrupted prints what it has. */
  tables(samples: readonly Sample[]): readonly Table[];
}

/** Rows of cells for the terminal; the first column is text, the rest are figures. */
export interface Table {
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Lines below the table: how it was taken, what limits it. */
  readonly notes: readonly string[];
}
