/**
 * What to execute: the `process` object of an OCI bundle's config.json, or of an exec's process file, checked and
 * reduced to the part that the demo runtime honours. It reads files; it never starts anything.
 * Source: OCI runtime specification 1.0.2, config.md "Process".
 */

import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DemoError, reasonOf } from './demo-error.ts';

/** One process, checked: no string holds a NUL, `cwd` is absolute, `args` has at least one entry. */
export interface ProcessSpec {
  readonly args: readonly string[];
  /** `NAME=value` strings. */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
  readonly terminal: boolean;
  readonly consoleSize: { readonly rows: number; readonly columns: number } | undefined;
}

/** The part of config.json that matters here. */
export interface BundleConfig {
  readonly ociVersion: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly process: ProcessSpec;
}

/** What execvp(3) searches without a PATH; also the umask that runc and crun give without `user.umask`. */
const DEFAULT_PATH = '/bin:/usr/bin';
const DEFAULT_UMASK = 0o022;
const MAX_ID = 0xffff_fffe;

type Fields = Readonly<Record<string, unknown>>;

/** @throws DemoError naming config.json and the field. */
export function readBundleConfig(bundle: string): BundleConfig {
  const path = join(bundle, 'config.json');
  const config = readObject(path);
  const { ociVersion, annotations = {}, process } = config;
  if (typeof ociVersion !== 'string') throw new DemoError(`${path}: ociVersion is missing or no string`);
  if (!isObject(annotations) || !Object.values(annotations).every((value) => typeof value === 'string')) {
    throw new DemoError(`${path}: annotations must be strings`);
  }
  if (process === undefined) throw new DemoError(`${path}: process is missing`);
  return {
    ociVersion,
    annotations: annotations as Record<string, string>,
    process: parseProcess(process, `${path}: process`),
  };
}

/** The process file of `exec --process`. @throws DemoError naming the file and the field. */
export function readProcessFile(path: string): ProcessSpec {
  return parseProcess(readObject(path), path);
}

/**
 * Checks that the first argument can be executed, looking it up in the PATH of the process's own environment.
 * The same search happens again at exec time; this one is here so that `create` can say what is wrong.
 * @throws DemoError in runc's words.
 */
export function checkCommand(spec: ProcessSpec): void {
  const [name = ''] = spec.args;
  if (name.includes('/')) {
    const reason = whyNotExecutable(resolve(spec.cwd, name));
    if (reason !== undefined) throw new DemoError(`exec: "${name}": ${reason}`);
    return;
  }
  const directories = searchPath(spec).split(':');
  const found = directories.some((dir) => whyNotExecutable(resolve(spec.cwd, dir, name)) === undefined);
  if (name === '' || !found) throw new DemoError(`exec: "${name}": executable file not found in $PATH`);
}

function searchPath(spec: ProcessSpec): string {
  return spec.env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length) ?? DEFAULT_PATH;
}

function whyNotExecutable(path: string): string | undefined {
  try {
    if (!statSync(path).isFile()) return 'is not a regular file';
    accessSync(path, constants.X_OK);
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

function readObject(path: string): Fields {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new DemoError(`cannot read ${path}: ${reasonOf(error)}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DemoError(`${path} is not JSON: ${reasonOf(error)}`, { cause: error });
  }
  if (!isObject(value)) throw new DemoError(`${path} holds no JSON object`);
  return value;
}

function parseProcess(value: unknown, where: string): ProcessSpec {
  if (!isObject(value)) throw new DemoError(`${where} is no object`);
  const args = stringList(value['args'], `${where}.args`);
  if (args.length === 0) throw new DemoError(`${where}.args is empty`);
  const env = stringList(value['env'] ?? [], `${where}.env`);
  const unnamed = env.find((entry) => entry.indexOf('=') < 1);
  if (unnamed !== undefined) throw new DemoError(`${where}.env: "${unnamed}" is not NAME=value`);
  const cwd = plainString(value['cwd'], `${where}.cwd`);
  if (!cwd.startsWith('/')) throw new DemoError(`${where}.cwd: "${cwd}" is not an absolute path`);
  const terminal = value['terminal'] ?? false;
  if (typeof terminal !== 'boolean') throw new DemoError(`${where}.terminal is no boolean`);
  const user = value['user'] ?? {};
  if (!isObject(user)) throw new DemoError(`${where}.user is no object`);
  return {
    args,
    env,
    cwd,
    terminal,
    uid: wholeNumber(user['uid'] ?? 0, MAX_ID, `${where}.user.uid`),
    gid: wholeNumber(user['gid'] ?? 0, MAX_ID, `${where}.user.gid`),
    umask: wholeNumber(user['umask'] ?? DEFAULT_UMASK, 0o777, `${where}.user.umask`),
    consoleSize: consoleSize(value['consoleSize'], `${where}.consoleSize`),
  };
}

function consoleSize(value: unknown, where: string): ProcessSpec['consoleSize'] {
  if (value === undefined) return undefined;
  if (!isObject(value)) throw new DemoError(`${where} is no object`);
  return {
    rows: wholeNumber(value['height'], 0xffff, `${where}.height`),
    columns: wholeNumber(value['width'], 0xffff, `${where}.width`),
  };
}

function stringList(value: unknown, where: string): readonly string[] {
  if (!Array.isArray(value)) throw new DemoError(`${where} is missing or no list`);
  return value.map((entry, index) => plainString(entry, `${where}[${index}]`));
}

function plainString(value: unknown, where: string): string {
  if (typeof value !== 'string') throw new DemoError(`${where} is missing or no string`);
  if (value.includes('\0')) throw new DemoError(`${where} holds a NUL`);
  return value;
}

function wholeNumber(value: unknown, max: number, where: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
    throw new DemoError(`${where} is no whole number from 0 to ${max}`);
  }
  return value;
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
