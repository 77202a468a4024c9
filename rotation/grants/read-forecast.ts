// The forecast page over all environments of a tenant: ended grants, then the soonest ends. It must never omit a grant that
// has just changed, nor list one that was never connected or was disconnected, because neither has ended.
import type { Caller } from '../../src/access/principals.ts';
import { notFound } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { ReadAccess } from '../../src/cell/access.ts';
import type { EndKey } from '../../src/cell/forecasts.ts';
import type { Page } from '../../src/vault/describe-credential.ts';
import { ANSWER_LOST } from '../../src/vault/grant-health.ts';
import { type Located, tenantTarget } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { DueWorkPorts } from '../engine/due-work.ts';
import { type Ended, endedGrant, type Forecast } from './forecast.ts';
import { GrantForecasts } from './grant-forecast.ts';

export interface ReadForecastInput {
  /** Absent: all. */
  readonly environment: string | undefined;
  readonly withinDays: number | undefined;
  /** The cursor of the previous page; '' for the first page. */
  readonly after: string;
  readonly maxRows: number;
}

export interface ForecastEntry extends Located {
  readonly forecast: Forecast | Ended;
}

export interface Candidate extends ForecastEntry {
  readonly key: EndKey;
}

/**
 * Ended credentials first, then by end date. Each entry is computed now; its page depends on its last review, at most an hour after a refresh.
 * @throws not_found for an unknown environment
 */
export function readForecast(
  job: TenantJob,
  connectors: DueWorkPorts['connectors'],
  caller: Caller,
  input: ReadForecastInput,
): Page<ForecastEntry> {
  return job.door.enter(
    caller,
    'forecast.read',
    () => ({ ...tenantTarget(job), target: { type: 'forecast' } }),
    (access, _subject, details) => {
      const found = new ForecastReading(job, connectors, access, input).candidates();
      const page = found.slice(0, input.maxRows);
      const last = page.at(-1);
      details.count = page.length;
      return {
        rows: page.toSorted((a, b) => Number(hasEnded(b)) - Number(hasEnded(a)) || a.forecast.endsAt - b.forecast.endsAt),
        next: found.length > page.length && last !== undefined ? cursorOf(last) : undefined,
      };
    },
  );
}

const ENDED = 'ended';
const BEFORE_ALL: EndKey = { endsAt: -1, id: '' };

function hasEnded({ forecast }: ForecastEntry): boolean {
  return forecast.cause === ENDED;
}

export function cursorOf(last: Candidate): string {
  const at = `${last.key.endsAt}\n${last.key.id}`;
  return hasEnded(last) ? `${ENDED}\n${at}` : at;
}

/** One reading of the forecast inside a use case. */
export class ForecastReading {
  readonly #job: TenantJob;
  readonly #access: ReadAccess;
  readonly #input: ReadForecastInput;
  readonly #forecasts: GrantForecasts;
  readonly #now: number;
  readonly #throughMs: number;
  readonly #environmentId: string | undefined;

  constructor(job: TenantJob, connectors: DueWorkPorts['connectors'], access: ReadAccess, input: ReadForecastInput) {
    this.#job = job;
    this.#access = access;
    this.#input = input;
    this.#forecasts = new GrantForecasts(job, connectors);
    this.#now = job.platform.clock.now();
    this.#throughMs =
      input.withinDays === undefined ? Number.MAX_SAFE_INTEGER : this.#now + input.withinDays * 24 * 60 * 60 * 1_000;
    if (input.environment !== undefined)
      this.#environmentId = (job.credentials.findEnvironment(access, input.environment) ?? notFound('environment')).id;
  }

  /** One entry more than the page, if there is one. */
  candidates(): Candidate[] {
    const { after, maxRows } = this.#input;
    const batchRows = maxRows + 1;
    const [at, id = '', endedId = ''] = after.split('\n');
    if (after !== '' && at !== ENDED) return this.#ending({ endsAt: Number(at), id }, batchRows);
    const ended = this.#ended(at === ENDED ? { endsAt: Number(id), id: endedId } : BEFORE_ALL, batchRows);
    return ended.length === batchRows ? ended : [...ended, ...this.#ending(BEFORE_ALL, batchRows - ended.length)];
  }

  #ended(after: EndKey, maxRows: number): Candidate[] {
    const { credentials, forecasts } = this.#job;
    return forecasts.endedAlready(this.#access, this.#environmentId, after, maxRows).map((key) => {
      const row = credentials.byId(this.#access, key.id);
      const environment = credentials.environmentById(this.#access, row.environment_id);
      return { row, environment, forecast: endedGrant(row.health_since, row.health_cause === ANSWER_LOST), key };
    });
  }

  #ending(after: EndKey, batchRows: number): Candidate[] {
    const fresh = this.#unreviewed();
    const found = [...fresh.values()].filter((one) => one !== undefined).filter(({ key }) => compare(key, after) > 0);
    const { forecasts } = this.#job;
    const reviewed: Candidate[] = [];
    for (let from = after; reviewed.length < batchRows; ) {
      const keys = forecasts.endingSoonest(this.#access, this.#environmentId, from, this.#throughMs, batchRows);
      for (const key of keys) {
        const one = fresh.has(key.id) ? undefined : this.#candidate(key.id, key);
        if (one !== undefined) reviewed.push(one);
        from = key;
      }
      if (keys.length < batchRows) break;
    }
    return [...found, ...reviewed].sort((a, b) => compare(a.key, b.key)).slice(0, batchRows);
  }

  /** Ids of grants whose review is due, up to the number of one pass. */
  #unreviewed(): ReadonlyMap<string, Candidate | undefined> {
    const ids = this.#job.forecasts.dueForReview(this.#access, this.#now, LIMITS.dueWorkBatchRows);
    return new Map(ids.map((id) => [id, this.#candidate(id)]));
  }

  #candidate(id: string, key?: EndKey): Candidate | undefined {
    const { credentials } = this.#job;
    const row = credentials.byId(this.#access, id);
    const { forecast } = this.#forecasts.of(this.#access, row, this.#now);
    if (forecast === undefined || forecast.endsAt > this.#throughMs) return undefined;
    if (this.#environmentId !== undefined && row.environment_id !== this.#environmentId) return undefined;
    const environment = credentials.environmentById(this.#access, row.environment_id);
    return { row, environment, forecast, key: key ?? { endsAt: forecast.endsAt, id } };
  }
}

function compare(a: EndKey, b: EndKey): number {
  return a.endsAt - b.endsAt || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}
