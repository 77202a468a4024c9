// Metrics of a Node process, in addition to those of requests; docs/operations.md lists them. It must never name a tenant.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Authorizer } from '../access/authorizer.ts';
import type { SteadyClock } from '../base/steady-clock.ts';
import type { Lookup } from '../cell/access.ts';
import type { Labels, Metrics, Sample } from '../http/metrics.ts';
import type { TenantView } from '../vault/tenant-job.ts';
import type { NodeHealth, WatchedWitness } from './health.ts';
import type { ScrubRounds } from './scrub-rounds.ts';
import type { NodeTenants } from './tenants.ts';

const NANOSECONDS = 1e9;

export interface Measured {
  readonly tenants: NodeTenants;
  readonly authorizer: Authorizer;
  readonly witness: WatchedWitness;
  readonly health: NodeHealth;
  readonly clock: SteadyClock;
  readonly scrubs: ScrubRounds;
  /** The number of open connections. */
  readonly connections: () => number;
}

/** Counts audit events by operation and outcome. */
export function eventCounter(metrics: Metrics): (action: string, outcome: string) => void {
  const count = metrics.counter(
    'keyturn_events',
    'Audit events of all logs since the start: credential.rotate counts refreshes, webhook.deliver deliveries, authentication rejected tokens.',
  );
  const labels = new Map<string, Labels>();
  return (action, outcome) => {
    const key = `${action}\n${outcome}`;
    let known = labels.get(key);
    if (known === undefined) {
      known = { action, outcome };
      labels.set(key, known);
    }
    count(known);
  };
}

export function measure(metrics: Metrics, measured: Measured): void {
  const { tenants, authorizer, witness, health, clock, scrubs } = measured;
  const gauge = (name: string, help: string, read: () => number | readonly Sample[]) =>
    metrics.family({ name, help, type: 'gauge', read });
  const counter = (name: string, help: string, read: () => number) => metrics.family({ name, help, type: 'counter', read });

  gauge('keyturn_open_tenants', 'Tenant cells open in this process.', () => tenants.size);
  gauge('keyturn_tenants_failing', 'Tenants that cannot be served or cannot store data, by error code. Alert if above 0.', () =>
    tally(tenants.troubles().map(({ code }) => code)),
  );
  gauge(
    'keyturn_due_work_lag_seconds',
    'Waiting time of the oldest due work; grows if refreshes are late.',
    () => tenants.dueLagMs(clock.now()) / 1_000,
  );
  gauge(
    'keyturn_scheduler_tick_age_seconds',
    'Time since the last run of the scheduler. Alert if above 15.',
    () => health.sinceTickMs / 1_000,
  );
  measureClock(gauge, clock);
  gauge('keyturn_grants_needing_consent', 'Grants of open tenants that have ended and need a person.', () =>
    sum(tenants, ({ credentials }, lookup) => credentials.countNeedingConsent(lookup)),
  );
  gauge('keyturn_webhook_deliveries_waiting', 'Waiting webhook deliveries of open tenants.', () =>
    sum(tenants, ({ alerts }, lookup) => alerts.countWaiting(lookup)),
  );
  gauge('keyturn_witness_failing', '1 if the last head of a cell could not be written to the witness. Alert if 1.', () =>
    witness.fails ? 1 : 0,
  );
  gauge(
    'keyturn_witness_age_seconds',
    'Time since a signed head was last written to the witness; absent before the first.',
    () => (witness.sinceWrittenMs === undefined ? [] : [{ value: witness.sinceWrittenMs / 1_000 }]),
  );
  const decided = () => authorizer.counters.hits + authorizer.counters.misses;
  counter('keyturn_decisions', 'Policy decisions, including cached ones.', decided);
  counter(
    'keyturn_decision_failures',
    'Policy evaluations that failed with an error and therefore denied. Alert on any increase.',
    () => authorizer.counters.failures,
  );
  gauge('keyturn_scrub_age_seconds', 'Time since the end of the last scrub of all open cells; absent before the first.', () =>
    scrubs.sinceRoundMs === undefined ? [] : [{ value: scrubs.sinceRoundMs / 1_000 }],
  );
  counter('keyturn_scrub_checked', 'Rows and log blocks that scrubs have checked.', () => scrubs.checked);
  gauge('keyturn_connections', 'Open connections.', measured.connections);
  measureProcess(gauge, counter);
}

type Read<V> = (name: string, help: string, read: () => V) => void;

function measureClock(gauge: Read<number>, clock: SteadyClock): void {
  gauge('keyturn_clock_steady', '1 if the clock is steady; 0 otherwise and in the first hour after a start.', () =>
    clock.isSteady() ? 1 : 0,
  );
  gauge(
    'keyturn_clock_ahead_seconds',
    'Difference of the clock from the proven time; negative if it is behind. Alert if above 600 or below -600.',
    () => clock.state().aheadMs / 1_000,
  );
}

function measureProcess(gauge: Read<number | readonly Sample[]>, counter: Read<number>): void {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  gauge('keyturn_event_loop_delay_seconds', 'Event-loop delay since the last scrape.', () => {
    const samples = [0.5, 0.99, 1].map((quantile) => ({
      labels: { percentile: String(quantile * 100) },
      value: delay.count === 0 ? 0 : delay.percentile(quantile * 100) / NANOSECONDS,
    }));
    delay.reset();
    return samples;
  });
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss());
  gauge(
    'process_start_time_seconds',
    'Start time of the process in seconds since the Unix epoch.',
    () => performance.timeOrigin / 1_000,
  );
  counter('process_cpu_seconds', 'CPU time used.', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
}

function tally(codes: readonly string[]): Sample[] {
  return [...Map.groupBy(codes, (code) => code)].map(([code, all]) => ({ labels: { code }, value: all.length }));
}

/** Omits tenants that cannot be read: `keyturn_tenants_failing` counts them. */
function sum(tenants: NodeTenants, count: (view: TenantView, lookup: Lookup) => number): number {
  let total = 0;
  for (const vault of tenants.open()) {
    try {
      total += vault.lookup('metrics', (lookup, view) => count(view, lookup));
    } catch {
      // counted by keyturn_tenants_failing
    }
  }
  return total;
}
