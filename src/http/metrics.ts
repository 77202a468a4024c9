// Counts and durations of this process in the Prometheus text format. Labels are route shapes and codes, never names or ids of a tenant.
const BUCKETS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000];

interface Series {
  count: number;
  sumMs: number;
  readonly buckets: number[];
}

export interface Gauge {
  readonly name: string;
  readonly help: string;
  read(): number;
}

export class Metrics {
  /** By route, then by status: no text is made for each request. */
  readonly #requests = new Map<string, Map<number, Series>>();
  readonly #gauges: Gauge[] = [];
  readonly #counters = new Map<string, number>();

  /** One answered request. */
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

  /** Adds to a counter; `labels` in Prometheus form or empty. */
  count(name: string, labels = '', by = 1): void {
    const key = labels === '' ? name : `${name}{${labels}}`;
    this.#counters.set(key, (this.#counters.get(key) ?? 0) + by);
  }

  gauge(gauge: Gauge): void {
    this.#gauges.push(gauge);
  }

  text(): string {
    const lines: string[] = [
      '# HELP keyturn_http_request_duration_ms Time from the request to its durable answer.',
      '# TYPE keyturn_http_request_duration_ms histogram',
    ];
    for (const [route, byStatus] of this.#requests) {
      for (const [status, series] of byStatus) lines.push(...linesOf(`route="${route}",status="${status}"`, series));
    }
    for (const [key, value] of this.#counters) lines.push(`${key} ${value}`);
    for (const gauge of this.#gauges)
      lines.push(`# HELP ${gauge.name} ${gauge.help}`, `# TYPE ${gauge.name} gauge`, `${gauge.name} ${gauge.read()}`);
    return `${lines.join('\n')}\n`;
  }
}

function linesOf(labels: string, series: Series): string[] {
  return [
    ...BUCKETS_MS.map((bound, i) => `keyturn_http_request_duration_ms_bucket{${labels},le="${bound}"} ${series.buckets[i] ?? 0}`),
    `keyturn_http_request_duration_ms_bucket{${labels},le="+Inf"} ${series.count}`,
    `keyturn_http_request_duration_ms_sum{${labels}} ${series.sumMs}`,
    `keyturn_http_request_duration_ms_count{${labels}} ${series.count}`,
  ];
}
