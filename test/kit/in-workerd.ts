// Which tests of the vault run in workerd as they stand on Node, each inside a Durable Object (test/kit/in-object.ts), beside the files
// named *.shared.test.ts and *.workers.test.ts and the conformance suite. SECURITY.md tells what does not and why.

const files = (folder: string, ...names: readonly string[]): string[] => names.map((name) => `test/${folder}/${name}.test.ts`);

export const IN_OBJECTS: readonly string[] = [
  ...files('access', 'authorizer', 'decision-memo', 'door-events', 'guard', 'guardrails.property', 'idempotent-answers'),
  ...files('access', 'policy-bundle'),
  ...files('alerts', 'alerts'),
  ...files('audit', 'audit-log', 'sources'),
  ...files('cell', 'cell', 'connections', 'keyring', 'migrations', 'register'),
  ...files('rotation/engine', 'provider-gate'),
  ...files('rotation/oauth2', 'token-expiry'),
  ...files('rotation/grants', 'account-change', 'disconnect', 'ended-tokens', 'refresh-keys', 'review', 'scope-check'),
  ...files('rotation/grants/consent', 'callback', 'choose-account', 'connectors', 'make-link', 'openid'),
  ...files('vault', 'credentials', 'list-credentials', 'lost-batch', 'remove-credential', 'rotate-keys', 'workloads'),
];
