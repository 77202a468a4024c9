// Reads the server-sent events of a run (WHATWG HTML section 9.2.6), as far as the API sends them.
import type { WireRun } from '../http/v1/wire.ts';

type Step = NonNullable<WireRun['steps']>[number];
export type FollowedRun = { readonly kind: 'step'; readonly step: Step } | { readonly kind: 'end'; readonly run: WireRun };

/** Steps with their ids, and the end. Other events and comments are skipped. */
export async function* eventsIn(answer: Response): AsyncGenerator<{ readonly id: number; readonly followed: FollowedRun }> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const part of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
    text += decoder.decode(part, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = parsed(text.slice(0, end));
      text = text.slice(end + 2);
      if (event !== undefined) yield event;
    }
  }
}

function parsed(block: string): { id: number; followed: FollowedRun } | undefined {
  const fields = new Map(
    block.split('\n').map((line) => {
      const at = line.indexOf(': ');
      return [line.slice(0, at), line.slice(at + 2)] as const;
    }),
  );
  const [kind, data] = [fields.get('event'), fields.get('data')];
  if (data === undefined) return undefined;
  const id = Number(fields.get('id') ?? 0);
  if (kind === 'step') return { id, followed: { kind, step: JSON.parse(data) as Step } };
  return kind === 'end' ? { id, followed: { kind, run: JSON.parse(data) as WireRun } } : undefined;
}
