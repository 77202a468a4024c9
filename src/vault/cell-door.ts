// Creates the door of a cell, in the same way for the home cell and a tenant's.
import { Door, type DoorOptions, type Place } from '../access/guard.ts';
import { IdempotentAnswers } from '../access/idempotent-answers.ts';
import type { OpenCell, VaultOptions } from './open-cell.ts';

/** @param workload finds the workload of a token; absent in the home cell, which has no workloads */
export function doorOf(
  { cell, audit, idempotency, keyring }: OpenCell,
  { authorizer, admit, platform }: VaultOptions,
  place: Omit<Place, 'contained'>,
  workload?: DoorOptions['workload'],
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
    workload,
  });
}
