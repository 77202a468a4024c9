// The calendar feed: what an independent reader of RFC 5545 makes of it, and that its key opens nothing else.
import { describe, expect, it } from 'vitest';
import { icalendar } from '../../src/http/icalendar.ts';
import { testApp } from '../kit/app.ts';
import { eventsOf, START_MS } from '../kit/vaults.ts';

type Component = Record<string, string>;

/** Reads as RFC 5545 says, by its grammar: unfolds, splits lines, and unescapes texts. Refuses everything else. */
function parsed(text: string): { calendar: Component; events: Component[] } {
  expect(text.endsWith('\r\n')).toBe(true);
  for (const line of text.split('\r\n')) {
    expect(Buffer.byteLength(line)).toBeLessThanOrEqual(75);
    expect(line).not.toMatch(/[\r\n]/);
  }
  const lines = text.replaceAll('\r\n ', '').split('\r\n').slice(0, -1);
  expect([lines[0], lines.at(-1)]).toEqual(['BEGIN:VCALENDAR', 'END:VCALENDAR']);
  const calendar: Component = {};
  const events: Component[] = [];
  let into = calendar;
  for (const line of lines.slice(1, -1)) {
    const match = /^([A-Z-]+)(?:;[A-Z]+=[A-Z]+)*:(.*)$/.exec(line) ?? expect.fail(`no content line: ${line}`);
    const [, name = '', value = ''] = match;
    if (name === 'BEGIN') {
      into = {};
      events.push(into);
    } else if (name === 'END') into = calendar;
    else {
      expect(value, line).toMatch(/^(?:[^\\]|\\[\\;,nN])*$/);
      into[name] = value.replace(/\\([\\;,nN])/g, (_all, one: string) => (one.toLowerCase() === 'n' ? '\n' : one));
    }
  }
  return { calendar, events };
}

describe('a calendar', () => {
  it('is folded at 75 octets without splitting a character, and escapes every text', () => {
    const texts = [
      'plain',
      'a;b,c\\d',
      'two\nlines\r\nand\rthree',
      'é'.repeat(200),
      `${'x'.repeat(66)}🔑🔑🔑`,
      'BEGIN:VEVENT\r\nX:1',
      '',
    ];
    const events = texts.map((summary, i) => ({
      uid: `crd_${i}@keyturn`,
      startsAt: START_MS + i * 1_000,
      summary,
      description: summary,
      categories: ['a,b', 'c'],
    }));
    const found = parsed(icalendar({ name: 'acme; Co', madeAt: START_MS, events }));
    expect(found.calendar).toMatchObject({ VERSION: '2.0', 'X-WR-CALNAME': 'acme; Co' });
    expect(found.events.map(({ SUMMARY }) => SUMMARY)).toEqual(texts.map((text) => text.replace(/\r\n|\r/g, '\n')));
    expect(found.events[0]).toMatchObject({ UID: 'crd_0@keyturn', DTSTART: '20260102T030405Z', DTSTAMP: '20260102T030405Z' });
  });
});

describe('a calendar feed', () => {
  const BASE = '/v1/tenants/acme/environments/staging/credentials';

  async function feed() {
    const app = await testApp();
    await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
    await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'globex' } });
    const value = { key: 'not-a-real-secret', key_id: 'made-up' };
    for (const name of ['mail', 'pay'])
      await app.call({ method: 'PUT', path: `${BASE}/${name}`, body: { kind: 'api_key', value, connector: 'sendgrid-api-key' } });
    await app.call({
      method: 'PUT',
      path: `${BASE}/mail/schedule`,
      body: { schedule: { every_seconds: 864_000, jitter_seconds: 0 } },
    });
    const expires_at = new Date(START_MS + 5 * 86_400_000).toISOString();
    await app.call({ method: 'PUT', path: `${BASE}/pay`, body: { kind: 'api_key', value, expires_at } });
    const made = await app.call({ method: 'POST', path: '/v1/tenants/acme/feeds', body: {} });
    const { id, url } = made.json as { id: string; url: string };
    return { app, id, path: url.slice(url.indexOf('/v1/')) };
  }

  it('shows rotations and ends with stable ids, to whoever has its URL', async () => {
    const { app, path } = await feed();
    const answer = await app.call({ method: 'GET', path, token: null });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/calendar; charset=utf-8']);
    const { events } = parsed(answer.text);
    expect(events.map(({ SUMMARY, DTSTART }) => [SUMMARY, DTSTART])).toEqual([
      ['End of pay (staging)', '20260107T030405Z'],
      ['Rotation of mail (staging)', '20260112T030405Z'],
    ]);
    const again = parsed((await app.call({ method: 'GET', path, token: null })).text);
    expect(again.events.map(({ UID }) => UID)).toEqual(events.map(({ UID }) => UID));
    expect(answer.text).not.toContain('not-a-real-secret');
  });

  it('is refused with another key, for another tenant, and when it is revoked; its key opens nothing else and is in no event', async () => {
    const { app, id, path } = await feed();
    const key = /key=(.*)$/.exec(path)?.[1] ?? '';
    const status = async (given: string, token: string | null = null) =>
      (await app.call({ method: 'GET', path: given, token })).status;
    expect(await status(path.replace(key, `${key.slice(0, -2)}AA`))).toBe(401);
    expect(await status(path.replace(id, `cal_${'0'.repeat(24)}`))).toBe(401);
    expect(await status(path.replace(/ten_\w+|acme/, 'globex'))).toBe(401);
    expect(await status('/v1/tenants/acme/due', key)).toBe(401);
    expect(await status(path)).toBe(200);
    const [tenant] = [...app.team.tenants.values()];
    const events = JSON.stringify(tenant === undefined ? [] : eventsOf(tenant.sql));
    expect(events).toContain('"feed.read"');
    expect(events).not.toContain(key);
    await app.call({ method: 'DELETE', path: `/v1/tenants/acme/feeds/${id}` });
    expect(await status(path)).toBe(401);
  });
});
