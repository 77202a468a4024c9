// Asks the operator's HTTPS endpoint for a step, signed as every other webhook of Keyturn. It must never follow a redirect, nor send to a host
// other than the one that the value is bound to.
import type { CallAuthentication, KeyCall } from '../connector.ts';
import type { Ask } from './asked.ts';
import { manage } from './send-call.ts';

/** @param url https */
export function webhookAsk(url: string): Ask {
  return {
    what: `POST ${url}`,
    send: async ({ id, message, changes }, target, variables) => {
      const call: KeyCall = {
        method: 'POST',
        url,
        headers: { 'user-agent': 'keyturn', 'idempotency-key': id },
        json: message,
        succeeds: [200],
      };
      const authentication: CallAuthentication = { by: 'standard_webhook', id, key: '{admin.key}' };
      const answered = await manage(call, { target, variables, authentication, errorTable: [] }, changes);
      return answered.kind === 'answered' ? { kind: 'answered', text: answered.text } : answered;
    },
  };
}
