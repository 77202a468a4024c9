// The metrics as a scraper reads them: both text formats line by line, base units, and the figures an operator alerts on.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatFor, METRICS_TYPES, Metrics } from '../../src/http/metrics.ts';
import { apiKey, at, must } from '../conformance/world.ts';
import { type Attacked, attacked } from '../kit/attacked.ts';

interface Family {
  readonly type: string;
  readonly unit: string | undefined;
  readonly samples: { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|[+-]Inf)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"/g;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  counter: ['_total'],
  gauge: [''],
  histogram: ['_bucket', '_sum', '_count'],
};

/** As OpenMetrics 1.0 and the text format 0.0.4 have it. @throws at the first line that is not */
function read(text: string, openmetrics: boolean): Map<string, Family> {
  const families = new Map<string, Family>();
  if (!text.endsWith('\n')) throw new Error('no line break at the end');
  const lines = text.slice(0, -1).split('\n');
  if (openmetrics && lines.pop() !== '# EOF') throw new Error('no # EOF at the very end');
  let current = '';
  for (const line of lines) {
    const [, word, name = '', rest = ''] = /^# (TYPE|UNIT|HELP) (\S+) (.*)$/.exec(line) ?? [];
    if (word === 'TYPE') {
      if (families.has(name)) throw new Error(`${name} twice`);
      if (SUFFIXES[rest] === undefined) throw new Error(`type ${rest}`);
      families.set(name, { type: rest, unit: undefined, samples: [] });
      current = name;
      continue;
    }
    const family = families.get(current);
    if (family === undefined) throw new Error(`before any family: ${line}`);
    if (word === 'UNIT') families.set(current, { ...family, unit: rest });
    if (word !== undefined) {
      if (name !== current || family.samples.length > 0) throw new Error(`out of place: ${line}`);
      continue;
    }
    const sample = SAMPLE.exec(line);
    if (sample === null) throw new Error(`not a sample: ${line}`);
    const base = openmetrics || family.type !== 'counter' ? current : current.replace(/_total$/, '');
    if (!SUFFIXES[family.type]?.some((suffix) => sample[1] === base + suffix)) throw new Error(`not of ${current}: ${line}`);
    const labels = Object.fromEntries([...(sample[2] ?? '').matchAll(LABEL)].map((pair) => [pair[1], pair[2]]));
    family.samples.push({ name: sample[1] as string, labels, value: Number(sample[3]?.replace('Inf', 'Infinity')) });
  }
  return families;
}

