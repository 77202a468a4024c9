// What every Keyturn answers over HTTP, whatever runtime serves it. One world a target; the cases share it and run in this order.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { answered } from '../kit/documented.ts';
import { accessCases } from './access-cases.ts';
import { alertCases } from './alert-cases.ts';
import { auditCases, rejectionCases } from './audit-cases.ts';
import { consentCases } from './consent-cases.ts';
import { credentialCases } from './credential-cases.ts';
import { disconnectCases } from './disconnect-cases.ts';
import { edgeCases } from './edge-cases.ts';
import { foreignCases } from './foreign-cases.ts';
import { keyRotationCases } from './key-rotation-cases.ts';
import { proofCases } from './proof-cases.ts';
import { rateCases } from './rate-cases.ts';
import { rotationCases } from './rotation-cases.ts';
import { scheduleCases } from './schedule-cases.ts';
import { furnish, type Target, type World } from './world.ts';

/** What no case can do well: a second person's consent is not there yet. */
const NEVER_WELL = ['POST /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/destructions'];

export function conformance(name: string, startTarget: () => Promise<Target>): void {
  describe(name, () => {
    let target: Target | undefined;
    let made: World | undefined;
    const world = (): World => {
      if (made === undefined) throw new Error('the target did not start');
      return made;
    };
    beforeAll(async () => {
      // Another file of this process may have asked another platform.
      answered.clear();
      target = await startTarget();
      made = await furnish(target);
    }, 60_000);
    afterAll(async () => {
      await target?.stop();
    });

    describe('the edge', () => edgeCases(world));
    describe('refused tokens', () => rejectionCases(world));
    describe('credentials', () => credentialCases(world));
    describe('proofs of workloads', () => proofCases(world));
    describe('who may what', () => accessCases(world));
    describe('what is not yours', () => foreignCases(world));
    describe('refresh and rotation', () => rotationCases(world));
    describe('rotations of keys', () => keyRotationCases(world));
    describe('schedules and what is due', () => scheduleCases(world));
    describe('consent', () => consentCases(world));
    describe('alerts and the forecast', () => alertCases(world));
    describe('disconnecting and imports', () => disconnectCases(world));
    describe('evidence', () => auditCases(world));
    it('has answered on every documented route with success and with a refusal, as the OpenAPI document says', () => {
      const answers = ALL_ROUTES.map(
        (route) => [`${route.method} ${route.path}`, [...(answered.get(`${route.method} ${route.path}`) ?? [])]] as const,
      );
      const silent = answers.filter(([, statuses]) => !statuses.some((status) => status < 400)).map(([place]) => place);
      expect(silent).toEqual([...(target?.neverWell ?? []), ...NEVER_WELL]);
      const unrefused = answers.filter(([, statuses]) => !statuses.some((status) => status >= 400)).map(([place]) => place);
      // Which refuses only where something fails; other files of the same process may have seen it.
      expect(unrefused.filter((place) => place !== 'GET /health')).toEqual([]);
    });
    // Last: it uses up what a source may fail.
    describe('floods', () => rateCases(world));
  });
}
