// One closed-loop load on one URL: wrk where this machine has it, autocannon (in this process) where not.
import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import autocannon from 'autocannon';

export interface LoadRequest {
  readonly method: 'GET' | 'PUT';
  /** `{i}` becomes a random whole number below `pick`. */
  readonly path: string;
  readonly pick: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers other than 2xx, and broken connections. */
  readonly failures: number;
}

export interface LoadGenerator {
  readonly name: string;
  run(url: string, request: LoadRequest, connections: number, seconds: number): Promise<LoadResult>;
}

export function loadGenerator(scratch: string): LoadGenerator {
  const wrk = hasWrk();
  return wrk === undefined
    ? { name: 'autocannon (in the bench process)', run: runAutocannon }
    : { name: wrk, run: (url, request, connections, seconds) => runWrk(scratch, url, request, connections, seconds) };
}

function hasWrk(): string | undefined {
  try {
    execFileSync('wrk', ['--version'], { stdio: 'pipe' });
    return 'wrk';
  } catch (error) {
    // wrk prints its version and fails.
    const said = String((error as { stdout?: Buffer }).stdout ?? '');
    return /^wrk [^ ]*/.exec(said)?.[0];
  }
}

const run = promisify(execFile);

async function runWrk(scratch: string, url: string, request: LoadRequest, connections: number, seconds: number) {
  const script = join(scratch, 'load.lua');
  writeFileSync(script, luaOf(request));
  const flags = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url];
  const { stdout } = await run('wrk', flags);
  const line = stdout.split('\n').find((text) => text.startsWith('{'));
  if (line === undefined) throw new Error(`wrk said no result: ${stdout}`);
  const said = JSON.parse(line) as { requests: number; us: number; p50: number; p99: number; failures: number };
  const perSecond = said.requests / (said.us / 1e6);
  return { requests: said.requests, perSecond, p50Ms: said.p50 / 1e3, p99Ms: said.p99 / 1e3, failures: said.failures };
}

function luaOf(request: LoadRequest): string {
  const headers = Object.entries(request.headers).map(([name, value]) => `wrk.headers[${lua(name)}] = ${lua(value)}`);
  const body = request.body === undefined ? 'nil' : lua(request.body);
  return `math.randomseed(${Math.floor(Math.random() * 1e9)})
${headers.join('\n')}
local before, after = ${lua(request.path.split('{i}')[0] ?? '')}, ${lua(request.path.split('{i}')[1] ?? '')}
request = function()
  return wrk.format(${lua(request.method)}, ${request.path.includes('{i}') ? `before .. math.random(0, ${request.pick - 1}) .. after` : 'before'}, wrk.headers, ${body})
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"p50":%d,"p99":%d,"failures":%d}\\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.status + e.connect + e.read + e.write + e.timeout))
end
`;
}

/** A Lua string; what comes here has no control characters. */
function lua(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

async function runAutocannon(url: string, request: LoadRequest, connections: number, seconds: number): Promise<LoadResult> {
  const { method, headers, body } = request;
  const fresh = () => request.path.replace('{i}', String(Math.floor(Math.random() * request.pick)));
  const result = await autocannon({
    url,
    connections,
    duration: seconds,
    requests: [
      { method, headers, ...(body === undefined ? {} : { body }), setupRequest: (built) => ({ ...built, path: fresh() }) },
    ],
  });
  return {
    requests: result.requests.total,
    perSecond: result.requests.total / result.duration,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    failures: result.non2xx + result.errors,
  };
}
