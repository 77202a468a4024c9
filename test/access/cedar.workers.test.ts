import { initSync, isAuthorized } from '@cedar-policy/cedar-wasm/web';
import { expect, it } from 'vitest';
import engine from '../../node_modules/@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm';

initSync({ module: engine });

const POLICY = 'permit (principal == User::"alice", action == Action::"read", resource) when { context.fresh };';

function decide(user: string, fresh: boolean) {
  return isAuthorized({
    principal: { type: 'User', id: user },
    action: { type: 'Action', id: 'read' },
    resource: { type: 'Credential', id: 'one' },
    context: { fresh },
    policies: { staticPolicies: POLICY },
    entities: [],
  });
}

it('Cedar runs in workerd: allow where the policy permits', () => {
  expect(decide('alice', true)).toMatchObject({ type: 'success', response: { decision: 'allow' } });
});

it('Cedar runs in workerd: deny where nothing permits', () => {
  expect(decide('alice', false)).toMatchObject({ type: 'success', response: { decision: 'deny' } });
  expect(decide('mallory', true)).toMatchObject({ type: 'success', response: { decision: 'deny' } });
});
