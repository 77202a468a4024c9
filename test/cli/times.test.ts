// Every flag that takes a time reads it by the one parser, and says its forms when it cannot.
import { readdirSync } from 'node:fs';
import type { Command, Option } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { moment, span, TIME_PARSERS } from '../../src/cli/times.ts';

const NOW = Date.UTC(2026, 10, 27, 12);
afterEach(() => void vi.useRealTimers());

describe('a flag that takes a time', () => {
  it.each([
    ['90s', 90],
    ['30m', 1_800],
    ['12h', 43_200],
    ['30d', 2_592_000],
    ['2w', 1_209_600],
    ['P30D', 2_592_000],
    ['30', 2_592_000],
    ['0.5', 43_200],
  ])('reads %s; a bare number counts its unit', (text, seconds) => {
    expect(span('d')(text)).toBe(seconds);
  });

  it.each([
    ['2027-01-31', '2027-01-31T00:00:00.000Z', '2027-01-31T00:00:00.000Z'],
    ['2027-01-31T10:00:00+01:00', '2027-01-31T09:00:00.000Z', '2027-01-31T09:00:00.000Z'],
    ['24h', '2026-11-28T12:00:00.000Z', '2026-11-26T12:00:00.000Z'],
  ])('reads an instant from %s, ahead and back', (text, ahead, back) => {
    vi.useFakeTimers({ now: NOW });
    expect([moment('ahead')(text), moment('back')(text)]).toEqual([ahead, back]);
  });

  it('says the forms it takes', () => {
    expect(() => span()('soon')).toThrow('a duration such as 90s, 30m, 12h, 30d, 2w, 1h30m or P30D');
    expect(() => moment('ahead')('soon')).toThrow('an RFC 3339 instant such as 2027-01-31T09:00:00Z');
    expect(() => moment('ahead')('999999999w')).toThrow('from now');
  });
});

/** What a flag is called when it takes a time. */
const OF_TIME = /expires|timeout|within|window|since|until|ttl|--for$|max-age|delay|grace/;

it('is read so in every command', async () => {
  const folder = new URL('../../src/cli/commands/', import.meta.url);
  const modules = await Promise.all(readdirSync(folder).map((file) => import(new URL(file, folder).href) as Promise<object>));
  const made = modules.flatMap((module) => Object.entries(module).filter(([name]) => name.endsWith('Command')));
  const flags: [string, Option][] = [];
  const walk = (command: Command, path: string) => {
    for (const option of command.options) flags.push([`${path} ${option.long}`, option]);
    for (const child of command.commands) walk(child, `${path} ${child.name()}`);
  };
  for (const [, make] of made) {
    const command = (make as () => Command)();
    walk(command, command.name());
  }
  // Windows of a schedule are days and hours, not a time.
  const timed = flags.filter(
    ([, option]) =>
      OF_TIME.test(option.long ?? '') && (option.required || option.optional) && option.flags !== '--window <window...>',
  );
  expect(timed.length).toBeGreaterThan(9);
  for (const [name, option] of timed) expect(TIME_PARSERS.has(option.parseArg ?? {}), name).toBe(true);
  for (const [name, option] of flags)
    if (/<(time|instant|days)>/.test(option.flags)) expect(TIME_PARSERS.has(option.parseArg ?? {}), name).toBe(true);
});
