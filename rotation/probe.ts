// Asks a provider whether a token works, by the harmless read its connector declares.
// It must never call a token rejected on anything but the provider's own word: doubt is `unknown`, which promotes and revokes nothing.
import { LIMITS } from '../src/base/limits.ts';
import { SecretValue } from '../src/base/secret-value.ts';
import type { Egress, ProbeSpec, Verdict } from './connector.ts';

/** One call, no retry; resolves for everything that can happen at the provider or on the way. */
export async function probeToken(probe: ProbeSpec, token: SecretValue, egress: Egress, allowLoopback: boolean): Promise<Verdict> {
  const authorization = token.reveal((bytes) => SecretValue.fromText(`Bearer ${new TextDecoder().decode(bytes)}`));
  try {
    const answer = await egress.send({
      url: probe.url,
      method: probe.method,
      headers: { accept: 'application/json', ...probe.headers, authorization },
      allowedHosts: [new URL(probe.url).host],
      timeoutMs: LIMITS.providerTimeoutMs,
      maxBytes: LIMITS.providerAnswerMaxBytes,
      allowLoopback,
    });
    answer.body.wipe();
    if (answer.status >= 200 && answer.status < 300) return 'works';
    return (probe.rejectedBy ?? [401]).includes(answer.status) ? 'rejected' : 'unknown';
  } catch {
    return 'unknown';
  } finally {
    authorization.wipe();
  }
}
