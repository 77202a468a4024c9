// Freezes what an older build made of a tenant's and a home database, as tenant-schema-<n>.sql and home-schema-<n>.sql: the rows of the
// vector before it, in every state, as that build took them over, and rows that it wrote itself. It refuses to overwrite a vector.
// Run, for the last commit before the next schema step landed (4: 9c36969, 5: 2f4360e, 6: f185002, 7: 2f3fe8b, 8: f20cf2c, 9: 825fc75, 10: f872bae, 11: a39034f, 12: 79ccc04):
//   git worktree add --detach ../older <commit> && ln -s "$PWD/node_modules" ../older/node_modules
//   node test/vectors/make-schemas.ts ../older
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const older = resolve(process.argv[2] ?? '');
const [, , , which = 'tenant home'] = process.argv;
/** Its modules, whose types are not those of this tree. */
// biome-ignore lint/suspicious/noExplicitAny: the code of another commit
const load = (path: string): Promise<any> => import(`${older}/${path}`);

const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5);
let draws = 0;
const entropy = {
  bytes: (count: number) => {
    const drawn = Buffer.concat(
      Array.from({ length: Math.ceil(count / 32) }, () => createHash('sha256').update(`frozen ${draws++}`).digest()),
    );
    return new Uint8Array(drawn.subarray(0, count));
  },
  fraction: () => 0.5,
};
const clock = {
  now: () => START_MS + 30_000,
  provenAt: () => START_MS + 30_000,
  atLeast: () => {},
  isSteady: () => true,
  steadyFrom: () => 0,
};

const { SecretValue } = await load('src/base/secret-value.ts');
const { RootKey } = await load('src/crypto/root-key.ts');
/** Builds up to schema 10 take the root key itself. */
const { RootKeys } = await load('src/crypto/root-keys.ts').catch(() => ({}));
const { openNodeSql } = await load('src/node/sqlite.ts');
const { testAuthorizer } = await load('test/kit/cedar.ts');
const { NO_FAULTS } = await load('src/base/faults.ts');

const shared = () => {
  const key = RootKey.of(Uint8Array.from({ length: 32 }, (_, i) => (i * 73 + 11) % 256));
  const platform = {
    clock,
    entropy,
    faults: NO_FAULTS,
    nextTick: (task: () => void) => void setImmediate(task),
    later: () => {},
    witness: { publish: () => {} },
    root: RootKeys?.of(key) ?? key,
    installationId: 'ins_0frozen0frozen0frozen0fro',
  };
  return {
    erasureKey: SecretValue.of(Uint8Array.from({ length: 32 }, (_, i) => (i * 101 + 7) % 256)),
    around: platform, // what builds up to schema 10 call it
    platform,
    authorizer: testAuthorizer(),
    admit: () => {},
  };
};
let requests = 0;
const caller = (id = 'usr_owner') => ({
  token: undefined,
  source: { address: '127.0.0.1', userAgent: 'frozen' },
  request: `req_frozen${++requests}`,
  user: {
    id,
    name: 'someone',
    revision: 1,
    bootstrap: true,
    grants: [{ role: 'owner', tenantId: '*' }],
    tokenId: 'token',
    secondFactorAtMs: clock.now(),
  },
});
const textOf = (secret: { reveal<T>(use: (bytes: Uint8Array) => T): T }) =>
  secret.reveal((bytes) => new TextDecoder().decode(bytes));

type Value = null | number | bigint | string | Uint8Array;
interface Sql {
  all<R>(text: string): R[];
}

function literal(value: Value): string {
  if (value === null) return 'NULL';
  if (typeof value === 'string') return `'${value.replaceAll("'", "''")}'`;
  return value instanceof Uint8Array ? `x'${Buffer.from(value).toString('hex')}'` : String(value);
}

