// The route of the forecast: which grants have ended, which end soonest, and what to do.
import { readForecast } from '../../../rotation/grants/read-forecast.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { type Route, route } from '../route.ts';
import { forecastView } from './alert-views.ts';
import * as wire from './wire.ts';

export const forecastRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: '/v1/tenants/{tenant}/forecast',
    summary: 'Forecast of end dates: ended grants, then live ones by end date, soonest first; with the cause and the remedy',
    tag: 'alerts',
    operation: 'forecast.read',
    fields: { tenant: 'tenant' },
    query: wire.listForecast,
    success: { status: 200, description: 'A page of forecasts', schema: wire.listOf(wire.forecastEntry) },
    async handle({ vault, rotation, cursorKey }: TenantContext, request) {
      const { cursor, limit, environment, within_days: withinDays } = request.query;
      const scope = `forecast/${vault.tenant.id}/${environment ?? ''}`;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const after = cursor === undefined ? '' : openCursor(cursorKey, scope, cursor);
        const input = { environment, withinDays, after, maxRows: limit };
        return readForecast(job, rotation.ports.connectors, request.caller, input);
      });
      const now = vault.platform.clock.now();
      return pageAnswer(cursorKey, scope, page, (entry) => forecastView(vault.tenant.id, entry, now));
    },
  }),
];