describe('both formats', () => {
  const metrics = new Metrics();
  metrics.observe('GET /v1/x', 200, 3);
  metrics.observe('GET /v1/x', 200, 7_000);
  metrics.observe('GET /"odd"\\\n', 500, 0.5);
  metrics.failed('not_found');
  metrics.family({ name: 'keyturn_test_bytes', help: 'with a \\ and a\nbreak', type: 'gauge', read: () => 5 });
  metrics.family({ name: 'keyturn_test', help: 'counted', type: 'counter', read: () => [{ labels: { code: 'a' }, value: 2 }] });

  it.each([true, false])('are read line by line (OpenMetrics: %s), with histograms that add up', (openmetrics) => {
    const families = read(metrics.text(openmetrics ? 'openmetrics' : 'prometheus'), openmetrics);
    const requests = families.get('keyturn_http_request_duration_seconds');
    expect(requests?.type).toBe('histogram');
    const of = (suffix: string) =>
      requests?.samples.filter(({ name, labels }) => name.endsWith(suffix) && labels['status'] === '200') ?? [];
    const buckets = of('_bucket');
    expect(buckets.map(({ labels }) => labels['le'])).toEqual([
      '0.001',
      '0.002',
      '0.005',
      '0.01',
      '0.025',
      '0.05',
      '0.1',
      '0.25',
      '1.0',
      '5.0',
      '+Inf',
    ]);
    expect(buckets.map(({ value }) => value)).toEqual([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
    expect([of('_count')[0]?.value, of('_sum')[0]?.value]).toEqual([2, 7.003]);
    expect(families.get(openmetrics ? 'keyturn_test' : 'keyturn_test_total')?.samples).toEqual([
      { name: 'keyturn_test_total', labels: { code: 'a' }, value: 2 },
    ]);
    expect(families.get('keyturn_test_bytes')?.unit).toBe(openmetrics ? 'bytes' : undefined);
    expect(requests?.unit).toBe(openmetrics ? 'seconds' : undefined);
  });

  it('are chosen by Accept, and only OpenMetrics ends with # EOF', () => {
    const prometheus = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1';
    expect([formatFor(prometheus), formatFor('text/plain'), formatFor('*/*'), formatFor(undefined)]).toEqual([
      'openmetrics',
      'prometheus',
      'prometheus',
      'prometheus',
    ]);
    expect(metrics.text('prometheus')).not.toContain('# EOF');
  });
});

describe('a running service', () => {
  let world: Attacked;
  beforeAll(async () => {
    world = await attacked();
    await must(world.call('PUT', at('acme', 'a'), { token: world.owner, body: apiKey() }), 201);
    await world.call('GET', '/v1/users', { token: 'kt_usr_wrong' });
  });
  afterAll(() => world.stop());
  const scrape = (accept?: string) =>
    world.call('GET', '/metrics', { token: world.auditor, headers: accept === undefined ? {} : { accept } });

  it('tells what an operator alerts on, in base units, without any name of a tenant', async () => {
    const reply = await must(scrape('application/openmetrics-text'), 200);
    expect(reply.headers.get('content-type')).toBe(METRICS_TYPES.openmetrics);
    const families = read(reply.text, true);
    for (const name of [
      'keyturn_http_request_duration_seconds',
      'keyturn_events',
      'keyturn_errors',
      'keyturn_open_tenants',
      'keyturn_tenants_failing',
      'keyturn_due_work_lag_seconds',
      'keyturn_scheduler_tick_age_seconds',
      'keyturn_clock_steady',
      'keyturn_clock_ahead_seconds',
      'keyturn_grants_needing_consent',
      'keyturn_webhook_deliveries_waiting',
      'keyturn_witness_failing',
      'keyturn_witness_age_seconds',
      'keyturn_decision_failures',
      'keyturn_connections',
      'keyturn_event_loop_delay_seconds',
      'process_resident_memory_bytes',
    ])
      expect([...families.keys()], name).toContain(name);
    const value = (family: string, labels: Readonly<Record<string, string>> = {}) =>
      families.get(family)?.samples.find((one) => Object.entries(labels).every(([label, text]) => one.labels[label] === text))
        ?.value;
    expect(value('keyturn_events', { action: 'credential.put', outcome: 'success' })).toBe(1);
    expect(value('keyturn_events', { action: 'authentication', outcome: 'denied' })).toBeGreaterThan(0);
    expect(value('keyturn_errors', { code: 'unauthenticated' })).toBeGreaterThan(0);
    expect(value('keyturn_open_tenants')).toBe(2);
    expect(value('keyturn_scheduler_tick_age_seconds')).toBeLessThan(15);
    expect(value('keyturn_witness_failing')).toBe(0);
    expect(value('keyturn_clock_steady')).toBe(0);
    expect(value('keyturn_clock_ahead_seconds')).toBeCloseTo(0, 1);
    expect(value('keyturn_connections')).toBeGreaterThan(0);
    for (const [name, { samples }] of families) {
      expect(name).not.toMatch(/_(ms|milliseconds|kb|mb|percent|minutes)$/);
      for (const { labels } of samples) expect(Object.values(labels).join(' ')).not.toMatch(/acme|globex|ten_/);
    }
    for (const name of [world.acme.id, world.globex.id, 'acme', 'globex']) expect(reply.text).not.toContain(name);
    const plain = await must(scrape(), 200);
    expect(plain.headers.get('content-type')).toBe(METRICS_TYPES.prometheus);
    expect(read(plain.text, false).size).toBe(families.size);
  });
});
