// Idempotency-Key on the wire: which request may be a repetition, and how a kept answer goes out. What may be answered is the door's to say.
import type { Door } from '../access/guard.ts';
import type { Operation } from '../access/operations.ts';
import { jsonBytes } from '../vault/credential-kinds.ts';
import type { OpenCell } from '../vault/open-cell.ts';
import type { Answer, RouteRequest } from './route.ts';

interface IdempotentCell {
  readonly core: OpenCell;
  readonly door: Door;
}

/**
 * Runs `useCase` inside a batch of the cell, once per key of the caller.
 * @throws idempotency_mismatch when the key was used for another request
 */
export function once(cell: IdempotentCell, operation: Operation, request: RouteRequest, useCase: () => Answer): Promise<Answer> {
  const { idempotencyKey: key, caller } = request;
  if (key === undefined) return cell.core.cell.submit(useCase);
  return cell.core.cell.submit(() => {
    const repeat = { key, hash: request.requestHash() };
    const ended = cell.door.once(caller, operation, repeat, () => {
      const answer = useCase();
      return { kept: { status: answer.status, body: jsonBytes(answer.body ?? {}) }, value: answer };
    });
    if (ended.kind === 'first') return ended.value;
    const { status, body } = ended.answer;
    return { status, body, headers: { 'content-type': 'application/json', 'idempotent-replay': 'true' } };
  });
}
