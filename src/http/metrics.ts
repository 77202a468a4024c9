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
  readonly #requests = new Map<string, Series>();
  readonly #gauges: Gauge[] = [];
  readonly #counters = new Map<string, number>();

  /** One answered request. */
  observe(route: string, status: number, elapsedMs: number): void {
    const labels = `route="${route}",status="${status}"`;
    let series = this.#requests.get(labels);
    if (series === undefined) {
      series = { count: 0, sumMs: 0, buckets: BUCKETS_MS.map(() => 0) };
      this.#requests.set(labels, series);
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
    for (const [labels, series] of this.#requests) {
      BUCKETS_MS.forEach((bound, i) => {
        lines.push(`keyturn_http_request_duration_ms_bucket{${labels},le="${bound}"} ${series.buckets[i] ?? 0}`);
      });
      lines.push(`keyturn_http_request_duration_ms_bucket{${labels},le="+Inf"} ${series.count}`);
      lines.push(`keyturn_http_request_duration_ms_sum{${labels}} ${series.sumMs}`);
      lines.push(`keyturn_http_request_duration_ms_count{${labels}} ${series.count}`);
    }
    for (const [key, value] of this.#counters) lines.push(`${key} ${value}`);
    for (const gauge of this.#gauges)
      lines.push(`# HELP ${gauge.name} ${gauge.help}`, `# TYPE ${gauge.name} gauge`, `${gauge.name} ${gauge.read()}`);
    return `${lines.join('\n')}\n`;
  }
}
