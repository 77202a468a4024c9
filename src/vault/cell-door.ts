// The one door of a cell, made alike for the home cell and for a tenant's.
import { Door, type DoorOptions, type Place } from '../access/guard.ts';
import { IdempotentAnswers } from '../access/idempotent-answers.ts';
import type { OpenCell, VaultOptions } from './open-cell.ts';

/** @param workload who a token of a workload is; absent where none lives */
export function doorOf(
  { cell, audit, idempotency, keyring }: OpenCell,
  { authorizer, admit, platform }: VaultOptions,
  place: Omit<Place, 'contained'>,
  workload?: NonNullable<DoorOptions['workload']>,
): Door {
  const { clock, later } = platform;
  return new Door({
    cell,
    audit,
    authorizer,
    clock,
    place: { ...place, contained: () => false },
    later,
    admit,
    answers: new IdempotentAnswers(idempotency, keyring, clock),
    ...(workload === undefined ? {} : { workload }),
  });
}
