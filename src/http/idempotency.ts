// Idempotency-Key: the same caller repeating the same POST gets the first answer again, sealed in the meantime.
// It must never hand one caller's answer to another, nor run a request twice.
import type { Door } from '../access/guard.ts';
import { actorOf } from '../access/guard.ts';
import type { Operation } from '../access/operations.ts';
import { KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { prepareValue, sealUnderDataKey } from '../crypto/data-key.ts';
import { equalBytes } from '../crypto/token.ts';
import type { OpenCell, Surroundings } from '../vault/open-cell.ts';
import type { Answer, RouteRequest } from './route.ts';

interface IdempotentCell {
  readonly core: OpenCell;
  readonly door: Door;
  readonly around: Surroundings;
}

const FIELD = 'idempotency.value';

/**
 * Runs `useCase` inside a batch of the cell, once per key.
 * @throws idempotency_mismatch when the key was used for another request
 */
export function once(cell: IdempotentCell, operation: Operation, request: RouteRequest, useCase: () => Answer): Promise<Answer> {
  const key = request.idempotencyKey;
  if (key === undefined) return cell.core.cell.submit(useCase);
  return cell.core.cell.submit(() => {
    const principal = cell.door.authenticate(request.caller);
    // SECURITY: an answer belongs to the principal as it was: after a change of rights, with a token that may not ask this, or from a
    // network the token is not for, the request is judged anew instead of replayed.
    const holder = `${principal.id}@${principal.revision}`;
    const admissible =
      principal.type !== 'Workload' ||
      (principal.operations.has(operation) && principal.networks.contains(request.caller.source.address));
    const hash = request.requestHash();
    const known = cell.door.lookup(principal.id, (lookup) => cell.core.idempotency.find(lookup, holder, key));
    const now = cell.around.clock.now();
    const { keyring } = cell.core;
    const context = keyring.context('api_key', FIELD, `${holder}/${key}`, 0);
    if (known !== undefined && known.expires_at > now && admissible) {
      const isSame = equalBytes(known.request_hash, hash);
      cell.door.note(
        {
          action: operation,
          actor: actorOf(principal),
          outcome: isSame ? 'success' : 'failure',
          reason: isSame ? 'idempotent replay' : 'idempotency_mismatch',
          request: request.caller.request,
          target: { type: 'answer' },
        },
        request.caller,
      );
      if (!isSame) throw new KeyturnError('idempotency_mismatch', 'this Idempotency-Key was used for another request');
      const body = prepareValue(keyring.byId('api_key', known.key_id), context, known.wrapped_key, known.value).open();
      return { status: known.status, body, headers: { 'content-type': 'application/json', 'idempotent-replay': 'true' } };
    }
    const answer = useCase();
    const text = new TextEncoder().encode(JSON.stringify(answer.body ?? {}));
    const tenantKey = keyring.current('api_key');
    const { wrappedKey, sealed } = sealUnderDataKey(tenantKey, context, text);
    keyring.countWrap('api_key');
    cell.door.lookup(principal.id, (lookup) => {
      cell.core.idempotency.purgeExpired(lookup, now, 100);
      cell.core.idempotency.save(lookup, {
        principal_id: holder,
        idempotency_key: key,
        request_hash: hash,
        status: answer.status,
        wrapped_key: wrappedKey,
        key_id: tenantKey.id,
        value: sealed,
        expires_at: now + LIMITS.idempotencyKeepMs,
      });
    });
    return answer;
  });
}
