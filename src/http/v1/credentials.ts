// Routes of credentials.
import { z } from 'zod';
import { fail } from '../../base/errors.ts';
import type { RunRow } from '../../cell/runs.ts';
import {
  deleteCredential,
  destroyCredential,
  labelCredential,
  restoreCredential,
  rollBack,
} from '../../vault/change-credential.ts';
import { describeCredential, filledPage, listCredentials, listVersions } from '../../vault/describe-credential.ts';
import { freshen } from '../../vault/freshen.ts';
import type { WritePrecondition } from '../../vault/precondition.ts';
import { type PutCredentialInput, putCredential } from '../../vault/put-credential.ts';
import type { GrantImport } from '../../vault/put-grant.ts';
import { readFreshCredential } from '../../vault/read-credential.ts';
import { listReaders } from '../../vault/readers.ts';
import { type Located, locateById } from '../../vault/targets.ts';
import type { TenantVault } from '../../vault/tenant-vault.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { REVISION_TAG } from '../edge.ts';
import { once } from '../idempotency.ts';
import { type Answer, type Route, type RouteRequest, route } from '../route.ts';
import { credentialView, readerView, revisionTag, versionView } from './views.ts';
import * as wire from './wire.ts';

const BASE = '/v1/tenants/{tenant}/environments/{environment}/credentials';
const ONE = `${BASE}/{credential}`;
const fields = { tenant: 'tenant', environment: 'name', credential: 'credential' } as const;
const tag = 'credentials';

const NOT_MODIFIED = { 304: 'The ETag still matches If-None-Match' };
const PUT_EXAMPLES = {
  api_key: { kind: 'api_key', value: { key: 'example-key' }, expires_at: '2027-01-31T09:00:00Z' },
  bytes: { kind: 'api_key', value: { key_base64: '//79/A==' } },
  basic: { kind: 'basic', value: { username: 'ada', password: 'example-password' }, labels: { owner: 'ops' } },
  database: {
    kind: 'database',
    value: { engine: 'postgresql', host: 'db.example', port: 5432, username: 'app', password: 'example' },
  },
  oauth2: {
    kind: 'oauth2',
    value: { refresh_token: 'example-refresh-token', client_secret: 'example-secret' },
    config: { client_id: 'example-client', token_endpoint: 'https://provider.example/token' },
  },
};

function names(request: RouteRequest): { environment: string; name: string } {
  return { environment: request.params['environment'] ?? '', name: request.params['credential'] ?? '' };
}

/** From `If-Match: "r3"` and `If-None-Match: *`, whose form edge.ts has checked. */
export function preconditionOf(request: RouteRequest, cas?: number): WritePrecondition {
  const absent = request.ifNoneMatch !== undefined;
  if (request.ifMatch === undefined) return { absent, version: cas };
  return { absent, revision: Number(REVISION_TAG.exec(request.ifMatch)?.[1] ?? -1), version: cas };
}

function importOf(given: { from: string; still_used_there?: boolean | undefined } | undefined): GrantImport | undefined {
  return given === undefined ? undefined : { from: given.from, stillUsedThere: given.still_used_there === true };
}

type PutBody = z.output<typeof wire.putCredential>;

/** The fields that depend on the kind. */
function ofKind(body: PutBody): Pick<PutCredentialInput, 'connector' | 'config' | 'discard' | 'imported' | 'expiresAtMs'> {
  if (body.kind !== 'oauth2') {
    const expiresAtMs = body.expires_at === undefined ? undefined : Date.parse(body.expires_at);
    const { connector, config } = body;
    return { connector, config, discard: undefined, imported: undefined, expiresAtMs };
  }
  const { connector, config, discard } = body;
  return { connector, config, discard, imported: importOf(body.import), expiresAtMs: undefined };
}

function described(vault: TenantVault, located: Located, status = 200): Answer {
  return { status, body: credentialView(vault, located), headers: { etag: revisionTag(located) } };
}

/** The credential after the run. @throws conflict | provider_unavailable if the version did not become current */
function rolledBack(vault: TenantVault, { id, credential_id }: RunRow): Located {
  return vault.lookup('rollback', (lookup, view) => {
    const run = view.runs.get(lookup, id);
    const cause = run.cause ?? run.state;
    if (run.state === 'succeeded') return locateById(view, lookup, credential_id);
    if (run.state === 'open')
      return fail('provider_unavailable', `the run ${id} has not ended and continues by itself: see the runs of the credential`, {
        extra: { cause },
      });
    const isRefused = cause === 'refused_at_target';
    return fail(
      'conflict',
      isRefused
        ? 'the target refuses this version, so the current one stays: rotate instead'
        : 'whether the target accepts this version is not known, so the current one stays: see the run, or repeat the request later',
      { pointer: '/version', extra: { cause } },
    );
  });
}

