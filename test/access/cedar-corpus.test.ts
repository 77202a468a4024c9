// Cedar's own integration tests through our evaluate(): same decisions where nothing errs, and a no wherever a policy errs (AZ-10).
// Set KEYTURN_FULL=1 for all 62,472 requests of the corpus; otherwise a fixed sample of its files and every file with an erring request.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type CedarEngine, type CedarRequest, evaluate } from '../../src/access/cedar.ts';
import { cedarEngine } from '../kit/cedar.ts';

const FOLDER = fileURLToPath(new URL('../../../shared/vectors/cedar/', import.meta.url));
const FULL = process.env['KEYTURN_FULL'] === '1';
/** Of the files without an erring request, one in this many runs by default. */
const SAMPLE_EVERY = 8;
const THERE = existsSync(`${FOLDER}corpus-tests.tar.gz`);
if (!THERE) console.warn('SKIPPED: the Cedar corpus and handwritten tests (vectors/cedar is absent)');

interface Uid {
  readonly type: string;
  readonly id: string;
}

interface Suite {
  readonly policies: string;
  readonly entities: string;
  readonly schema: string;
  readonly shouldValidate: boolean;
  readonly requests: readonly {
    readonly principal: Uid;
    readonly action: Uid;
    readonly resource: Uid;
    readonly context: Record<string, unknown>;
    readonly validateRequest: boolean;
    readonly decision: 'allow' | 'deny';
    readonly reason: readonly string[];
    readonly errors: readonly string[];
  }[];
}

interface Tally {
  requests: number;
  allowed: number;
  erring: number;
}

/** JSON whose integers past 2^53 stay exact, as BigInt, which the engine takes. */
function parseExact(text: string): unknown {
  const exact = (_key: string, value: unknown, { source }: { source: string }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) ? BigInt(source) : value;
  return JSON.parse(text, exact as Parameters<typeof JSON.parse>[1]);
}

/** The regular files of a ustar archive; only what this archive needs. */
function untar(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let at = 0; archive[at] !== 0 && at < archive.length; ) {
    const name = archive.toString('utf8', at, at + 100).replace(/\0.*$/s, '');
    const bytes = Number.parseInt(archive.toString('latin1', at + 124, at + 136), 8);
    if (archive[at + 156] === 0x30) files.set(name, archive.subarray(at + 512, at + 512 + bytes));
    at += 512 + Math.ceil(bytes / 512) * 512;
  }
  return files;
}

/** Runs every request of one suite; each must match, or be a failed deny when the suite says that a policy errs. */
function run(suite: Suite, text: (path: string) => string, tally: Tally): void {
  expect(cedarEngine.preparseSchema('corpus', text(suite.schema)).type, suite.schema).toBe('success');
  const policies = { staticPolicies: text(suite.policies) } as unknown as Parameters<CedarEngine['preparsePolicySet']>[1];
  expect(cedarEngine.preparsePolicySet('corpus', policies).type, suite.policies).toBe('success');
  const entities = parseExact(text(suite.entities))  as CedarRequest['entities'];
  for (const request of suite.requests) {
    const { principal, action, resource, context, validateRequest } = request;
    const evaluation = evaluate(cedarEngine, {
      principal,
      action,
      resource,
      context: context as Record<string, boolean>,
      validateRequest,
      preparsedSchemaName: 'corpus',
      preparsedPolicySetId: 'corpus',
      entities,
    });
    const errs = request.errors.length > 0;
    tally.requests++;
    if (request.decision === 'allow') tally.allowed++;
    if (errs) tally.erring++;
    const expected = errs
      ? { allow: false, policies: [], failed: true }
      : { allow: request.decision === 'allow', policies: [...request.reason].sort(), failed: false };
    const seen = { allow: evaluation.allow, policies: evaluation.policies, failed: evaluation.failed };
    // toEqual is slow 62,472 times; it is asked only when they differ, for its message.
    if (JSON.stringify(seen) !== JSON.stringify(expected))
      expect(seen, `${suite.policies} ${evaluation.errors.join()}`).toEqual(expected);
  }
}

describe.skipIf(!THERE)('the Cedar corpus', () => {
  const files = THERE ? untar(gunzipSync(readFileSync(`${FOLDER}corpus-tests.tar.gz`))) : new Map<string, Buffer>();
  const names = [...files.keys()].filter((name) => name.endsWith('.json') && !name.endsWith('.entities.json')).sort();
  const suites = names.map((name) => parseExact(files.get(name)?.toString('utf8') ?? '') as Suite);
  const text = (path: string) => files.get(path)?.toString('utf8') ?? expect.unreachable(path);
  const requests = suites.flatMap((suite) => suite.requests);
  const erring = suites.filter((suite) => suite.requests.some((request) => request.errors.length > 0));

  it('is whole', () => {
    expect(suites.length).toBe(7_809);
    expect(requests.length).toBe(62_472);
    expect(requests.filter((request) => request.decision === 'allow').length).toBe(37_232);
    expect(requests.filter((request) => request.errors.length > 0).length).toBe(3_782);
  });

  it('is denied wherever a policy errs, though Cedar allows some of these', { timeout: 120_000 }, () => {
    const tally = { requests: 0, allowed: 0, erring: 0 };
    for (const suite of erring) run(suite, text, tally);
    expect(tally.erring).toBe(3_782);
    const allowedByCedar = requests.filter((request) => request.errors.length > 0 && request.decision === 'allow').length;
    console.info(
      `${erring.length} files, ${tally.requests} requests, ${tally.erring} erring, of which Cedar alone allows ${allowedByCedar}`,
    );
    expect(allowedByCedar).toBeGreaterThan(0);
  });

  it('is decided as Cedar decides where nothing errs', { timeout: 600_000 }, () => {
    const quiet = suites.filter((suite) => suite.requests.every((request) => request.errors.length === 0));
    const chosen = FULL ? quiet : quiet.filter((_suite, index) => index % SAMPLE_EVERY === 0);
    if (!FULL) console.info(`SAMPLE: ${chosen.length} of ${quiet.length} files without errors (KEYTURN_FULL=1 runs all)`);
    const tally = { requests: 0, allowed: 0, erring: 0 };
    for (const suite of chosen) run(suite, text, tally);
    if ((globalThis as any).bad) for (const [k,v] of (globalThis as any).bad) console.info('BAD', k, v.length, v.slice(0,3));
    expect(tally.erring).toBe(0);
    expect(tally.requests).toBe(chosen.reduce((sum, suite) => sum + suite.requests.length, 0));
    expect(tally.allowed).toBeGreaterThan(tally.requests / 4);
  });
});

describe.skipIf(!THERE)('the handwritten Cedar tests', () => {
  it('are decided as Cedar decides', async () => {
    const { globSync } = await import('node:fs');
    const text = (path: string) => readFileSync(`${FOLDER}${path}`, 'utf8');
    const suites = globSync('tests/*/*.json', { cwd: FOLDER }).map((path) => parseExact(text(path)) as Suite);
    const tally = { requests: 0, allowed: 0, erring: 0 };
    for (const suite of suites) run(suite, text, tally);
    expect(tally).toEqual({ requests: 74, allowed: 38, erring: tally.erring });
  });
});
