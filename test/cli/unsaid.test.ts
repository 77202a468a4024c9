// No command repeats a secret on standard error, whatever fails: every command, against servers that echo what they were sent.
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hold, withoutSecrets } from '../../src/cli/unsaid.ts';
import { CommandLine, type Finished } from '../kit/command.ts';

const TOKEN = 'kt_usr_not-a-real-secret-TOKEN1';
const TYPED = 'not-a-real-secret-TYPED2';
const FILED = 'not-a-real-secret-FILED3';
const READ = 'not-a-real-secret-READ4';
const CANARIES = [TOKEN, TYPED, FILED, READ];
const COMMANDS = join(import.meta.dirname, '../../src/cli/commands');
/** Long-running; what `serve` reads is covered below, the sandbox reads nothing. */
const NOT_WALKED = new Set(['serve', 'sandbox']);

type Behaviour = (request: IncomingMessage, body: string, answer: ServerResponse) => void;

/** Says what it was sent, in every place an answer has. */
const echoing: Behaviour = (request, body, answer) => {
  const detail = `no: ${request.headers.authorization} ${body}`;
  answer.writeHead(400, { 'content-type': 'application/problem+json' });
  answer.end(JSON.stringify({ code: 'invalid_request', detail, pointer: `/${detail}`, request_id: detail, since: detail }));
};
/** Well, but in no form that a client can read: its parser would quote it. */
const babbling: Behaviour = (request, body, answer) => {
  answer.writeHead(200, { 'content-type': 'application/json' });
  answer.end(`${request.headers.authorization} ${body}`);
};
/** JSON, and nothing that was asked for. */
const empty: Behaviour = (_request, _body, answer) => {
  answer.writeHead(200, { 'content-type': 'application/json' });
  answer.end('{}');
};

const babblingOrEmpty: Behaviour = (request, body, answer) =>
  ((request.url ?? '').length % 2 === 0 ? babbling : empty)(request, body, answer);

const folder = mkdtempSync(join(tmpdir(), 'keyturn-unsaid-'));
const file = join(folder, 'secret');
const cli = new CommandLine();
let server: Server;
let behaviour: Behaviour = echoing;
let address = '';