function dump(sql: Sql): string {
  const parts = sql.all<{ type: string; name: string; sql: string | null }>(
    "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'",
  );
  const tables = parts.filter(({ type }) => type === 'table');
  const rows = tables.flatMap(({ name }) =>
    sql
      .all<Record<string, Value>>(`SELECT * FROM ${name}`)
      .map(
        (row) => `INSERT INTO ${name} (${Object.keys(row).join(', ')}) VALUES (${Object.values(row).map(literal).join(', ')});`,
      ),
  );
  const made = (list: typeof parts) => list.map((part) => `${part.sql};`);
  return [...made(tables), ...rows, ...made(parts.filter(({ type }) => type !== 'table'))].join('\n');
}

function freeze(name: string, version: number, notes: readonly string[], sql: Sql): void {
  const head = [
    `-- A ${name}'s database as the build of schema ${version} left it (test/vectors/make-schemas.ts). Keys are those of test/vault/upgrade.test.ts;`,
    '-- every secret is made up. Frozen: it is never written again.',
    ...notes.map((note) => `-- ${note}`),
  ];
  writeFileSync(new URL(`${name}-schema-${version}.sql`, import.meta.url), `${head.join('\n')}\n${dump(sql)}\n`, { flag: 'wx' });
}

const vector = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8');
const versionOf = (sql: Sql) =>
  Number(sql.all<{ version: number }>('SELECT max(version) AS version FROM schema_step')[0]?.version);

if (which.includes('tenant')) await freezeTenant();
if (which.includes('home')) await freezeHome();

async function freezeTenant(): Promise<void> {
  const { TenantVault } = await load('src/vault/tenant-vault.ts');
  const { putCredential } = await load('src/vault/put-credential.ts');
  const { deleteCredential, destroyCredential } = await load('src/vault/change-credential.ts');
  const workloads = await load('src/vault/manage-workloads.ts');
  const { exchangeToken } = await load('src/vault/exchange-token.ts');
  const { rotateKeys, rewrapBatch } = await load('src/vault/rotate-keys.ts');
  const sql = openNodeSql(':memory:');
  sql.script(vector('tenant-schema-3.sql'));
  const vault = new TenantVault({
    ...shared(),
    sql,
    tenant: { id: 'ten_0frozen0frozen0frozen0fro', name: 'acme', demo: true },
    onDueChanged: () => {},
  });
  const version = versionOf(sql);
  const job = <T>(work: (on: typeof vault) => T): Promise<T> => vault.submit((given?: unknown) => work(given ?? vault));
  const put = (name: string, kind: string, value: object, more: object = {}) =>
    job((on) =>
      putCredential(on, caller(), {
        environment: 'staging',
        name,
        kind,
        value,
        connector: undefined,
        config: undefined,
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
        ...more,
      }),
    );
  const where = (name: string) => ({ environment: 'staging', name, precondition: {}, recoveryWindowMs: 7 * 86_400_000 });
  // Keys of all purposes but those whose rotation is in the middle already get another version, and few rows move to it.
  await job((on) => rotateKeys(on, caller(), ['metadata_mac']));
  await put('own-key', 'api_key', { key: 'own-key-1-not-a-real-secret' });
  await put('own-key', 'api_key', { key: 'own-key-2-not-a-real-secret' });
  await job((on) => rewrapBatch(on, 3));
  if (version >= 6) await put('Team/Own-Key', 'api_key', { key: 'named-key-not-a-real-secret' });
  await put(
    'own-grant',
    'oauth2',
    {
      access_token: 'own-access-not-a-real-secret',
      refresh_token: 'own-refresh-not-a-real-secret',
      expires_in: 3_600,
      client_secret: 'client-not-a-real-secret',
    },
    { config: { token_url: 'https://login.example/token', client_id: 'client' }, connector: 'generic-oauth2' },
  );
  for (const name of ['own-deleted', 'own-destroyed']) {
    await put(name, 'api_key', { key: `${name}-not-a-real-secret` });
    await job((on) => deleteCredential(on, caller(), where(name)));
  }
  await job((on) => destroyCredential(on, caller(), where('own-destroyed')));
  const workload = async (name: string) => {
    const made = await job<{ row: { id: string }; clientSecret: { token: never; publicId: string } }>((on) =>
      workloads.createWorkload(on, caller(), {
        name,
        environment: 'staging',
        patterns: ['*'],
        permissions: ['read'],
        networks: [],
        jwks: undefined,
        ttlMs: 86_400_000,
      }),
    );
    const access = await exchangeToken(
      vault,
      { ...caller(), user: undefined },
      { method: 'client_secret', clientId: made.row.id, clientSecret: textOf(made.clientSecret.token) },
      [],
    );
    return { id: made.row.id, secret: made.clientSecret.publicId, access: textOf(access.token) };
  };
  const live = await workload('own-live');
  const revoked = await workload('own-revoked');
  await job((on) => workloads.revokeWorkload(on, caller(), revoked.id));
  const bare = await workload('own-bare');
  await job((on) => workloads.revokeToken(on, caller(), bare.id, bare.secret));
  if (version >= 7) {
    const evidence = JSON.stringify({ status: 400, words: ['licence_expired'] });
    const last = 'rowid = (SELECT max(rowid) FROM run_step)';
    await job((on) => {
      if (version === 7) sql.run(`UPDATE run_step SET evidence = ? WHERE ${last}`, evidence);
      else on.core.rows.of('run_step').update({ ...sql.get(`SELECT * FROM run_step WHERE ${last}`), evidence });
    });
  }
  await job((on) => on.core.audit.signNow());
  freeze(
    'tenant',
    version,
    [
      `token, good: ${live.access}`,
      `token, of a revoked workload: ${revoked.access}`,
      `token, of a revoked secret: ${bare.access}`,
    ],
    sql,
  );
}

