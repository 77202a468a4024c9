// Tests whether a token works, by the harmless read that the connector declares.
// It must never report `rejected` without the provider's refusal: in doubt the result is `unknown`, which promotes and revokes nothing.
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { Egress, EgressAnswer, ProbeSpec, Verdict } from '../connector.ts';
import { readJson } from './answer-body.ts';

export interface Probed {
  readonly verdict: Verdict;
  /** Lower-case names; empty without an answer. */
  readonly headers: Readonly<Record<string, string>>;
  /** The parsed body of a 2xx answer; undefined if it is not JSON. */
  readonly body: unknown;
}

const UNANSWERED: Probed = { verdict: 'unknown', headers: {}, body: undefined };

/** One call without retry; resolves for every outcome at the provider or in transit. */
export async function probeToken(probe: ProbeSpec, token: SecretValue, egress: Egress, allowLoopback: boolean): Promise<Verdict> {
  return (await askProbe(probe, [], token, egress, allowLoopback)).verdict;
}

/** As `probeToken`, with further content of the answer. @param hosts of the connector; empty: the probe's host */
export async function askProbe(
  probe: ProbeSpec,
  hosts: readonly string[],
  token: SecretValue,
  egress: Egress,
  allowLoopback: boolean,
): Promise<Probed> {
  const url = URL.parse(probe.url);
  if (url === null) return UNANSWERED;
  const authorization = token.reveal((bytes) => SecretValue.fromText(`Bearer ${new TextDecoder().decode(bytes)}`));
  const sendsBody = probe.method === 'POST' && probe.body !== undefined;
  try {
    const answer = await egress.send({
      url: probe.url,
      method: probe.method,
      headers: {
        accept: 'application/json',
        ...(sendsBody ? { 'content-type': 'application/json' } : {}),
        ...probe.headers,
        authorization,
      },
      ...(sendsBody ? { body: new TextEncoder().encode(JSON.stringify(probe.body)) } : {}),
      allowedHosts: hosts.length > 0 ? hosts : [url.host],
      timeoutMs: LIMITS.providerTimeoutMs,
      maxBytes: LIMITS.providerAnswerMaxBytes,
      allowLoopback,
    });
    return judged(probe, answer);
  } catch {
    return UNANSWERED;
  } finally {
    authorization.wipe();
  }
}

function judged(probe: ProbeSpec, answer: EgressAnswer): Probed {
  const { status, headers } = answer;
  const body = readJson(answer);
  if (status < 200 || status >= 300) {
    return { verdict: (probe.rejectedBy ?? [401]).includes(status) ? 'rejected' : 'unknown', headers, body: undefined };
  }
  return { verdict: isRefusal(probe, body) ? 'rejected' : 'works', headers, body };
}

function isRefusal({ refusedWhen }: ProbeSpec, body: unknown): boolean {
  if (refusedWhen === undefined || typeof body !== 'object' || body === null) return false;
  const value = Object.hasOwn(body, refusedWhen.member) ? (body as Record<string, unknown>)[refusedWhen.member] : undefined;
  return refusedWhen.is === 'false' ? value === false : value !== undefined && value !== null;
}
