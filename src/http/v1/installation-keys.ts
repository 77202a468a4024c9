// Routes of the installation's keys: the root key, and the keys of the home cell.
import { z } from 'zod';
import { toTimestamp } from '../../base/clock.ts';
import { installationTarget } from '../../vault/home-job.ts';
import { listKeys, rotateKeys } from '../../vault/rotate-keys.ts';
import type { HomeContext, RootRotationState } from '../context.ts';
import { once } from '../idempotency.ts';
import { type Route, route } from '../route.ts';
import { keysView, progressView } from './views.ts';
import type { WireRootKey } from './wire.ts';
import * as wire from './wire.ts';

function rootView({ provider, sinceMs, done, total, blocked }: RootRotationState): WireRootKey {
  return {
    provider,
    rotating_since: sinceMs === undefined ? null : toTimestamp(sinceMs),
    done,
    total,
    blocked: blocked.map(({ id, code }) => ({ id, code })),
  };
}

export const installationKeyRoutes: readonly Route<HomeContext>[] = [
  route({
    method: 'GET',
    path: '/v1/installation/keys',
    summary: 'List the keys of the home cell, their states, ages and the progress of their rotation, without key bytes',
    tag: 'keys',
    operation: 'installation.keys.list',
    fields: {},
    success: { status: 200, description: 'Keys and rotations', schema: wire.keys },
    async handle({ home }: HomeContext, request) {
      return { status: 200, body: keysView(await home.submit((job) => listKeys(job, request.caller))) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/installation/keys/rotations',
    summary:
      'Rotate the keys of the home cell: new values use the new keys at once, stored values are rewrapped in the background',
    tag: 'keys',
    operation: 'installation.keys.rotate',
    fields: {},
    body: wire.rotateKeys,
    idempotent: true,
    success: { status: 202, description: 'Progress by purpose', schema: z.object({ rotations: z.array(wire.keyProgress) }) },
    handle: ({ home }: HomeContext, request) =>
      once(home, 'installation.keys.rotate', request, (job) => {
        const { purposes } = request.body;
        return { status: 202, body: { rotations: rotateKeys(job, request.caller, purposes).map(progressView) } };
      }),
  }),
  route({
    method: 'GET',
    path: '/v1/installation/root',
    summary: 'The source of the root key, and the progress of its rotation in cells',
    tag: 'keys',
    operation: 'installation.keys.list',
    fields: {},
    success: { status: 200, description: 'The root key', schema: wire.rootKey },
    async handle({ home, rootKey }: HomeContext, request) {
      await home.submit((job) =>
        job.door.enter(request.caller, 'installation.keys.list', installationTarget('root_key'), () => undefined),
      );
      return { status: 200, body: rootView(rootKey.state()) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/installation/root/rotations',
    summary: 'Rotate the root key: every key of every cell is wrapped under the new one in the background',
    tag: 'keys',
    operation: 'root.rotate',
    fields: {},
    success: { status: 202, description: 'The root key', schema: wire.rootKey },
    async handle({ rootKey }: HomeContext, request) {
      return { status: 202, body: rootView(await rootKey.rotate(request.caller)) };
    },
  }),
];
