// Metrics of this process in the Prometheus text format 0.0.4 and in OpenMetrics 1.0, in base units. Labels are route patterns, operations
// and codes: they must never be names or ids of a tenant, nor values that a caller chose.
const BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000];
const BUCKET_LABELS = [...BUCKETS_MS.map((ms) => numberText(ms / 1_000)), '+Inf'];
const REQUESTS = 'keyturn_http_request_duration_seconds';

export const METRICS_TYPES = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
} as const;
export type MetricsFormat = keyof typeof METRICS_TYPES;

export type Labels = Readonly<Record<string, string>>;

interface Series {
  count: number;
  sumMs: number;
  readonly buckets: number[];
}

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

/** A metric family that is read at each scrape. */
export interface Family {
  /** Ends in its unit (`_seconds`, `_bytes`); a counter's name is without `_total`. */
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  read(): number | readonly Sample[];
}

export class Metrics {
  /** By route, then by status: a combined key would allocate a string for each request. */
  readonly #requests = new Map<string, Map<number, Series>>();
  readonly #families: Family[] = [];
  readonly #counts = new Map<
    string,
    { readonly help: string; readonly samples: Map<string, { labels: Labels; value: number }> }
  >();

  readonly #errors = this.counter(
    'keyturn_errors',
    'Requests that failed, by error code. Alert on storage_*, integrity and internal.',
  );

  /** Counts one failed request. */
  failed(code: string): void {
    this.#errors({ code });
  }

  /** Records one answered request. */
  observe(route: string, status: number, elapsedMs: number): void {
    let byStatus = this.#requests.get(route);
    if (byStatus === undefined) {
      byStatus = new Map();
      this.#requests.set(route, byStatus);
    }
    let series = byStatus.get(status);
    if (series === undefined) {
      series = { count: 0, sumMs: 0, buckets: BUCKETS_MS.map(() => 0) };
      byStatus.set(status, series);
    }
    series.count += 1;
    series.sumMs += elapsedMs;
    for (let i = BUCKETS_MS.length - 1; i >= 0 && elapsedMs <= (BUCKETS_MS[i] ?? 0); i--)
      series.buckets[i] = (series.buckets[i] ?? 0) + 1;
  }

  /** Adds a counter and returns its increment function. A sample appears with its first increment. `name` is without `_total`. */
  counter(name: string, help: string): (labels: Labels) => void {
    const samples = new Map<string, { labels: Labels; value: number }>();
    this.#counts.set(name, { help, samples });
    return (labels) => {
      const key = Object.values(labels).join('\n');
      const known = samples.get(key);
      if (known === undefined) samples.set(key, { labels, value: 1 });
      else known.value += 1;
    };
  }

  family(family: Family): void {
    this.#families.push(family);
  }

  text(format: MetricsFormat = 'prometheus'): string {
    const lines = header(REQUESTS, 'Time from receiving a request to its durable answer.', 'histogram', format);
    for (const [route, byStatus] of this.#requests)
      for (const [status, series] of byStatus) lines.push(...histogramLines({ route, status: String(status) }, series));
    for (const [name, { help, samples }] of this.#counts)
      lines.push(...familyLines({ name, help, type: 'counter', read: () => [...samples.values()] }, format));
    for (const family of this.#families) lines.push(...familyLines(family, format));
    if (format === 'openmetrics') lines.push('# EOF');
    return `${lines.join('\n')}\n`;
  }
}

/** OpenMetrics only if Accept names it; the default is the Prometheus format. */
export function formatFor(accept: string | undefined): MetricsFormat {
  return accept !== undefined && /\bapplication\/openmetrics-text\b/i.test(accept) ? 'openmetrics' : 'prometheus';
}

type Type = Family['type'] | 'histogram';

/** The family name of a counter is without `_total` in OpenMetrics and with it in the Prometheus format. */
function header(name: string, help: string, type: Type, format: MetricsFormat): string[] {
  const family = type === 'counter' && format === 'prometheus' ? `${name}_total` : name;
  const unit = /_(seconds|bytes)$/.exec(name)?.[1];
  return [
    `# TYPE ${family} ${type}`,
    ...(format === 'openmetrics' && unit !== undefined ? [`# UNIT ${family} ${unit}`] : []),
    `# HELP ${family} ${escaped(help)}`,
  ];
}

function familyLines(family: Family, format: MetricsFormat): string[] {
  const { name, help, type } = family;
  const read = family.read();
  const samples: readonly Sample[] = typeof read === 'number' ? [{ value: read }] : read;
  const sampleName = type === 'counter' ? `${name}_total` : name;
  return [...header(name, help, type, format), ...samples.map(({ labels, value }) => sampleLine(sampleName, labels, value))];
}

function histogramLines(labels: Labels, { buckets, count, sumMs }: Series): string[] {
  const counts = [...buckets, count];
  return [
    ...counts.map((value, i) => sampleLine(`${REQUESTS}_bucket`, { ...labels, le: BUCKET_LABELS[i] ?? '+Inf' }, value)),
    sampleLine(`${REQUESTS}_sum`, labels, sumMs / 1_000),
    sampleLine(`${REQUESTS}_count`, labels, count),
  ];
}

function sampleLine(name: string, labels: Labels = {}, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text).replaceAll('"', '\\"')}"`);
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${Number.isNaN(value) ? 'NaN' : value}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

/** OpenMetrics 1.0, "Considerations: Canonical Numbers": a whole number ends in `.0`. */
function numberText(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
