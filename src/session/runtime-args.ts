/**
 * The runtime's command line (contract section 4). Pure.
 */

import type { Options } from '../cli/options.ts';

/**
 * RUNTIME's argv, argv[0] first.
 * @param consoleSocket path of the console socket with a terminal
 */
export function runtimeArgs(options: Options, consoleSocket: string | undefined): readonly string[] {
  const args = [options.runtime];
  if (!options.exec && options.systemdCgroup) args.push('--systemd-cgroup');
  args.push(...options.runtimeArgs);
  if (options.exec) {
    args.push('exec', '--pid-file', options.containerPidfile);
    args.push('--process', options.execProcessSpec ?? '', '--detach');
  } else {
    args.push(options.restorePath === undefined ? 'create' : 'restore');
    args.push('--bundle', options.bundle ?? '', '--pid-file', options.containerPidfile);
    if (options.noPivot) args.push('--no-pivot');
    if (options.noNewKeyring) args.push('--no-new-keyring');
    // A restored container runs at once: --detach, so that the runtime returns (runc-restore.8).
    if (options.restorePath !== undefined)
      args.push('--detach', '--image-path', options.restorePath, '--work-path', options.bundle ?? '');
  }
  args.push(...options.runtimeOpts);
  if (consoleSocket !== undefined) args.push('--console-socket', consoleSocket);
  args.push(options.cid);
  return args;
}