beforeAll(async () => {
  writeFileSync(file, `{"alg":"none","x":"${FILED}"}`, { mode: 0o600 });
  server = createServer((request, answer) => {
    let body = '';
    request.on('data', (part: Buffer) => {
      body += part.toString();
    });
    request.on('end', () => behaviour(request, body, answer));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  for (const path of [folder, cli.config]) rmSync(path, { recursive: true, force: true });
});

/** Every command that acts, as it is typed: with all required arguments and options, and every option that names a file. */
async function commandLines(): Promise<string[][]> {
  const modules = await Promise.all(readdirSync(COMMANDS).map((name) => import(join(COMMANDS, name)) as Promise<object>));
  const makers = modules.flatMap((module) => Object.entries(module)).filter(([name]) => name.endsWith('Command'));
  const roots = makers.map(([, make]) => (make as () => Command)()).filter((root) => !NOT_WALKED.has(root.name()));
  const typed: string[][] = [];
  const visit = (command: Command, before: readonly string[]): void => {
    const path = [...before, command.name()];
    for (const child of command.commands) visit(child, path);
    if (command.commands.length > 0) return;
    const options = command.options.filter((option) => option.mandatory || /file/.test(option.long ?? ''));
    const flags = options.flatMap((option) => [option.long ?? '', valueFor(option.long ?? '', option.argChoices)]);
    const places = command.registeredArguments.filter((argument) => argument.required).map(() => 'word');
    typed.push([...path, ...flags, ...(path[0] === 'run' ? ['--env', 'KEY=word', '--', process.execPath, '-e', '0'] : places)]);
  };
  for (const root of roots) visit(root, []);
  return typed;
}

function valueFor(long: string, choices: readonly string[] | undefined): string {
  if (/file/.test(long)) return file;
  return choices?.at(-1) ?? 'word';
}

function run(args: readonly string[], environment: Record<string, string> = {}): Promise<Finished> {
  const typed = `{"refresh_token":"${TYPED}","client_secret":"${TYPED}","key":"${TYPED}"}`;
  return cli.run(args, typed, {
    KEYTURN_ADDR: address,
    KEYTURN_TENANT: 'acme',
    KEYTURN_ENVIRONMENT: 'staging',
    KEYTURN_TOKEN: TOKEN,
    KEYTURN_MAX_RETRIES: '0',
    KEYTURN_CLIENT_TIMEOUT: '5',
    ...environment,
  });
}

function expectUnsaid(args: readonly string[], text: string): void {
  for (const canary of CANARIES) expect(text, args.join(' ')).not.toContain(canary);
}

describe('every command', () => {
  it.each([
    ['repeats them in its refusal', echoing],
    ['answers what it cannot read', babblingOrEmpty],
  ])('keeps the secrets it was given to itself when the server %s', { timeout: 120_000 }, async (_name, chosen) => {
    behaviour = chosen;
    const waiting = await commandLines();
    expect(waiting.length).toBeGreaterThan(40);
    let failed = 0;
    const work = async () => {
      for (let args = waiting.pop(); args !== undefined; args = waiting.pop()) {
        const { code, stdout, stderr } = await run(args);
        if (code !== 0) failed += 1;
        expectUnsaid(args, stderr);
        if (chosen === echoing) expectUnsaid(args, stdout);
        // A stack or message of the engine or of a library is not said, only its name.
        expect(stderr, args.join(' ')).not.toMatch(
          /SyntaxError:|TypeError:|Unexpected token|Cannot read prop|node:internal.*\n.*\^/,
        );
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() + 1 }, work));
    expect(failed).toBeGreaterThan(chosen === echoing ? 35 : 20);
  });
});

describe('keyturn run', () => {
  it.each([
    ['a NUL', `${READ}\0tail`, /KEY cannot be set: .*NUL/],
    ['a field that is none', undefined, /no field/],
  ])('names the variable, never the value, of a secret with %s', async (_name, value, says) => {
    behaviour = (_request, _body, answer) => {
      answer.writeHead(200, { 'content-type': 'application/json' });
      answer.end(JSON.stringify({ name: 'word', version: 1, value: { key: value ?? READ }, expires_at: null }));
    };
    const flag = value === undefined ? 'KEY=word:other' : 'KEY=word';
    const args = ['run', '--env', flag, '--', process.execPath, '-e', '0'];
    const { code, stdout, stderr } = await run(args);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(says);
    expectUnsaid(args, stdout + stderr);
  });

  it('says of a program that cannot be started no more than its name', async () => {
    behaviour = (_request, _body, answer) => {
      answer.writeHead(200, { 'content-type': 'application/json' });
      answer.end(JSON.stringify({ name: 'word', version: 1, value: { key: READ }, expires_at: null }));
    };
    for (const program of ['/no/such/program', folder]) {
      const args = ['run', '--env', 'KEY=word', '--', program, READ];
      const { code, stderr } = await run(args);
      expect([code, stderr.includes(program)]).toEqual([127, true]);
      expectUnsaid(args, stderr);
    }
  });

  it('gives the program the options of the shell back that the launcher kept from keyturn itself', async () => {
    behaviour = (_request, _body, answer) => {
      answer.writeHead(200, { 'content-type': 'application/json' });
      answer.end(JSON.stringify({ name: 'word', version: 1, value: { key: READ }, expires_at: null }));
    };
    const script = 'console.log(process.env.NODE_OPTIONS, process.env.KEYTURN_CALLER_ENVIRONMENT)';
    const kept = JSON.stringify({ NODE_OPTIONS: '--max-http-header-size=9000' });
    const args = ['run', '--env', 'KEY=word', '--', process.execPath, '-e', script];
    expect((await run(args, { KEYTURN_CALLER_ENVIRONMENT: kept })).stdout).toBe('--max-http-header-size=9000 undefined\n');
  });
});

describe('what was typed on the command line by mistake', () => {
  it.each([
    [['credential', 'put', 'word', '--kind', 'api_key', `--api_key=${READ}`]],
    [['credential', 'put', 'word', '--kind', READ]],
    [['credential', 'put', 'word', READ, '--kind', 'api_key']],
    [['credential', READ]],
    [[READ]],
    [[`--${READ}`]],
    [['login', READ]],
  ])('is not repeated (%j)', async (args) => {
    const { code, stdout, stderr } = await run(args);
    expect(code).toBe(2);
    expect(stderr).toContain('error:');
    expectUnsaid(args, stdout + stderr);
  });

  it('is still named where it is one of our words', async () => {
    expect((await run(['credential', 'putt'])).stderr).toContain("'putt'");
    expect((await run(['whoami', '--jsn'])).stderr).toContain("'--jsn'");
  });
});

describe('a file with a secret', () => {
  const uses: [string, string[], Record<string, string>][] = [
    ['--token-file', ['whoami', '--token-file', file], { KEYTURN_TOKEN: '' }],
    ['KEYTURN_TOKEN_FILE', ['whoami'], { KEYTURN_TOKEN_FILE: file }],
    [
      'KEYTURN_CLIENT_SECRET_FILE',
      ['whoami'],
      { KEYTURN_CLIENT_ID: 'word', KEYTURN_CLIENT_SECRET_FILE: file, KEYTURN_TOKEN: '' },
    ],
    [
      'KEYTURN_CLIENT_KEY_FILE',
      ['credential', 'get', 'word'],
      { KEYTURN_CLIENT_ID: 'word', KEYTURN_CLIENT_KEY_FILE: file, KEYTURN_TOKEN: '' },
    ],
    ['--secret-file', ['init', '--secret-file', file], {}],
    ['--client-secret-file', ['connect', 'word', '--name', 'word', '--client-id', 'word', '--client-secret-file', file], {}],
    ['--client-key-file', ['connect', 'word', '--name', 'word', '--client-id', 'word', '--client-key-file', file], {}],
    ['--passphrase-file', ['serve', '--port', '0', '--data', join(folder, 'data'), '--passphrase-file', file], {}],
    ['--tls-key', ['serve', '--port', '0', '--data', join(folder, 'tls-data'), '--tls-cert', file, '--tls-key', file], {}],
  ];
  const MODES = [0o644, 0o666, 0o620];
  it.each(uses.map(([what, args, env], i) => [what, MODES[i % MODES.length] ?? 0, args, env] as const))(
    'given by %s is refused with mode %o, which is named',
    async (what, mode, args, env) => {
      chmodSync(file, mode);
      // A connector and a credential to go on from; nothing else is asked.
      behaviour = (_request, _body, answer) => {
        answer.writeHead(404, { 'content-type': 'application/problem+json' });
        answer.end(JSON.stringify({ code: 'not_found', detail: 'no such thing' }));
      };
      if (what.startsWith('--client')) behaviour = connectorKnown;
      const { code, stdout, stderr } = await run(args, env);
      chmodSync(file, 0o600);
      expect(code).not.toBe(0);
      expect(stderr).toContain(`has mode 0${mode.toString(8)}`);
      expect(stderr).toContain('chmod 600');
      expectUnsaid(args, stdout + stderr);
    },
  );

  it('is read when only its owner, or its group too, may read it', async () => {
    behaviour = echoing;
    for (const mode of [0o400, 0o440]) {
      chmodSync(file, mode);
      expect((await run(['whoami', '--token-file', file])).stderr).toContain('invalid_request');
    }
    chmodSync(file, 0o600);
  });

  it('whose value goes into the vault is read all the same, with a warning', async () => {
    behaviour = echoing;
    chmodSync(file, 0o644);
    const { stderr } = await run(['credential', 'put', 'word', '--kind', 'json', '--from-file', file]);
    chmodSync(file, 0o600);
    expect(stderr).toMatch(/warning: the file .* has mode 0644[\s\S]*invalid_request/);
  });
});

const connectorKnown: Behaviour = (request, _body, answer) => {
  const found = /connectors/.test(request.url ?? '');
  answer.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
  answer.end(
    JSON.stringify(
      found
        ? { items: [{ id: 'word', name: 'Word', kind: 'oauth2' }], id: 'word' }
        : { code: 'not_found', detail: 'no such thing' },
    ),
  );
};

describe('held secrets', () => {
  it('are taken out of a text whole, in parts of JSON, and line by line; short words are left', () => {
    hold(`first-not-a-real-one\nsecond-not-a-real-one`);
    hold('{"a":{"b":"third-not-a-real-one"},"c":"short"}');
    expect(withoutSecrets('x first-not-a-real-one second-not-a-real-one third-not-a-real-one short')).toBe(
      'x [secret] [secret] [secret] short',
    );
  });
});
