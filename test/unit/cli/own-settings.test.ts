/** The settings that C does not have: option, environment, both, neither. */
import t from 'tap';
import { CREATE, options, refusal } from './fixtures/command-line.ts';

const SETTINGS = [
  ['create-timeout', 'CONMON_CREATE_TIMEOUT', 'createTimeoutSeconds'],
  ['attach-stall-timeout', 'CONMON_ATTACH_STALL_TIMEOUT', 'attachStallTimeoutSeconds'],
] as const;

for (const [option, variable, field] of SETTINGS) {
  const value = (argv: readonly string[], text?: string) =>
    options([...CREATE, ...argv], { env: { [variable]: text } })[field];

  t.test(`${option} comes from the option, else from ${variable}, else it is 0`, async (t) => {
    t.equal(value([]), 0);
    t.equal(value([], ''), 0, 'set to nothing is not set');
    t.equal(value([], '10'), 10);
    t.equal(value([], '0x10'), 16);
    t.equal(value([`--${option}`, '20'], '10'), 20);
    t.equal(value([`--${option}=0`], '10'), 0);
    t.equal(value([`--${option}=5`], 'garbage'), 5, 'the variable is not looked at');
  });

  t.test(`a bad ${variable} is an error that names it`, async (t) => {
    for (const text of ['-1', 'abc', '10s', '1.5', '2147483648', ' ']) {
      const problem = `[conmon:e]: ${variable} must be 0 or more seconds, got '${text}'`;
      t.equal(refusal(CREATE, { env: { [variable]: text } }), problem);
    }
  });

  t.test(`a bad --${option} is an error that names it`, async (t) => {
    t.equal(refusal([...CREATE, `--${option}`, '-1']), `[conmon:e]: --${option} must be 0 or more seconds, got -1`);
    const text = 'conmon: option parsing failed: Cannot parse integer value “x” for';
    t.equal(refusal([...CREATE, `--${option}`, 'x']), `${text} --${option}`);
  });
}
