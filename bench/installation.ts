// A fresh installation for the bench, furnished through its own HTTP API: an owner, tenants, a workload with a token in each.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, startChild } from './child.ts';

export const ENVIRONMENT = 'production';

export interface Tenant {
  readonly id: string;
  readonly name: string;
  /** Of a workload that may read and put everything in the environment. */
  readonly token: string;
}

export interface Vault {
  readonly child: Child;
  readonly url: string;
  readonly dataDirectory: string;
}

export async function startVault(dataDirectory: string, profileDirectory?: string): Promise<Vault> {
  const child = await startChild('serve-vault.ts', { dataDirectory }, profileDirectory);
  return { child, url: String(child.hello['url']), dataDirectory };
}

// biome-ignore lint/suspicious/noExplicitAny: answers of many shapes, read once
export async function call(vault: Vault, token: string, method: string, path: string, body?: unknown): Promise<any> {
  const answer = await fetch(vault.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status} ${text}`);
  return text.startsWith('{') ? JSON.parse(text) : text;
}

/** Spends the bootstrap secret; returns the owner's token. */
export async function setUpOwner(vault: Vault): Promise<string> {
  const secret = readFileSync(join(vault.dataDirectory, 'bootstrap-secret'), 'utf8').trim();
  return (await call(vault, secret, 'POST', '/v1/setup', { name: 'bench' })).token.token as string;
}

export async function createTenant(vault: Vault, owner: string, name: string): Promise<Tenant> {
  const tenant = await call(vault, owner, 'POST', '/v1/tenants', { name, environments: [ENVIRONMENT] });
  const base = `/v1/tenants/${name}/workloads`;
  const workload = { name: 'bench', environment: ENVIRONMENT, patterns: ['*'], permissions: ['read', 'put'] };
  await call(vault, owner, 'POST', base, workload);
  const issued = await call(vault, owner, 'POST', `${base}/bench/tokens`, {});
  return { id: tenant.id, name, token: issued.token };
}

export function credentialPath(tenant: string, name: string): string {
  return `/v1/tenants/${tenant}/environments/${ENVIRONMENT}/credentials/${name}`;
}

/** A made-up API key of a usual length: the answer of a read comes to about 270 bytes. */
export const API_KEY = { kind: 'api_key' as const, value: { key: 'kb-not-a-real-secret-0123456789abcdefghijklmnopqrstuvwxyz' } };