export const credentialRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: BASE,
    summary: 'List and search credentials by their metadata',
    tag,
    operation: 'credential.list',
    fields: { tenant: 'tenant', environment: 'name' },
    query: wire.listCredentials,
    success: { status: 200, description: 'A page of credentials without values', schema: wire.listOf(wire.credential) },
    async handle({ vault, cursorKey }: TenantContext, request) {
      const { query } = request;
      const environment = request.params['environment'] ?? '';
      const scope = `credentials/${vault.tenant.id}/${environment}`;
      const at = query.label?.indexOf('=') ?? -1;
      const filter = {
        kind: query.kind,
        health: query.health,
        label: query.label === undefined ? undefined : { name: query.label.slice(0, at), value: query.label.slice(at + 1) },
        text: query.search?.toLowerCase(),
        deleted: query.deleted === 'true',
      };
      const inputFrom = (afterName: string) => ({ environment, filter, afterName, maxRows: query.limit });
      const first = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const afterName = query.cursor === undefined ? '' : openCursor(cursorKey, scope, query.cursor);
        return listCredentials(job, request.caller, inputFrom(afterName));
      });
      const page = await filledPage(vault, first, inputFrom(''));
      return pageAnswer(cursorKey, scope, page, (located) => credentialView(vault, located));
    },
  }),
  route({
    method: 'GET',
    path: ONE,
    summary: 'Describe a credential, without its value',
    tag,
    operation: 'credential.describe',
    fields,
    etag: 'read',
    success: { status: 200, description: 'The credential', schema: wire.credential, also: NOT_MODIFIED },
    async handle({ vault }: TenantContext, request) {
      const { environment, name } = names(request);
      const located = await vault.submit((job) => describeCredential(job, request.caller, environment, name));
      return request.ifNoneMatch === revisionTag(located)
        ? { status: 304, headers: { etag: revisionTag(located) } }
        : described(vault, located);
    },
  }),
  route({
    method: 'PUT',
    path: ONE,
    summary: 'Create a credential, or add a new version to it',
    tag,
    operation: 'credential.put',
    fields,
    body: wire.putCredential,
    etag: 'write',
    examples: PUT_EXAMPLES,
    success: {
      status: 200,
      description: 'The credential with its new version',
      schema: wire.credential,
      also: { 201: 'The new credential' },
    },
    async handle({ vault }: TenantContext, request) {
      const { body } = request;
      const result = await vault.submit((job) =>
        putCredential(job, request.caller, {
          ...names(request),
          kind: body.kind,
          value: body.value,
          ...ofKind(body),
          labels: body.labels,
          description: body.description,
          replaceDeleted: body.replace_deleted,
          precondition: preconditionOf(request, body.cas),
        }),
      );
      const answer = described(vault, result.located, result.created ? 201 : 200);
      return result.setAside === undefined
        ? answer
        : { ...answer, body: { ...(answer.body as object), set_aside: result.setAside } };
    },
  }),
  route({
    method: 'PATCH',
    path: ONE,
    summary: 'Replace the labels or the description',
    tag,
    operation: 'credential.label',
    fields,
    etag: 'write',
    body: wire.patchCredential,
    success: { status: 200, description: 'The credential', schema: wire.credential },
    async handle({ vault }: TenantContext, request) {
      return described(
        vault,
        await vault.submit((job) =>
          labelCredential(job, request.caller, {
            ...names(request),
            labels: request.body.labels,
            description: request.body.description,
            precondition: preconditionOf(request),
          }),
        ),
      );
    },
  }),
  route({
    method: 'DELETE',
    path: ONE,
    summary: 'Delete a credential: not readable from now on, and restorable until its recovery window ends',
    tag,
    operation: 'credential.delete',
    fields,
    etag: 'write',
    query: wire.deleteQuery,
    success: { status: 200, description: 'The deleted credential and when it will be destroyed', schema: wire.credential },
    async handle({ vault }: TenantContext, request) {
      const days = request.query.recovery_window_days;
      return described(
        vault,
        await vault.submit((job) =>
          deleteCredential(job, request.caller, {
            ...names(request),
            recoveryWindowMs: days === undefined ? undefined : days * 86_400_000,
            precondition: preconditionOf(request),
          }),
        ),
      );
    },
  }),
  route({
    method: 'GET',
    path: `${ONE}/value`,
    summary: 'Read the value; for an OAuth grant, a valid access token, refreshed if necessary',
    tag,
    operation: 'credential.read',
    fields,
    query: wire.readValue,
    secret: true,
    etag: 'read',
    success: { status: 200, description: 'The value', schema: wire.credentialValue, also: NOT_MODIFIED },
    async handle({ vault }: TenantContext, request) {
      const { query } = request;
      const { environment, name } = names(request);
      if (query.refresh === 'true') await freshen(vault, request.caller, environment, name);
      const result = await readFreshCredential(vault, request.caller, {
        environment,
        name,
        version: query.version,
        stage: query.stage,
      });
      // SECURITY: the ETag contains the id and the version, nothing derived from the value (LK-08).
      const etag = `"${result.credentialId}.${result.version}"`;
      if (request.ifNoneMatch === etag) {
        result.body.fill(0);
        return { status: 304, headers: { etag } };
      }
      return { status: 200, body: result.body, headers: { etag, 'content-type': 'application/json' } };
    },
  }),
  route({
    method: 'GET',
    path: `${ONE}/readers`,
    summary: 'List who received which version last, most recent first',
    tag,
    operation: 'reader.list',
    fields,
    success: { status: 200, description: 'At most 500 readers', schema: wire.listOf(wire.reader) },
    async handle({ vault }: TenantContext, request) {
      const { environment, name } = names(request);
      const readers = await vault.submit((job) => listReaders(job, request.caller, environment, name));
      return { status: 200, body: { items: readers.map(readerView), next_cursor: null } };
    },
  }),
  route({
    method: 'GET',
    path: `${ONE}/versions`,
    summary: 'List versions, newest first, without values',
    tag,
    operation: 'credential.describe',
    fields,
    query: wire.page,
    success: { status: 200, description: 'A page of versions', schema: wire.listOf(wire.version) },
    async handle({ vault, cursorKey }: TenantContext, request) {
      const { environment, name } = names(request);
      const scope = `versions/${vault.tenant.id}/${environment}/${name}`;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const { cursor, limit } = request.query;
        const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : Number(openCursor(cursorKey, scope, cursor));
        return listVersions(job, request.caller, { environment, name, before, maxRows: limit });
      });
      return pageAnswer(cursorKey, scope, page, versionView);
    },
  }),
  route({
    method: 'POST',
    path: `${ONE}/rollbacks`,
    summary: 'Make an older version current again',
    tag,
    operation: 'credential.rollback',
    fields,
    etag: 'write',
    body: wire.rollBack,
    idempotent: true,
    success: { status: 200, description: 'The credential', schema: wire.credential },
    async handle({ vault }: TenantContext, request) {
      let opened: RunRow | undefined;
      const answer = await once(vault, 'credential.rollback', request, (job) => {
        const back = rollBack(job, request.caller, {
          ...names(request),
          toVersion: request.body.version,
          revokesReplaced: request.body.revoke_replaced,
          precondition: preconditionOf(request),
        });
        opened = back.run;
        return described(vault, back);
      });
      if (opened === undefined) return answer;
      await vault.rotator?.settle(opened.credential_id);
      return described(vault, rolledBack(vault, opened));
    },
  }),
  route({
    method: 'POST',
    path: `${ONE}/restorations`,
    summary: 'Restore a deleted credential',
    tag,
    operation: 'credential.restore',
    fields,
    etag: 'write',
    body: wire.empty,
    idempotent: true,
    success: { status: 200, description: 'The credential', schema: wire.credential },
    handle: ({ vault }: TenantContext, request) =>
      once(vault, 'credential.restore', request, (job) =>
        described(vault, restoreCredential(job, request.caller, { ...names(request), precondition: preconditionOf(request) })),
      ),
  }),
  route({
    method: 'POST',
    path: `${ONE}/destructions`,
    summary: 'Destroy a credential now (requires the approval of a second person)',
    tag,
    operation: 'credential.destroy',
    fields,
    etag: 'condition',
    body: wire.empty,
    idempotent: true,
    success: { status: 200, description: 'The credential is destroyed', schema: z.object({ destroyed: z.literal(true) }) },
    handle: ({ vault }: TenantContext, request) =>
      once(vault, 'credential.destroy', request, (job) => {
        destroyCredential(job, request.caller, { ...names(request), precondition: preconditionOf(request) });
        return { status: 200, body: { destroyed: true } };
      }),
  }),
];
