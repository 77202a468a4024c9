// A flood of wrong tokens: slowed down, counted, and no hindrance to the right ones.
import { expect, it } from 'vitest';
import { at, must, type World } from './world.ts';

export function rateCases(world: () => World): void {
  it('slows a source down that keeps presenting wrong tokens, while right ones still pass', async () => {
    const { call, acme, owner } = world();
    const wrong = () => call('GET', at('acme'), { token: 'kt_acc_not-a-real-secret' });
    const replies = [];
    for (let round = 0; round < 12; round++) replies.push(...(await Promise.all(Array.from({ length: 100 }, wrong))));
    const limited = replies.filter((reply) => reply.status === 429);
    expect(new Set(replies.map((reply) => reply.status))).toEqual(new Set([401, 429]));
    expect(limited.length).toBeGreaterThan(100);
    for (const reply of limited) {
      expect(reply.body.code).toBe('rate_limited');
      expect(Number(reply.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
    await must(call('GET', at('acme'), { token: acme.token }), 200);
    await must(call('GET', '/v1/tenants', { token: owner }), 200);
  });
}
