// What an operator of a Node process watches and is woken for, beside the requests. It must never name a tenant.
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
  /** Open connections, once there are any. */
  readonly connections: () => number;
}

/** Events by operation and outcome: what refreshes, deliveries and refusals came to is read from here. */
export function eventCounter(metrics: Metrics): (action: string, outcome: string) => void {
  const count = metrics.counter(
    'keyturn_events',
    'Events of all logs since the start: credential.rotate tells of refreshes, webhook.deliver of deliveries, authentication of refused tokens.',
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
  gauge('keyturn_tenants_failing', 'Tenants that cannot be served or cannot store, by code; any is an alert.', () =>
    tally(tenants.troubles().map(({ code }) => code)),
  );
  gauge(
    'keyturn_due_work_lag_seconds',
    'How long the oldest work that is due has been waiting; grows when refreshes fall behind.',
    () => tenants.dueLagMs(clock.now()) / 1_000,
  );
  gauge(
    'keyturn_scheduler_tick_age_seconds',
    'Since the clockwork last went round; above 15 it has stopped.',
    () => health.sinceTickMs / 1_000,
  );
  measureClock(gauge, clock);
  gauge('keyturn_grants_needing_consent', 'Grants of open tenants that are dead at their provider and need a person.', () =>
    sum(tenants, ({ credentials }, lookup) => credentials.countNeedingConsent(lookup)),
  );
  gauge('keyturn_webhook_deliveries_waiting', 'Deliveries of open tenants that are not made yet.', () =>
    sum(tenants, ({ alerts }, lookup) => alerts.countWaiting(lookup)),
  );
  gauge('keyturn_witness_failing', 'One when the last head of some cell could not be written to the witness.', () =>
    witness.fails ? 1 : 0,
  );
  gauge('keyturn_witness_age_seconds', 'Since a signed head was last written to the witness; absent before the first.', () =>
    witness.sinceWrittenMs === undefined ? [] : [{ value: witness.sinceWrittenMs / 1_000 }],
  );
  counter(
    'keyturn_decisions',
    'Policy decisions, remembered ones included.',
    () => authorizer.counters.hits + authorizer.counters.misses,
  );
  counter(
    'keyturn_decision_failures',
    'Policy evaluations that erred and so denied; any is an alert.',
    () => authorizer.counters.failures,
  );
  gauge('keyturn_scrub_age_seconds', 'Since the last scrub of all open cells ended; absent before the first.', () =>
    scrubs.sinceRoundMs === undefined ? [] : [{ value: scrubs.sinceRoundMs / 1_000 }],
  );
  counter('keyturn_scrub_checked', 'Rows, and blocks of the log, that scrubs have checked.', () => scrubs.checked);
  gauge('keyturn_connections', 'Open connections.', measured.connections);
  measureProcess(gauge, counter);
}

type Read<V> = (name: string, help: string, read: () => V) => void;

function measureClock(gauge: Read<number>, clock: SteadyClock): void {
  gauge(
    'keyturn_clock_steady',
    'One when the clock may be believed for what cannot be undone; zero for the first hour, too.',
    () => (clock.isSteady() ? 1 : 0),
  );
  gauge(
    'keyturn_clock_ahead_seconds',
    'How far the clock is from the time that is proven; negative when it is behind: beyond 600 either way is an alert.',
    () => clock.state().aheadMs / 1_000,
  );
}

function measureProcess(gauge: Read<number | readonly Sample[]>, counter: Read<number>): void {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  gauge('keyturn_event_loop_delay_seconds', 'How late the event loop ran since the last scrape.', () => {
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
    'When the process started, in seconds of the Unix epoch.',
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

/** A tenant that cannot be looked into is told by `keyturn_tenants_failing`, and does not hide the others. */
function sum(tenants: NodeTenants, count: (view: TenantView, lookup: Lookup) => number): number {
  let total = 0;
  for (const vault of tenants.open()) {
    try {
      total += vault.lookup('metrics', (lookup, view) => count(view, lookup));
    } catch {
      // counted where it fails
    }
  }
  return total;
}
