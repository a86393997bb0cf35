// The scenarios of the bench, in the order in which they run: the quiet ones first.

import type { Scenario } from '../harness/environment.ts';
import { idle } from './idle.ts';
import { startup } from './startup.ts';
import { throughput } from './throughput.ts';

export const scenarios: readonly Scenario[] = [startup, idle, throughput];
