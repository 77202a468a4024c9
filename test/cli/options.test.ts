// Messages of the command line name its options: every option is known to set a field of the API or none, and no field is told by its API name.
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { sayError } from '../../src/cli/exit.ts';
import { OPTION_FIELDS, optionOf } from '../../src/cli/option-names.ts';
import { program } from '../../src/cli/program.ts';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { openApiDocument } from '../../src/http/openapi.ts';
import { KeyturnProblem } from '../../src/sdk/problem.ts';

function commandsIn(command: Command, path = ''): [string, Command][] {
  const own: [string, Command][] = command.commands.length === 0 ? [[path.trim(), command]] : [];
  return [...own, ...command.commands.flatMap((child) => commandsIn(child, `${path} ${child.name()}`))];
}
const COMMANDS = commandsIn(program());

/** Commands that send no field to the API. */
const LOCAL = new Set(['init', 'serve', 'sandbox', 'doctor', 'run', 'completion']);
/** Options that change what the command does here, and set no field. */
const HERE = new Set([
  ...['--address', '--token-file', '--output', '--json', '--no-color'],
  ...['--all', '--follow', '--wait', '--timeout', '--field', '--raw', '--yes', '--key', '--checkpoint'],
  ...['--plan', '--where', '--continue', '--all-tenants'],
  ...['--from-file', '--value-file', '--json-value', '--strip-newline', '--expires-in-days', '--why'],
]);

const problem = (pointer: string | undefined, detail: string, code = 'invalid_request') =>
  new KeyturnProblem({ status: 400, code, detail, pointer });
const command = (path: string) => COMMANDS.find(([name]) => name === path)?.[1];

/** Names of the fields of bodies and queries and of the parameters of paths. */
function fieldNames(): ReadonlySet<string> {
  const names = new Set<string>();
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    const { properties, name } = node as { properties?: object; name?: unknown };
    for (const member of Object.keys(properties ?? {})) names.add(member);
    if (typeof name === 'string') names.add(name);
    for (const child of Object.values(node)) walk(child);
  };
  walk(openApiDocument(ALL_ROUTES, 'test'));
  return names;
}

describe('the options of the commands', () => {
  it('each set a known field of the API, or none', () => {
    expect(COMMANDS.length).toBeGreaterThan(40);
    const used = new Set<string>();
    for (const [path, { options }] of COMMANDS.filter(([name]) => !LOCAL.has(name)))
      for (const { long } of options) {
        used.add(long ?? '');
        expect(long !== undefined && (HERE.has(long) || long in OPTION_FIELDS), `${path} ${long}`).toBe(true);
      }
    for (const long of Object.keys(OPTION_FIELDS)) expect(used, long).toContain(long);
    for (const long of HERE) expect(OPTION_FIELDS, long).not.toHaveProperty(long);
  });

  it('name fields that the API has', () => {
    const names = fieldNames();
    for (const [long, { pointers }] of Object.entries(OPTION_FIELDS))
      for (const pointer of pointers) {
        const [first = '', ...below] = pointer.slice(1).split('/');
        // The fields of settings and values depend on the connector and the kind.
        const wanted = first === 'config' || first === 'value' ? first : (below.at(-1) ?? first);
        expect(names, `${long} ${pointer}`).toContain(wanted);
      }
  });

  it('stand in every message in place of their fields', () => {
    let told = 0;
    for (const [path, one] of COMMANDS.filter(([name]) => !LOCAL.has(name)))
      for (const { long = '' } of one.options)
        for (const pointer of OPTION_FIELDS[long]?.pointers ?? []) {
          const said = sayError(problem(pointer, 'the field must be at most 9'), one).lines.join('\n');
          const named = optionOf(one, pointer)?.option;
          expect(said, path).toContain(`error: the option ${named?.long} must be at most 9`);
          expect(said, path).toContain(`hint:  ${named?.flags}: `);
          expect(said, path).not.toContain(` at ${pointer}`);
          told++;
        }
    expect(told).toBeGreaterThan(80);
  });
});

describe('a message', () => {
  const first = (error: KeyturnProblem, path: string) => sayError(error, command(path)).lines[0];

  it.each([
    ['user create', '/expires_in', 'the field must be at most 2592000', 'the option --expires-in must be at most 30d'],
    ['user create', '/expires_in', 'the field must be at least 90', 'the option --expires-in must be at least 90s'],
    [
      'credential delete',
      '?recovery_window_days',
      'the field must be at least 7',
      'the option --recovery-window must be at least 7d',
    ],
    ['user create', '/grants/0/role', 'the field must be one of "owner"', 'the option --grant must be one of "owner"'],
    [
      'connect',
      '/config/workflows',
      'the field must list at least one workflow',
      'the option --workflow must list at least one workflow',
    ],
    [
      'connect',
      '/config/workflows',
      'the field is missing: list each, e.g. [{"name": "x"}]',
      'the option --workflow is missing: list each',
    ],
    [
      'connect',
      '/config/absolute_limit_days',
      'the field is unknown',
      'the field is unknown at /absolute_limit_days of --config-file',
    ],
    ['audit tail', '?limit', 'the field must be at most 500', 'the option --lines must be at most 500'],
  ])('of %s about %s names its option', (path, pointer, detail, expected) => {
    expect(first(problem(pointer, detail), path)).toBe(`error: ${expected} (invalid_request)`);
  });

  it('names the option in a sentence about another field', () => {
    const detail = 'a deleted credential of this name is in its recovery window: restore it, or put with replace_deleted';
    expect(first(problem(undefined, detail, 'conflict'), 'credential put')).toContain('or put with --replace-deleted (conflict)');
  });

  it('keeps the place of a field that no option of the command sets', () => {
    expect(first(problem('/labels', 'the field is unknown'), 'user create')).toBe(
      'error: the field is unknown at /labels (invalid_request)',
    );
  });

  it('of a failed integrity check names the command that finds the damage', () => {
    const error = problem(undefined, 'something went wrong', 'integrity');
    expect(sayError(error, command('credential show')).lines[1]).toContain('keyturn doctor --deep');
  });

  it('of a refused login does not tell to log in', () => {
    const { lines } = sayError(
      problem(undefined, 'the token is missing, unknown, expired or revoked', 'unauthenticated'),
      command('login'),
    );
    expect(lines[1]).toBe('hint:  ask an admin for a new enrolment token: each is accepted once, and only until it expires');
  });
});
