import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventText } from '../../src/audit/event.ts';
import { canonicalJson } from '../../src/crypto/canonical-json.ts';

const words = fc.string({ unit: 'binary', maxLength: 20 }).filter((value) => value.isWellFormed());
const optional = fc.option(words, { nil: undefined });

describe('the text of an event', () => {
  it('are the RFC 8785 form of what they say, whatever optional parts it has', () => {
    fc.assert(
      fc.property(
        fc.record({
          action: words,
          actor: fc.record({ type: fc.constantFrom('user', 'workload', 'system', 'anonymous'), id: words }),
          outcome: fc.constantFrom('success', 'failure', 'denied'),
          reason: words,
          request: words,
          clientRequest: optional,
          source: optional,
          target: fc.record({ type: words, id: words, name: words, environment: words }, { requiredKeys: ['type'] }),
          details: fc.option(fc.record({ version: fc.nat(), kind: words, count: fc.nat(), token: words }, { requiredKeys: [] }), {
            nil: undefined,
          }),
          workflow: optional,
          workflowRun: optional,
        }),
        fc.nat(),
        fc.integer({ min: 0, max: 4_102_444_800_000 }),
        (input, index, atMs) => {
          const text = eventText(input as Parameters<typeof eventText>[0], index, atMs);
          expect(text).toBe(canonicalJson(JSON.parse(text)));
          expect(text).not.toContain('\n');
        },
      ),
    );
  });
});
