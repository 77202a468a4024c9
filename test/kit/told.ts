// The events that some work left behind, complete but for what no two events share: time, place in the log, request and sealed source.
import type { Caller } from '../../src/access/principals.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { eventsOf } from './vaults.ts';

/** An event without what differs each time. */
export interface Told {
  readonly action: string;
  readonly actor: { readonly type: string; readonly id: string; readonly token?: string };
  readonly outcome: string;
  readonly reason: string;
  readonly target: Readonly<Record<string, unknown>>;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface Left<T> {
  /** What it answered; undefined where it threw. */
  readonly value: T | undefined;
  /** `ok` or the code of its error. */
  readonly end: string;
  readonly events: readonly Told[];
  /** As they were written. */
  readonly whole: readonly Readonly<Record<string, unknown>>[];
}

export async function leftBy<T>(sql: Sql, work: () => T | Promise<T>): Promise<Left<T>> {
  const before = eventsOf(sql).length;
  let value: T | undefined;
  let end = 'ok';
  try {
    value = await work();
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    end = error.code;
  }
  const whole = eventsOf(sql).slice(before);
  return { value, end, whole, events: whole.map(withoutWhatDiffers) };
}

function withoutWhatDiffers(event: Readonly<Record<string, unknown>>): Told {
  const { at: _at, index: _index, request: _request, source: _source, v: _v, ...told } = event;
  return told as unknown as Told;
}

/** Who asked, as an event names them. */
export function actorOf({ user }: Pick<Caller, 'user'>): Told['actor'] {
  if (user === undefined) throw new Error('only a user is named by the caller alone');
  return { type: 'user', id: user.id, token: user.tokenId };
}

/** All of what comes in pieces. */
export async function drained<T>(pieces: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const piece of pieces) all.push(piece);
  return all;
}
