// The scenarios of the bench, in the order in which they run: the quiet ones first.

import type { Scenario } from '../harness/environment.ts';
import { attach } from './attach.ts';
import { exec } from './exec.ts';
import { idle } from './idle.ts';
import { journald } from './journald.ts';
import { jsonFile } from './json-file.ts';
import { latency } from './latency.ts';
import { memory } from './memory.ts';
import { rotation } from './rotation.ts';
import { scale } from './scale.ts';
import { startup } from './startup.ts';
import { throughput } from './throughput.ts';

export const scenarios: readonly Scenario[] = [
  startup,
  exec,
  idle,
  memory,
  latency,
  throughput,
  rotation,
  attach,
  jsonFile,
  journald,
  scale,
];
