// Files that the operator alone may change, and the programs that are listed in one.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { Program, ProgramAnswer } from '../../rotation/connector.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { requireOwnedFile } from '../../src/node/owned-file.ts';
import { commandWrapping } from '../../src/node/root-command.ts';
import { RotationPrograms } from '../../src/node/rotation-programs.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyturn-owned-'));
afterAll(() => rmSync(folder, { recursive: true }));
let made = 0;

function file(text: string, mode: number, home = folder): string {
  const path = join(home, `file-${++made}`);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const check = (path: string) => requireOwnedFile(path, 'the program', 'execute');

describe('an owned file', () => {
  it('may be changed by its owner alone, and by root', () => {
    const path = file('#!/bin/sh\n', 0o755);
    expect(check(path)).toBe(path);
    expect(check('/bin/sh')).toMatch(/sh$/);
  });

  it.each([
    [0o775, 'writable by its group'],
    [0o757, 'writable by its group or by others'],
    [0o1777, 'writable by its group or by others'],
    [0o644, 'must be executable'],
  ])('with the mode %o is refused', (mode, message) => {
    expect(() => check(file('#!/bin/sh\n', mode))).toThrow(message);
  });

  it('is refused under a folder that others may write, and behind a link to such a file', () => {
    const open = join(folder, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    expect(() => check(file('#!/bin/sh\n', 0o755, open))).toThrow('a folder above it must not be writable');
    const link = join(folder, 'link');
    symlinkSync(file('#!/bin/sh\n', 0o777), link);
    expect(() => check(link)).toThrow('must not be writable');
  });

  it('is refused behind a link in a folder that others may write, also as a part of the way', () => {
    const open = join(folder, 'open-links');
    mkdirSync(open);
    symlinkSync('/bin/sh', join(open, 'program'));
    symlinkSync('/bin', join(open, 'programs'));
    for (const path of ['program', 'programs/sh', '../open-links/program']) expect(check(`${open}/${path}`)).toMatch(/sh$/);
    chmodSync(open, 0o777);
    for (const path of ['program', 'programs/sh', '../open-links/program'])
      expect(() => check(`${open}/${path}`), path).toThrow('a folder above it must not be writable');
  });

  it('is a regular file that exists, and a list needs no right to execute', () => {
    expect(() => check(folder)).toThrow('must be a regular file');
    expect(() => check(join(folder, 'absent'))).toThrow('cannot be opened (ENOENT)');
    const list = file('{}', 0o600);
    expect(requireOwnedFile(list, 'the list', 'read')).toBe(list);
  });

  // Only root may give a file to another account.
  it.skipIf(process.getuid?.() !== 0)('of another account is refused', async () => {
    const { chownSync, lchownSync } = await import('node:fs');
    const path = file('#!/bin/sh\n', 0o755);
    chownSync(path, 12_345, 12_345);
    expect(() => check(path)).toThrow('must belong to root or to the account of the service');
    const link = join(folder, 'link-of-another');
    symlinkSync('/bin/sh', link);
    lchownSync(link, 12_345, 12_345);
    expect(() => check(link)).toThrow('a link on the way to it must belong to root');
  });
});

it('the program of --root-command that others may change is not started', async () => {
  const marker = join(folder, 'started');
  const program = file(`#!/bin/sh\ntouch '${marker}'\n`, 0o777);
  await expect(commandWrapping([program]).wrap(new Uint8Array(32), 'ins_made_up')).rejects.toThrow('must not be writable');
  expect(() => readFileSync(marker)).toThrow('ENOENT');
});

const listing = (programs: object) => file(JSON.stringify({ programs }), 0o600);
const NOTHING = SecretValue.fromText('{"step":"test"}\n');

function programOf(script: string, more: object = {}): Program {
  const path = file(`#!/bin/sh\n${script}`, 0o700);
  return RotationPrograms.read(listing({ one: { path, tenants: ['acme'], ...more } })).find('one', 'acme') as Program;
}

const textOf = (secret: SecretValue | undefined) => secret?.reveal((bytes) => new TextDecoder().decode(bytes));
const told = (answer: ProgramAnswer) =>
  answer.kind === 'answered' ? ['answered', textOf(answer.output)] : [answer.kind, answer.cause];

describe('the programs of an operator', () => {
  it('are for the tenants that the list names', () => {
    const path = file('#!/bin/sh\n', 0o700);
    const programs = RotationPrograms.read(listing({ one: { path, tenants: ['acme'] }, all: { path, tenants: ['*'] } }));
    expect(['one', 'all', 'none'].map((name) => programs.find(name, 'other') !== undefined)).toEqual([false, true, false]);
    expect(programs.find('one', 'acme')).toBeDefined();
  });

  it.each([
    [{ one: { path: 'relative', tenants: ['a'] } }, '/programs/one/path: must be an absolute path'],
    [{ one: { path: '/bin/sh' } }, '/programs/one/tenants'],
    [{ one: { path: '/bin/sh', tenants: ['a'], environment: {} } }, '/programs/one'],
    [{ 'One!': { path: '/bin/sh', tenants: ['a'] } }, '/programs/One!'],
    [{ one: { path: '/bin/sh', tenants: ['a'], timeout_seconds: 3_600 } }, '/programs/one/timeout_seconds'],
    [{ one: { path: '/nowhere/at/all', tenants: ['a'] } }, 'the program one of --rotation-programs: cannot be opened'],
  ])('are listed by the rules: %j', (programs, message) => {
    expect(() => RotationPrograms.read(listing(programs))).toThrow(message);
  });

  it('are not read from a list that others may write, nor from text that is not JSON', () => {
    expect(() => RotationPrograms.read(file('{"programs":{}}', 0o666))).toThrow('must not be writable');
    expect(() => RotationPrograms.read(file('programs:', 0o600))).toThrow('must be JSON');
  });

  it('run at once up to a limit; a call beyond it is not sent, and one that ended makes room', async () => {
    const gate = join(folder, `gate-${++made}`);
    const path = file(`#!/bin/sh\nwhile [ ! -e '${gate}' ]; do sleep 0.05; done\necho done`, 0o700);
    const programs = RotationPrograms.read(listing({ one: { path, tenants: ['*'] }, two: { path, tenants: ['*'] } }));
    const ask = (name: string, tenant: string) => programs.find(name, tenant)?.ask(NOTHING) as Promise<ProgramAnswer>;
    const running = Array.from({ length: LIMITS.programsAtOnceMax }, (_, index) => ask('one', `tenant-${index}`));
    const beyond = ask('two', 'other');
    // The calls were made in one turn: only the one beyond the limit can end before the gate opens.
    const first = await Promise.race([...running, beyond]);
    writeFileSync(gate, '');
    expect(told(first)).toEqual(['not_sent', 'too_many_programs']);
    const ends = await Promise.all(running);
    expect(ends.map(told)).toEqual(running.map(() => ['answered', 'done\n']));
    expect(told(await ask('two', 'other'))).toEqual(['answered', 'done\n']);
  });

  it('get the message on standard input, and nothing of the environment', async () => {
    process.env['KEYTURN_MADE_UP'] = 'NotARealSecret7Qx';
    const program = programOf('cat; env; echo "arguments: $*"', { args: ['--region', 'eu'] });
    const [kind, output = ''] = told(await program.ask(SecretValue.fromText('{"value":"NotARealSecret8Zy"}\n')));
    expect(kind).toBe('answered');
    expect(output).toContain('{"value":"NotARealSecret8Zy"}');
    expect(output).toContain('arguments: --region eu');
    expect(output).not.toContain('NotARealSecret7Qx');
    const names = output.split('\n').flatMap((line) => /^([A-Z_]+)=/.exec(line)?.[1] ?? []);
    expect(names.filter((name) => !['PATH', 'LANG', 'PWD', 'OLDPWD', 'SHLVL', '_'].includes(name))).toEqual([]);
  });

  it.each([
    ['exits with another code', 'echo "{}"; exit 3', 'program_failed'],
    ['is killed', 'kill -9 $$', 'program_failed'],
    [
      'writes too much',
      'while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done',
      'program_answer_too_large',
    ],
    ['takes too long', 'sleep 60', 'program_timeout'],
  ])('that %s is a lost answer', async (_what, script, cause) => {
    expect(told(await programOf(script, { timeout_seconds: 1 }).ask(NOTHING))).toEqual(['lost', cause]);
  });

  it('that cannot be started, or that somebody may change by now, was not sent anything', async () => {
    const path = file('no interpreter, no binary', 0o700);
    const programs = RotationPrograms.read(listing({ one: { path, tenants: ['*'] } }));
    writeFileSync(path, '#!/nowhere/at/all\n');
    expect(told((await programs.find('one', 'a')?.ask(NOTHING)) as ProgramAnswer)).toEqual(['not_sent', 'program_not_started']);
    chmodSync(path, 0o777);
    expect(told((await programs.find('one', 'a')?.ask(NOTHING)) as ProgramAnswer)).toEqual(['not_sent', 'program_not_trusted']);
  });

  it('leaves no process behind, neither at the limit nor at a good end', async () => {
    for (const [script, kind] of [
      ['sleep 300 & echo $! > PIDS; sleep 300', 'lost'],
      ['sleep 300 & echo $! > PIDS; echo "{}"', 'answered'],
    ] as const) {
      const pids = join(folder, `pids-${++made}`);
      const answer = await programOf(script.replace('PIDS', pids), { timeout_seconds: 2 }).ask(NOTHING);
      expect(answer.kind).toBe(kind);
      const pid = Number(readFileSync(pids, 'utf8'));
      await expect.poll(() => isRunning(pid)).toBe(false);
    }
  });

  it('ends its group once, at its exit, and not again when the output is read', async () => {
    const kill = vi.spyOn(process, 'kill');
    const answer = await programOf('echo "{}"').ask(NOTHING);
    const groups = kill.mock.calls.filter(([pid]) => pid < 0);
    kill.mockRestore();
    expect([answer.kind, groups.length]).toEqual(['answered', 1]);
  });

  it('say on standard error what is kept for the journal, up to a limit', async () => {
    const answer = await programOf('echo "no such account" >&2; exit 1').ask(NOTHING);
    expect(answer.kind === 'lost' && textOf(answer.errors)).toBe('no such account\n');
  });
});

/** A process that ended and was not yet collected does not run. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