async function freezeHome(): Promise<void> {
  const { HomeVault } = await load('src/vault/home-vault.ts');
  const users = await load('src/vault/manage-users.ts');
  const { claimTenant, finishTenant } = await load('src/vault/manage-tenants.ts');
  const sql = openNodeSql(':memory:');
  sql.script(vector('home-schema-1.sql'));
  const home = new HomeVault({ ...shared(), sql });
  const version = versionOf(sql);
  const job = <T>(work: (on: typeof home) => T): Promise<T> => home.submit((given?: unknown) => work(given ?? home));
  const made: Record<string, { id: string; token: string; publicId: string }> = {};
  for (const name of ['own-live', 'own-left', 'own-revoked']) {
    const { row } = await job<{ row: { id: string } }>((on) =>
      users.createUser(on, caller(), { name, grants: [{ role: 'auditor', tenant: undefined }], enrolmentTtlMs: 86_400_000 }),
    );
    const { id } = row;
    const issued = await job<{ token: never; publicId: string }>((on) => users.createUserToken(on, caller(id), id, 3_600_000));
    made[name] = { id, token: textOf(issued.token), publicId: issued.publicId };
  }
  await job((on) => users.offboardUser(on, caller(), made['own-left']?.id));
  await job((on) =>
    users.revokeUserToken(on, caller(made['own-revoked']?.id), made['own-revoked']?.id, made['own-revoked']?.publicId),
  );
  const claim = (name: string) =>
    job<{ id: string }>((on) => claimTenant(on, caller(), { name, environments: ['staging'], demo: false }));
  await claim('own-half');
  const whole = await claim('own-whole');
  await finishTenant(home, whole as never, async () => {});
  if (version >= 4) await job((on) => on.door.keepBooks('provision', (books: never) => on.tenants.setAnchored(books, whole.id)));
  await job((on) => on.core.audit.signNow());
  freeze(
    'home',
    version,
    Object.entries(made).map(([name, { token }]) => `token, ${name}: ${token}`),
    sql,
  );
}
