// CR-01: one damaged row in each part of due work. The part does the rest of its work in the same turn, the damage is told once, and the
// tenant is not looked at again at once: the turn fails, so that its caller pauses, or nothing is due any more.
// Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { RevocationSpec } from '../../rotation/connector.ts';
import { disconnectCredential } from '../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../rotation/grants/refresh-runs.ts';
import { createWebhook } from '../../src/alerts/manage-webhooks.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { deleteCredential } from '../../src/vault/change-credential.ts';
import { rotateKeys } from '../../src/vault/rotate-keys.ts';
import { type ConsentBench, consentBench } from '../kit/consent-bench.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { eventsOf } from '../kit/vaults.ts';

const REVOCATION: RevocationSpec = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  sendsHint: true,
  ends: 'grant',
};
const DAY_MS = 86_400_000;

async function bench() {
  const it = await consentBench({ revocation: REVOCATION });
  const engine = new RefreshEngine({ ...it.ports, every: () => () => {} });
  it.tenant.vault.refresher = engine;
  return { ...it, engine };
}
type Bench = Awaited<ReturnType<typeof bench>>;

const both = async (work: (name: string) => Promise<unknown>) => {
  await work('a');
  await work('b');
};
const settle = async ({ engine }: Bench) => void (await engine.runDueWork());
const disconnect = ({ tenant, ports, admin }: ConsentBench, name: string) =>
  tenant.vault.submit((job) =>
    disconnectCredential({ ...ports, job }, admin(), { environment: 'staging', name, revoke: true, precondition: {} }),
  );
const webhooks = ({ tenant, admin }: ConsentBench) =>
  both((name) =>
    tenant.vault.submit((job) =>
      createWebhook(job, admin(), { url: `https://${name}.example/`, kinds: [], allowLoopback: false }),
    ),
  );
const count = ({ tenant }: ConsentBench, query: string) => Number(tenant.sql.get(`SELECT count(*) AS n FROM ${query}`)?.['n']);

interface Part {
  readonly name: string;
  /** Makes work due for `a` and `b`. */
  arrange(bench: Bench): Promise<void>;
  /** Damages a row that the work of `a` needs. */
  readonly damage: string;
  /** The table of the row, as it is told. */
  readonly table: string;
  /** How often the work of `b` was done. */
  done(bench: Bench): number;
}

const EDITED = "UPDATE credential SET description = 'edited' WHERE name = 'a'";
const ofCredential = "(SELECT id FROM credential WHERE name = 'a')";
const connected = async (it: Bench) => {
  await both((name) => it.connect(name));
  await settle(it);
};
const due = async (it: Bench) => {
  await connected(it);
  it.tenant.clock.pass(1_700_000);
};
const refreshed = ({ row }: Bench) => row('b').current_version - 2;
const messages = async (it: Bench) => {
  await connected(it);
  await webhooks(it);
  await both((name) => disconnect(it, name));
};

