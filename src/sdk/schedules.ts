// The client of schedules: rules, a credential's own, pauses and previews; of what is due, and of calendar feeds.
import type { WireCreatedFeed, WireDueEntry, WireFeed, WirePage, WirePreview, WireRule, WireSchedule } from '../http/v1/wire.ts';
import type { Ask } from './grants.ts';
import { type Query, segment } from './transport.ts';

type Body = Readonly<Record<string, unknown>>;

export class Schedules {
  readonly #ask: Ask;
  readonly #tenant: () => string;

  constructor(ask: Ask, tenant: () => string) {
    this.#ask = ask;
    this.#tenant = tenant;
  }

  rules(): Promise<WirePage<WireRule>> {
    return this.#ask({ method: 'GET', path: `${this.#tenant()}/schedules` });
  }

  /** Creates or replaces the rule. */
  setRule(name: string, body: Body): Promise<WireRule> {
    return this.#ask({ method: 'PUT', path: this.#rule(name), body });
  }

  removeRule(name: string): Promise<WireRule> {
    return this.#ask({ method: 'DELETE', path: this.#rule(name) });
  }

  pauseRule(name: string, reason: string): Promise<WireRule> {
    return this.#ask({ method: 'PUT', path: `${this.#rule(name)}/pause`, body: { reason } });
  }

  resumeRule(name: string): Promise<WireRule> {
    return this.#ask({ method: 'DELETE', path: `${this.#rule(name)}/pause` });
  }

  /** The schedule that applies to a credential. */
  of(environment: string, name: string): Promise<WireSchedule> {
    return this.#ask({ method: 'GET', path: this.#own(environment, name) });
  }

  setOwn(environment: string, name: string, schedule: Body): Promise<WireSchedule> {
    return this.#ask({ method: 'PUT', path: this.#own(environment, name), body: { schedule } });
  }

  removeOwn(environment: string, name: string): Promise<WireSchedule> {
    return this.#ask({ method: 'DELETE', path: this.#own(environment, name) });
  }

  pauseOwn(environment: string, name: string, reason: string): Promise<WireSchedule> {
    return this.#ask({ method: 'PUT', path: `${this.#own(environment, name)}/pause`, body: { reason } });
  }

  resumeOwn(environment: string, name: string): Promise<WireSchedule> {
    return this.#ask({ method: 'DELETE', path: `${this.#own(environment, name)}/pause` });
  }

  /** The next dates of a schedule that is not stored; for a credential, from the age of its value. */
  preview(schedule: Body, of?: { readonly environment: string; readonly name: string }): Promise<WirePreview> {
    const path = of === undefined ? `${this.#tenant()}/previews` : `${this.#own(of.environment, of.name)}/previews`;
    return this.#ask({ method: 'POST', path, body: { schedule } });
  }

  /** What is due: rotations by schedule and end dates, overdue first. */
  due(query: Query = {}): Promise<WirePage<WireDueEntry>> {
    return this.#ask({ method: 'GET', path: `${this.#tenant()}/due`, query });
  }

  feeds(): Promise<WirePage<WireFeed>> {
    return this.#ask({ method: 'GET', path: `${this.#tenant()}/feeds` });
  }

  /** The URL is returned once. */
  createFeed(): Promise<WireCreatedFeed> {
    return this.#ask({ method: 'POST', path: `${this.#tenant()}/feeds`, body: {} });
  }

  revokeFeed(feed: string): Promise<WireFeed> {
    return this.#ask({ method: 'DELETE', path: `${this.#tenant()}/feeds/${segment(feed)}` });
  }

  #rule(name: string): string {
    return `${this.#tenant()}/schedules/${segment(name)}`;
  }

  #own(environment: string, name: string): string {
    return `${this.#tenant()}/environments/${segment(environment)}/credentials/${segment(name)}/schedule`;
  }
}
