/** The state table itself: complete, and quiet where nothing is to be done. */
import t from 'tap';
import { type SessionEvent, type State, step, TABLE } from '../../../src/session/state.ts';
import { SessionRig } from './rig.ts';

const STATES: readonly State[] = ['creating', 'running', 'draining', 'ending', 'ended'];
const EVENTS: { readonly [T in SessionEvent['type']]: Extract<SessionEvent, { type: T }> } = {
  start: { type: 'start' },
  outOfMemory: { type: 'outOfMemory' },
  runtimeExited: { type: 'runtimeExited', waitStatus: 0 },
  consoleReady: { type: 'consoleReady' },
  clientWaiting: { type: 'clientWaiting' },
  clientsGone: { type: 'clientsGone' },
  control: { type: 'control', command: { kind: 'reopen' } },
  containerExited: { type: 'containerExited', waitStatus: 0 },
  outputEnded: { type: 'outputEnded' },
  outputFailed: { type: 'outputFailed', reason: 'no eventfd left' },
  timeout: { type: 'timeout' },
  createTimeout: { type: 'createTimeout' },
  signal: { type: 'signal', signal: 15 },
  exitDelayOver: { type: 'exitDelayOver' },
  abandoned: { type: 'abandoned' },
  hostEnds: { type: 'hostEnds' },
  exitCommandExited: { type: 'exitCommandExited', waitStatus: 0 },
};
/** What is over or has not begun: these cells do nothing at all. */
const QUIET: Readonly<Record<State, readonly SessionEvent['type'][]>> = {
  creating: ['containerExited', 'outputEnded', 'timeout', 'exitDelayOver', 'exitCommandExited'],
  running: [
    'start',
    'runtimeExited',
    'consoleReady',
    'outputEnded',
    'outputFailed',
    'createTimeout',
    'exitDelayOver',
    'exitCommandExited',
  ],
  draining: [
    'start',
    'runtimeExited',
    'containerExited',
    'outputFailed',
    'timeout',
    'createTimeout',
    'signal',
    'exitDelayOver',
    'exitCommandExited',
  ],
  ending: ['start', 'runtimeExited', 'containerExited', 'outputEnded', 'outputFailed', 'timeout', 'createTimeout'],
  ended: Object.keys(EVENTS) as SessionEvent['type'][],
};

t.test('every state has a cell for every event, and no other', async (t) => {
  t.same(Object.keys(TABLE).toSorted(), [...STATES].toSorted());
  for (const state of STATES) t.same(Object.keys(TABLE[state]).toSorted(), Object.keys(EVENTS).toSorted(), state);
});

t.test('what is over or has not begun changes nothing', async (t) => {
  for (const state of STATES)
    for (const type of QUIET[state]) {
      const rig = new SessionRig(t);
      rig.session.state = state;
      t.same(rig.post(EVENTS[type]), [], `${state} ${type}`);
      t.equal(rig.state, state);
    }
});

t.test('step answers the next state and leaves the session to store it', async (t) => {
  const rig = new SessionRig(t);
  t.equal(step(rig.session, { type: 'signal', signal: 15 }), 'ended');
  t.equal(rig.state, 'creating');
});

t.test('an event that a step raises comes after it', async (t) => {
  const rig = new SessionRig(t, { passthrough: true }).run();
  // Without an output the drain is over at once: the event is raised while the step runs.
  rig.post({ type: 'containerExited', waitStatus: 0 });
  t.equal(rig.state, 'ended');
  const steps = rig.complaints.lines.filter((line) => line.includes('session:')).slice(-2);
  t.match(steps, [/running --containerExited--> draining/, /draining --outputEnded--> ended/]);
});