const PARTS: readonly Part[] = [
  {
    name: 'a refresh: the credential',
    arrange: due,
    damage: EDITED,
    table: 'credential',
    done: refreshed,
  },
  {
    name: 'a refresh: the version',
    arrange: due,
    damage: `UPDATE credential_version SET created_at = created_at + 1 WHERE credential_id = ${ofCredential}`,
    table: 'credential_version',
    done: refreshed,
  },
  {
    name: 'a refresh: its open run',
    arrange: async (it) => {
      await due(it);
      it.replies.push({ status: 503, body: '' }, { status: 503, body: '' });
      await it.engine.runDueWork();
      it.tenant.clock.pass(3_600_000);
    },
    damage: `UPDATE run SET attempts = 7 WHERE credential_id = ${ofCredential}`,
    table: 'run',
    done: refreshed,
  },
  {
    name: 'the expiry of links',
    arrange: async (it) => {
      await both((name) => it.make(name));
      await settle(it);
      it.tenant.clock.pass(LIMITS.connectLinkTtlDefaultMs);
    },
    damage: `UPDATE connection SET attempt = 7 WHERE credential_id = ${ofCredential}`,
    table: 'connection',
    done: (it) => count(it, "connection WHERE state = 'expired'"),
  },
  {
    name: 'the expiry of links: the credential',
    arrange: async (it) => {
      await both((name) => it.make(name));
      await settle(it);
      it.tenant.clock.pass(LIMITS.connectLinkTtlDefaultMs);
    },
    damage: EDITED,
    table: 'credential',
    done: (it) => count(it, "connection WHERE state = 'expired'"),
  },
  {
    name: 'a revocation: the run',
    arrange: async (it) => {
      await connected(it);
      await both((name) => disconnect(it, name));
    },
    damage: `UPDATE run SET attempts = 7 WHERE credential_id = ${ofCredential}`,
    table: 'run',
    done: (it) => count(it, "run WHERE outcome = 'revoked'"),
  },
  {
    name: 'a revocation: the credential',
    arrange: async (it) => {
      await connected(it);
      await both((name) => disconnect(it, name));
    },
    damage: EDITED,
    table: 'credential',
    done: (it) => count(it, "run WHERE outcome = 'revoked'"),
  },
  {
    name: 'a review',
    arrange: async (it) => {
      await both((name) => it.connect(name));
    },
    damage: EDITED,
    table: 'credential',
    done: ({ row, tenant }) => Number((row('b').review_due_at ?? 0) > tenant.clock.now()),
  },
  ...(
    [
      ['the delivery', 'delivery', 'UPDATE delivery SET attempts = 7 WHERE rowid = (SELECT min(rowid) FROM delivery)'],
      ['the alert', 'alert', 'UPDATE alert SET at = at + 1 WHERE id = (SELECT alert_id FROM delivery ORDER BY rowid LIMIT 1)'],
      ['the webhook', 'webhook', "UPDATE webhook SET url = 'https://evil.example/' WHERE url LIKE 'https://a.%'"],
    ] as const
  ).map(
    ([what, table, damage]): Part => ({
      name: `a delivery: ${what}`,
      arrange: messages,
      damage,
      table,
      done: ({ sent }) => Number(sent.some(({ url }) => url === 'https://b.example/')),
    }),
  ),
  {
    name: 'a destruction',
    arrange: async (it) => {
      await connected(it);
      await both((name) =>
        it.tenant.vault.submit((job) =>
          deleteCredential(job, it.admin(), { environment: 'staging', name, precondition: {}, recoveryWindowMs: 7 * DAY_MS }),
        ),
      );
      it.tenant.clock.pass(7 * DAY_MS);
    },
    damage: EDITED,
    table: 'credential',
    done: (it) => count(it, "credential WHERE state = 'destroyed'"),
  },
  {
    name: 'a rewrap: a version',
    arrange: async (it) => {
      await connected(it);
      await it.tenant.vault.submit((job) => rotateKeys(job, it.admin(), ['oauth_token']));
    },
    damage: `UPDATE credential_version SET created_at = created_at + 1 WHERE credential_id = ${ofCredential}`,
    table: 'credential_version',
    done: (it) => count(it, "credential_version WHERE key_id = (SELECT key_id FROM tenant_key WHERE purpose = 'oauth_token' AND state = 'active')") / 2, // biome-ignore format: one line
  },
  {
    name: 'a rewrap: its progress',
    arrange: async (it) => {
      await connected(it);
      await it.tenant.vault.submit((job) => rotateKeys(job, it.admin(), ['oauth_token', 'api_key']));
    },
    damage: "UPDATE key_rotation SET total = 77 WHERE purpose = 'oauth_token'",
    table: 'key_rotation',
    done: (it) => count(it, "key_rotation WHERE purpose = 'api_key' AND finished_at IS NOT NULL"),
  },
  {
    name: 'the destruction of a key',
    arrange: async (it) => {
      await it.tenant.vault.submit((job) => rotateKeys(job, it.admin(), ['backup', 'mfa_seed']));
      await settle(it);
      it.tenant.clock.pass(LIMITS.keyDestroyDelayMs);
    },
    damage: "UPDATE tenant_key SET created_at = created_at + 1 WHERE purpose = 'backup' AND version = 1",
    table: 'tenant_key',
    done: (it) => count(it, "tenant_key WHERE purpose = 'mfa_seed' AND state = 'destroyed'"),
  },
];

const told = ({ tenant }: Bench) =>
  eventsOf(tenant.sql)
    .filter(({ action }) => action === 'state.damaged')
    .map(({ target }) => (target as { type: string }).type);

describe('a damaged row', () => {
  it.each(PARTS)('of $name: the rest is done, the turn ends, and it is told once', async ({ arrange, damage, table, done }) => {
    const it = await bench();
    await arrange(it);
    const before = done(it);
    it.tenant.sql.run(damage);
    const { vault, clock } = it.tenant;
    const ends: string[] = [];
    for (let turn = 0; turn < 3; turn++) {
      const end = await outcomeOf(it.engine.runDueWork());
      ends.push(end);
      expect(['ok', 'integrity']).toContain(end);
      if (turn === 0) expect([before, done(it)]).toEqual([0, 1]);
      if (turn < 2) clock.pass(LIMITS.refreshCoolDownMs);
    }
    // A turn that fails is repeated after a pause (test/vault/open-tenants.shared.test.ts); one that does not must leave nothing due.
    if (ends.at(-1) === 'ok') expect(vault.nextDueAt() ?? Number.POSITIVE_INFINITY, 'due again').toBeGreaterThan(clock.now());
    expect(told(it)).toEqual([table]);
    expect(it.tenant.sql.get("SELECT count(*) AS n FROM alert WHERE kind = 'state.damaged'")).toEqual({ n: 1 });
  });
});
