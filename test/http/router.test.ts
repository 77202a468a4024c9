// Which router serves: all routes by one regular expression; another would try routes in turn, at every request.
import { describe, expect, it } from 'vitest';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { testApp } from '../kit/app.ts';

describe('the router', () => {
  it('is the one of regular expressions, with every route and page mounted', async () => {
    const { call, routerName } = await testApp();
    for (const route of ALL_ROUTES) {
      const path = route.path.replace(/\{[a-z]+\}/g, 'a');
      const { status } = await call({ method: route.method, path, token: null });
      expect(status, `${route.method} ${route.path}`).not.toBe(405);
    }
    expect(routerName()).toBe('SmartRouter + RegExpRouter');
  });

  it('knows the pages of a link beside the routes, and says which methods a path takes', async () => {
    const { call } = await testApp();
    const page = `/connect/ten_${'0'.repeat(24)}/${'a'.repeat(43)}`;
    expect((await call({ path: page, token: null })).headers.get('content-type')).toMatch(/^text\/html/);
    const wrong = await call({ method: 'PUT', path: page, token: null });
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET, POST, HEAD']);
    expect((await call({ path: '/connect/', token: null })).status).toBe(404);
    expect((await call({ method: 'POST', path: '/health', token: null })).status).toBe(405);
  });
});
