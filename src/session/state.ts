/**
 * The behaviour of a session as a table: rows are states, columns are events, cells are small named functions that act
 * and answer the next state. A new behaviour is a new cell. Cells: ./cells.ts. Main thread.
 */

import type { ControlCommand } from '../proto/control-line.ts';
import {
  abandon,
  afterRuntime,
  awaitClient,
  containerGone,
  control,
  finish,
  finishExitCommand,
  forwardToContainer,
  forwardToRuntime,
  giveUpOnRuntime,
  handExitCommandOver,
  killContainer,
  noteHostEnds,
  receiveConsole,
  refuseContainer,
  reopenLogs,
  runExitCommand,
  serveClients,
  startRuntime,
  stay,
  tellOutOfMemory,
} from './cells.ts';
import type { Session } from './session.ts';

/**
 * creating: until the runtime has created the container; running; draining: the container is gone, its last output is
 * not yet written; ending: the notices are out, the exit command waits or runs; ended.
 */
export type State = 'creating' | 'running' | 'draining' | 'ending' | 'ended';

export type SessionEvent =
  /** The caller's go: everything is set up. */
  | { readonly type: 'start' }
  | { readonly type: 'runtimeExited'; readonly waitStatus: number }
  /** Something happened on the console socket. */
  | { readonly type: 'consoleReady' }
  /** A client is in the attach socket's backlog, and nobody serves it yet. */
  | { readonly type: 'clientWaiting' }
  /** Whoever served the attach clients has left: nobody listens for the next. */
  | { readonly type: 'clientsGone' }
  | { readonly type: 'control'; readonly command: ControlCommand }
  | { readonly type: 'containerExited'; readonly waitStatus: number }
  /** The output is written and closed. */
  | { readonly type: 'outputEnded' }
  /** There will be no output. */
  | { readonly type: 'outputFailed'; readonly reason: string }
  /** The container, or a part of it, was out of memory. */
  | { readonly type: 'outOfMemory' }
  /** --timeout */
  | { readonly type: 'timeout' }
  /** --create-timeout */
  | { readonly type: 'createTimeout' }
  | { readonly type: 'signal'; readonly signal: number }
  /** --exit-delay is over. */
  | { readonly type: 'exitDelayOver' }
  | { readonly type: 'exitCommandExited'; readonly waitStatus: number }
  /** A joined session's caller, who waited for it, was killed: as when a conmon of its own is. */
  | { readonly type: 'abandoned' }
  /** The daemon that a session has joined ends with its own container. */
  | { readonly type: 'hostEnds' };

/** One cell: acts on the session, answers the state that follows. */
export type Cell<T extends SessionEvent['type']> = (
  session: Session,
  event: Extract<SessionEvent, { type: T }>,
) => State;

type Row = { readonly [T in SessionEvent['type']]: Cell<T> };

/** Nothing to do: what the event is about is over or has not begun. */
const none = stay;

export const TABLE: Readonly<Record<State, Row>> = {
  creating: {
    start: startRuntime,
    runtimeExited: afterRuntime,
    consoleReady: receiveConsole,
    clientWaiting: serveClients,
    clientsGone: awaitClient,
    control: control,
    containerExited: none,
    outputEnded: none,
    outputFailed: refuseContainer,
    outOfMemory: none,
    timeout: none,
    createTimeout: giveUpOnRuntime,
    signal: forwardToRuntime,
    exitDelayOver: none,
    exitCommandExited: none,
    abandoned: abandon,
    hostEnds: noteHostEnds,
  },
  running: {
    start: none,
    runtimeExited: none,
    consoleReady: none,
    clientWaiting: serveClients,
    clientsGone: awaitClient,
    control: control,
    containerExited: containerGone,
    outputEnded: none,
    outputFailed: none,
    outOfMemory: tellOutOfMemory,
    timeout: killContainer,
    createTimeout: none,
    signal: forwardToContainer,
    exitDelayOver: none,
    exitCommandExited: none,
    abandoned: abandon,
    hostEnds: noteHostEnds,
  },
  draining: {
    start: none,
    runtimeExited: none,
    consoleReady: none,
    clientWaiting: none,
    clientsGone: none,
    control: reopenLogs,
    containerExited: none,
    outputEnded: finish,
    outputFailed: none,
    outOfMemory: tellOutOfMemory,
    timeout: none,
    createTimeout: none,
    signal: none,
    exitDelayOver: none,
    exitCommandExited: none,
    abandoned: abandon,
    hostEnds: noteHostEnds,
  },
  ending: {
    start: none,
    runtimeExited: none,
    consoleReady: none,
    clientWaiting: none,
    clientsGone: none,
    control: none,
    containerExited: none,
    outputEnded: none,
    outputFailed: none,
    outOfMemory: none,
    timeout: none,
    createTimeout: none,
    // Who ends conmon while it waits for --exit-delay wants the clean-up now, not none.
    signal: runExitCommand,
    exitDelayOver: runExitCommand,
    exitCommandExited: finishExitCommand,
    abandoned: abandon,
    hostEnds: handExitCommandOver,
  },
  ended: {
    start: none,
    runtimeExited: none,
    consoleReady: none,
    clientWaiting: none,
    clientsGone: none,
    control: none,
    containerExited: none,
    outputEnded: none,
    outputFailed: none,
    outOfMemory: none,
    timeout: none,
    createTimeout: none,
    signal: none,
    exitDelayOver: none,
    exitCommandExited: none,
    abandoned: none,
    hostEnds: none,
  },
};

/** Looks the event up and runs its cell. */
export function step(session: Session, event: SessionEvent): State {
  // The table pairs each event type with a cell of that type, which TypeScript cannot follow through the look-up.
  const cell = TABLE[session.state][event.type] as Cell<SessionEvent['type']>;
  return cell(session, event);
}
