// Idempotency-Key on the wire: passes key and request hash to the door, which decides about replay, and sends a stored answer.
import type { Door } from '../access/guard.ts';
import type { Operation } from '../access/operations.ts';
import type { Submits } from '../vault/cell-handle.ts';
import { jsonBytes } from '../vault/credential-kinds.ts';
import type { Answer, RouteRequest } from './route.ts';

/**
 * Runs `useCase` in a batch of the cell, once for each key of the caller.
 * @throws idempotency_mismatch when the key was used for another request
 */
export function once<Job extends { readonly door: Door }>(
  cell: Submits<Job>,
  operation: Operation,
  request: RouteRequest,
  useCase: (job: Job) => Answer,
): Promise<Answer> {
  const { idempotencyKey: key, caller } = request;
  if (key === undefined) return cell.submit(useCase);
  return cell.submit((job) => {
    const repeat = { key, hash: request.requestHash() };
    const outcome = job.door.once(caller, operation, repeat, () => {
      const answer = useCase(job);
      return { kept: { status: answer.status, body: jsonBytes(answer.body ?? {}) }, value: answer };
    });
    if (outcome.kind === 'first') return outcome.value;
    const { status, body } = outcome.answer;
    return { status, body, headers: { 'content-type': 'application/json', 'idempotent-replay': 'true' } };
  });
}
