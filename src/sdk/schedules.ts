// The client of schedules: rules, a credential's own, pauses and previews.
import type { WirePage, WirePreview, WireRule, WireSchedule } from '../http/v1/wire.ts';
import type { Ask } from './grants.ts';
import { segment } from './transport.ts';

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
    const path = of === undefined ? `${this.#tenant()}/schedule-previews` : `${this.#own(of.environment, of.name)}/previews`;
    return this.#ask({ method: 'POST', path, body: { schedule } });
  }

  #rule(name: string): string {
    return `${this.#tenant()}/schedules/${segment(name)}`;
  }

  #own(environment: string, name: string): string {
    return `${this.#tenant()}/environments/${segment(environment)}/credentials/${segment(name)}/schedule`;
  }
}
